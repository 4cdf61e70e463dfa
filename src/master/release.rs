//! Releasing a node: a person sees the plan, and that plan is armed, once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::info;
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::plan::{self, Plan};
use crate::request::{self, SideCar};
use crate::sys::clock;

use super::compose::{Composed, Subject, compose, inventory_of_discovery};
use super::node::{Node, Progress, Release, Status};
use super::profile::{self, Profile};
use super::refusal::Refusal;
use super::state::{Live, Master, document_path};
use super::token::{self, TokenDigest};
use super::view::Summary;

/// Plans that wait for a person's word, at most.
const DRAFTS_KEPT: usize = 64;

/// How long a shown plan waits for a person's word.
const DRAFT_LIFE: Duration = Duration::from_secs(15 * 60);

/// Plans that were shown and not yet armed, by id.
#[derive(Default)]
pub(crate) struct Drafts(BTreeMap<String, Draft>);

struct Draft {
    node: u32,
    profile: String,
    document: Vec<u8>,
    side_car: SideCar,
    phone_home: TokenDigest,
    plan_digest: String,
    /// Whether the agent is bound to the plan that is shown.
    is_bound: bool,
    not_empty: Vec<String>,
    made: Instant,
}

/// A plan as a person sees it before the release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// Names it when it is armed.
    pub draft: String,
    /// The node.
    pub node: Summary,
    /// The profile.
    pub profile: String,
    /// What would be done.
    pub plan: Plan,
    /// Disks that would be overwritten and are not known to be empty, with what is on them.
    pub not_empty: Vec<String>,
    /// What a person should know beside the plan's own warnings.
    pub notes: Vec<String>,
}

/// The request of a release.
pub(crate) fn request_path(release: &str) -> String {
    format!("requests/{release}.json")
}

/// A machine as far as it is known.
struct Machine {
    inventory: Inventory,
    /// Why its disks are not known to be as the inventory says.
    doubt: Option<String>,
}

impl Machine {
    /// A machine whose disks may hold anything: the plan must not say that nothing is lost.
    fn doubted(mut inventory: Inventory, doubt: String) -> Self {
        for disk in &mut inventory.disks {
            disk.has_data = Some(true);
        }
        Self { inventory, doubt: Some(doubt) }
    }
}

impl Master {
    /// Composes the request and makes its plan; arms nothing.
    ///
    /// # Errors
    /// 400 for the profile, 409 when the node cannot be released or the profile does not fit it.
    pub(crate) fn show_plan(&self, key: &str, profile_name: &str) -> Result<Shown, Refusal> {
        let slot = self.named(key)?;
        let node = slot.lock().node.clone();
        releasable(&node)?;
        let profile = self.profile(profile_name)?;
        let side_car = self.side_car(&profile)?;
        let machine = self.machine(&node)?;
        let phone_home = token::fresh()?;
        let subject = Subject {
            id: node.id,
            mac: node.mac,
            ip: address_of(&node)?,
            inventory: &machine.inventory,
            url: &self.url,
            phone_home: &phone_home,
        };
        let Composed { document, disks } = compose(&profile, &subject).map_err(unfit)?;
        let not_empty = disks.iter().filter_map(|disk| what_is_on(disk, &machine)).collect::<Vec<_>>();
        let document = serde_json::to_vec_pretty(&document).context(Kind::Bug, || "serialising the request")?;
        let plan = plan_of(&document, &machine.inventory, &side_car).map_err(unfit)?;
        let mut notes: Vec<String> = machine.doubt.clone().into_iter().collect();
        if machine.doubt.is_some() {
            notes.push("the node is not bound to this plan: it makes its own from what it finds".to_owned());
        }
        let draft = Draft {
            node: node.id,
            profile: profile_name.to_owned(),
            document,
            side_car,
            phone_home: TokenDigest::of(phone_home.reveal()),
            plan_digest: plan.digest.clone(),
            is_bound: machine.doubt.is_none(),
            not_empty: not_empty.clone(),
            made: Instant::now(),
        };
        let id = format!("{}-{}", node.id, &token::fresh()?.reveal()[..8]);
        self.drafts().add(id.clone(), draft);
        let node = Summary::of(&node);
        Ok(Shown { draft: id, node, profile: profile_name.to_owned(), plan, not_empty, notes })
    }

