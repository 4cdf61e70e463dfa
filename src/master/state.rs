//! The master's state: nodes in memory, each change on disk before anybody is told of it.
//!
//! Locks: a node's own lock is taken first, the index only briefly and never while waiting for a node.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::error::{Error, Kind, Result};
use crate::sys::clock;

use super::bootstraps::settings::Settings;
use super::bootstraps::store::Store as Images;
use super::builds::Builds;
use super::config::Config;
use super::events::RunLog;
use super::ident::Mac;
use super::node::{Boot, Node, Progress};
use super::refusal::Refusal;
use super::release::{Drafts, request_path};
use super::scripts;
use super::store::Store;
use super::token::TokenDigest;

/// Progress of a node is written to the log at most this often.
pub(crate) const PROGRESS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// The folder that TFTP serves: boot loaders as firmware and each other name them.
pub(crate) const LOADERS: &str = "loaders";

/// What GRUB reads first, as its prefix `/grub` says.
pub(crate) const GRUB_CONFIGURATION: &str = "loaders/grub/grub.cfg";

/// A master and all it knows.
pub(crate) struct Master {
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// Where nodes reach this master, without a slash at the end.
    pub(crate) url: String,
    pub(crate) operator: TokenDigest,
    pub(crate) drafts: Mutex<Drafts>,
    /// Bootstrap images.
    pub(crate) images: Images,
    /// Builds of them.
    pub(crate) builds: Arc<Builds>,
    index: Mutex<Index>,
}

/// Who is where.
#[derive(Default)]
pub(crate) struct Index {
    nodes: BTreeMap<u32, Arc<Slot>>,
    by_mac: HashMap<Mac, u32>,
    /// Machines that were served a bootstrap and have not reported.
    pub(crate) strangers: HashMap<Mac, Boot>,
}

/// A node's place in memory.
pub(crate) struct Slot(Mutex<Live>);

/// A node, and what of it need not survive a restart.
pub(crate) struct Live {
    pub(crate) node: Node,
    /// When it was last heard; the start of the master at first.
    pub(crate) heard: Instant,
    /// When its status began, on the clock that nobody sets.
    pub(crate) status_began: Instant,
    /// The run that it reports.
    pub(crate) run: Option<RunLog>,
    /// When its progress was last written to the log.
    pub(crate) progress_told: Option<Instant>,
}

impl Slot {
    /// The node, locked.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Live> {
        // A change is made on a copy and stored whole: a panic leaves none half made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Master {
    /// Reads the state of a folder, locking it.
    ///
    /// # Errors
    /// When another master holds it, or a file of it cannot be read.
    pub(crate) fn open(root: &Path, url: &str) -> Result<Self> {
        let store = Store::open(root)?;
        let config = Config::read(&store.path("master.toml"))?;
        let (settings, warnings) = Settings::of_master(root)?;
        warnings.iter().for_each(|warning| warn!("{warning}"));
        let images = settings.store(root);
        let builds = Builds::open(store.path("builds"))?;
        let operator = TokenDigest::of(store.operator_token()?.reveal());
        let mut index = Index::default();
        for name in store.names("nodes")?.iter().filter(|name| name.ends_with(".json")) {
            let Some(node) = store.read_json::<Node>(&format!("nodes/{name}"))? else { continue };
            index.insert(node);
        }
        for name in store.names("strangers")? {
            if let Some(boot) = store.read_json::<Boot>(&format!("strangers/{name}"))? {
                index.strangers.insert(boot.mac, boot);
            }
        }
        remove_stale_requests(&store, &index)?;
        info!("{} nodes and {} strangers in {}", index.nodes.len(), index.strangers.len(), root.display());
        let url = url.trim_end_matches('/').to_owned();
        store.publish(GRUB_CONFIGURATION, scripts::grub_first(&url)?.as_bytes())?;
        Ok(Self { store, config, url, operator, drafts: Mutex::default(), images, builds, index: Mutex::new(index) })
    }