    /// Arms the plan that was shown.
    ///
    /// # Errors
    /// 409 when it is gone, when the machine changed since, when a disk is not empty and `wipe` is not given, or when
    /// the node cannot be released.
    pub(crate) fn arm(&self, key: &str, draft_id: &str, wipe: bool) -> Result<Summary, Refusal> {
        let slot = self.named(key)?;
        let mut live = slot.lock();
        releasable(&live.node)?;
        let gone = || Refusal::conflict("the plan that was shown is gone or too old: look at it again");
        let draft = self.drafts().take(draft_id).filter(|draft| draft.node == live.node.id).ok_or_else(gone)?;
        if !wipe && !draft.not_empty.is_empty() {
            return Err(refuse_not_empty(&draft.not_empty));
        }
        let machine = self.machine(&live.node)?;
        let plan = plan_of(&draft.document, &machine.inventory, &draft.side_car).map_err(unfit)?;
        if plan.digest != draft.plan_digest || machine.doubt.is_none() != draft.is_bound {
            return Err(Refusal::conflict("the machine changed since the plan was shown: look at it again"));
        }
        self.release(&mut live, draft_id, draft, wipe)?;
        Ok(Summary::of(&live.node))
    }

    fn release(&self, live: &mut Live, id: &str, draft: Draft, wipe: bool) -> Result<()> {
        // The request first: a node is armed by its record, which never names a request that is not there.
        self.store.write(&request_path(id), &draft.document)?;
        let release = Release {
            id: id.to_owned(),
            profile: draft.profile,
            plan_digest: draft.is_bound.then_some(draft.plan_digest),
            phone_home: draft.phone_home,
            wipe,
            at: clock::now_rfc3339(),
            progress: Progress::Armed,
        };
        let digest = release.plan_digest.clone().unwrap_or_else(|| "none".to_owned());
        self.change(live, |node, now| node.release(release, now))?;
        let wipe = if wipe { ", wipe" } else { "" };
        info!("release: {}: plan {digest}{wipe}", live.node.label());
        Ok(())
    }