    /// The index, locked. Never wait for a node while holding it.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every node, by id.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.index().nodes.values().cloned().collect()
    }

    /// The node with this id.
    pub(crate) fn slot(&self, id: u32) -> Option<Arc<Slot>> {
        self.index().nodes.get(&id).cloned()
    }

    /// The node that has an interface with this address.
    pub(crate) fn slot_of(&self, mac: Mac) -> Option<Arc<Slot>> {
        let index = self.index();
        index.by_mac.get(&mac).and_then(|id| index.nodes.get(id)).cloned()
    }

    /// The one node that an operator means.
    ///
    /// # Errors
    /// 404 when it names none, 409 when it names several.
    pub(crate) fn named(&self, key: &str) -> Result<Arc<Slot>, Refusal> {
        let mut found: Vec<_> = self.slots().into_iter().filter(|slot| slot.lock().node.is_named(key)).collect();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Refusal::absent(format!("no node is named {:?}", super::ident::shortened(key)))),
            (Some(last), false) => {
                found.push(last);
                let labels: Vec<_> = found.iter().map(|slot| slot.lock().node.label()).collect();
                Err(Refusal::conflict(format!("{key:?} is ambiguous: {}", labels.join(", "))))
            }
        }
    }

    /// Adds a node with the next id; `fill` completes the record before it is stored.
    ///
    /// # Errors
    /// 409 when it is known by now, 503 when there are too many.
    pub(crate) fn add_node(&self, mac: Mac, fill: impl FnOnce(&mut Node, Option<&Boot>)) -> Result<Arc<Slot>, Refusal> {
        let mut index = self.index();
        if index.by_mac.contains_key(&mac) {
            return Err(Refusal::conflict(format!("node with mac {mac} already exists")));
        }
        if index.nodes.len() >= self.config.max_nodes {
            let message = format!("{} nodes are known, no more are allowed (max_nodes)", index.nodes.len());
            return Err(Refusal::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, message));
        }
        let last = index.nodes.last_key_value().map_or(0, |(&id, _)| id);
        let id = last.checked_add(1).ok_or_else(|| Error::bug("node ids are used up"))?;
        let mut node = Node::new(id, mac, &clock::now_rfc3339());
        fill(&mut node, index.strangers.get(&mac));
        node.macs.retain(|mac| !index.by_mac.contains_key(mac));
        self.store.write_json(&record_path(id), &node)?;
        for known in &node.macs {
            if index.strangers.remove(known).is_some() {
                self.store.remove(&stranger_path(*known))?;
            }
        }
        Ok(index.insert(node))
    }

    /// Changes a node: on disk first, then in memory. An unchanged record is not written.
    ///
    /// # Errors
    /// When the record cannot be written; nothing has changed then.
    pub(crate) fn change<T>(&self, live: &mut Live, change: impl FnOnce(&mut Node, &str) -> T) -> Result<T> {
        let mut node = live.node.clone();
        let result = change(&mut node, &clock::now_rfc3339());
        if node == live.node {
            return Ok(result);
        }
        if node.macs != live.node.macs {
            self.index().readdress(&live.node, &mut node);
        }
        self.store.write_json(&record_path(node.id), &node)?;
        if node.status != live.node.status {
            live.status_began = Instant::now();
            let reason = node.history.last().and_then(|change| change.reason.as_deref());
            let reason = reason.map(|reason| format!(": {}", super::ident::shortened(reason))).unwrap_or_default();
            info!("{}: {} -> {}{reason}", node.label(), live.node.status.as_str(), node.status.as_str());
        }
        let is_over = |node: &Node| node.release.as_ref().is_some_and(|release| release.progress == Progress::Ended);
        let over = if is_over(&node) && !is_over(&live.node) { node.release.clone() } else { None };
        live.node = node;
        if let Some(release) = over {
            // It holds passwords, and nobody gets it any more.
            self.store.remove(&request_path(&release.id))?;
        }
        Ok(result)
    }

    /// The node, when this token from this address is its present boot.
    ///
    /// # Errors
    /// 404 without such a node, else 403.
    pub(crate) fn agent_of(
        &self,
        id: u32,
        token: Option<&TokenDigest>,
        peer: std::net::IpAddr,
    ) -> Result<Arc<Slot>, Refusal> {
        let slot = self.slot(id).ok_or_else(|| Refusal::absent(format!("no node has id {id}")))?;
        {
            let mut live = slot.lock();
            let is_boot = token.zip(live.node.boot.as_ref()).is_some_and(|(token, boot)| boot.is(token, peer));
            if !is_boot {
                warn!("{}: a call from {peer} without the token of its present boot was refused", live.node.label());
                return Err(Refusal::forbidden("not the boot that this master served the bootstrap to"));
            }
            live.heard = Instant::now();
        }
        Ok(slot)
    }
}

impl Index {
    fn insert(&mut self, node: Node) -> Arc<Slot> {
        let id = node.id;
        for mac in &node.macs {
            self.by_mac.insert(*mac, id);
        }
        let now = Instant::now();
        // After a restart the time since the status began counts from what the record says.
        let status_began = now.checked_sub(age(node.since())).unwrap_or(now);
        let slot = Arc::new(Slot(Mutex::new(Live { node, heard: now, status_began, run: None, progress_told: None })));
        self.nodes.insert(id, Arc::clone(&slot));
        slot
    }

    /// Gives a node its new addresses; one that another node has stays with that.
    fn readdress(&mut self, old: &Node, new: &mut Node) {
        let id = new.id;
        new.macs.retain(|mac| {
            let is_free = self.by_mac.get(mac).is_none_or(|&owner| owner == id);
            if !is_free {
                warn!("node {id} reports {mac}, which another node has: ignored");
            }
            is_free
        });
        new.macs.insert(new.mac);
        for mac in &old.macs {
            self.by_mac.remove(mac);
        }
        for mac in &new.macs {
            self.by_mac.insert(*mac, id);
        }
    }
}

/// Requests that no waiting or running release names: what a kill left between two writes.
fn remove_stale_requests(store: &Store, index: &Index) -> Result<()> {
    let releases = index.nodes.values().filter_map(|slot| slot.lock().node.release.clone());
    let open = releases.filter(|release| release.progress != Progress::Ended);
    let open: Vec<String> = open.map(|release| request_path(&release.id)).collect();
    for name in store.names("requests")? {
        let path = format!("requests/{name}");
        if !open.contains(&path) {
            store.remove(&path)?;
        }
    }
    Ok(())
}

/// How long ago a stored time was; nothing when the clock was set back.
fn age(since: &str) -> Duration {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    OffsetDateTime::parse(since, &Rfc3339)
        .ok()
        .and_then(|since| Duration::try_from(OffsetDateTime::now_utc() - since).ok())
        .unwrap_or_default()
}

/// The record of a node.
pub(crate) fn record_path(id: u32) -> String {
    format!("nodes/{id}.json")
}

/// The record of a machine that has not reported yet.
pub(crate) fn stranger_path(mac: Mac) -> String {
    format!("strangers/{}.json", mac.bootif())
}

/// A document beside a node's record: `discovery`, `inventory` or `report`.
pub(crate) fn document_path(id: u32, what: &str) -> String {
    format!("documents/{id}.{what}.json")
}

/// An error of the master in an operation whose caller is a person at the command line.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(Kind::Master, refusal.message)
    }
}