    fn profile(&self, name: &str) -> Result<Profile, Refusal> {
        if !profile::is_name(name) {
            return Err(Refusal::bad("profile: expected a name of letters, digits, . _ and -"));
        }
        let path = format!("profiles/{name}.toml");
        let Some(bytes) = self.store.read(&path)? else {
            let names = self.store.names("profiles")?;
            let names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".toml")).collect();
            return Err(Refusal::bad(format!("no profile is named {name}: there are {}", names.join(", "))));
        };
        let text = String::from_utf8_lossy(&bytes);
        Profile::parse(&text).map_err(|error| Refusal::bad(format!("profile {name}: {error}")))
    }

    /// The side-car beside the root image; both images must be there too.
    fn side_car(&self, profile: &Profile) -> Result<SideCar, Refusal> {
        let images = &profile.images;
        for name in [&images.root, &images.boot] {
            let is_there =
                super::http::is_file_name(name) && self.store.path(&format!("targetimages/{name}")).is_file();
            if !is_there {
                return Err(Refusal::conflict(format!("targetimages has no file {name:?}, which the profile names")));
            }
        }
        let uri = request::side_car_uri(&format!("{}/targetimages/{}", self.url, images.root));
        let name = uri.as_deref().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default().to_owned();
        let bytes = self
            .store
            .read(&format!("targetimages/{name}"))?
            .ok_or_else(|| Refusal::conflict(format!("targetimages has no side-car {name} for {}", images.root)))?;
        SideCar::parse(&bytes).map_err(|error| Refusal::conflict(format!("{name}: {error}")))
    }

    /// The last inventory of a node, or what its discovery report says.
    fn machine(&self, node: &Node) -> Result<Machine, Refusal> {
        let inventory: Option<Inventory> = self.store.read_json(&document_path(node.id, "inventory"))?;
        if let Some(inventory) = inventory {
            let was_run = "its disks were written since the inventory came".to_owned();
            return Ok(match node.inventory_at {
                Some(_) => Machine { inventory, doubt: None },
                None => Machine::doubted(inventory, was_run),
            });
        }
        let payload = self.store.read_json(&document_path(node.id, "discovery"))?;
        let payload: serde_json::Value =
            payload.ok_or_else(|| Refusal::conflict(format!("{} has not reported its disks", node.label())))?;
        let doubt = "no inventory came, only a discovery report".to_owned();
        Ok(Machine::doubted(inventory_of_discovery(&payload), doubt))
    }

    fn drafts(&self) -> MutexGuard<'_, Drafts> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drafts {
    fn add(&mut self, id: String, draft: Draft) {
        self.0.retain(|_, draft| draft.made.elapsed() < DRAFT_LIFE);
        while self.0.len() >= DRAFTS_KEPT {
            let oldest = self.0.iter().min_by_key(|(_, draft)| draft.made).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
        self.0.insert(id, draft);
    }

    fn take(&mut self, id: &str) -> Option<Draft> {
        self.0.remove(id).filter(|draft| draft.made.elapsed() < DRAFT_LIFE)
    }
}

fn plan_of(document: &[u8], inventory: &Inventory, side_car: &SideCar) -> Result<Plan> {
    let request = request::parse(document)?.request;
    plan::make(&request, inventory, Some(side_car), None)
}

fn releasable(node: &Node) -> Result<(), Refusal> {
    match node.status {
        Status::Released | Status::Provisioning => {
            Err(Refusal::conflict(format!("{} is {}: cancel that first", node.label(), node.status.as_str())))
        }
        _ => Ok(()),
    }
}

fn address_of(node: &Node) -> Result<Ipv4Addr, Refusal> {
    match node.ip {
        Some(IpAddr::V4(ip)) => Ok(ip),
        _ => Err(Refusal::conflict(format!("{} has reported no IPv4 address", node.label()))),
    }
}

fn unfit(error: Error) -> Refusal {
    match error.kind() {
        Kind::Bug | Kind::Medium => error.into(),
        _ => Refusal::conflict(error.to_string()),
    }
}

fn refuse_not_empty(not_empty: &[String]) -> Refusal {
    let message = format!("not empty: {}: give --wipe to overwrite", not_empty.join("; "));
    Refusal { errors: not_empty.to_vec(), ..Refusal::conflict(message) }
}

/// What is on a disk that is not known to be empty.
fn what_is_on(disk: &Disk, machine: &Machine) -> Option<String> {
    if disk.is_empty() && machine.doubt.is_none() {
        return None;
    }
    let table = disk.table.as_ref().map(|table| format!("a {table} table with {} partitions", disk.partitions.len()));
    let signatures = disk.signatures.iter().map(|found| {
        let label = found.label.as_ref().map(|label| format!(" {label:?}")).unwrap_or_default();
        format!("{} on {}{label}", found.kind, found.device)
    });
    let mut on_it: Vec<String> = table.into_iter().chain(signatures).collect();
    if on_it.is_empty() {
        on_it.push(match (&machine.doubt, disk.has_data) {
            (Some(doubt), _) => doubt.clone(),
            (None, Some(_)) => "data that was not recognised".to_owned(),
            (None, None) => "it could not be read".to_owned(),
        });
    }
    Some(format!("{} ({}): {}", disk.name, disk.size, on_it.join(", ")))
}
