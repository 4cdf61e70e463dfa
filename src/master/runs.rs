//! What the agent of a released node asks and tells.

use std::net::IpAddr;
use std::time::Instant;

use log::info;
use serde_json::Value;

use crate::inventory::Inventory;
use crate::report::{Event, EventKind};
use crate::sys::clock;
use crate::units::Bytes;

use super::ident::shortened;
use super::node::{NextBoot, PhoneHome, Status};
use super::refusal::Refusal;
use super::state::{Live, Master, document_path};
use super::token::TokenDigest;
use super::{events, release};

/// Host keys that a first boot may tell.
const HOST_KEYS: [&str; 4] = ["pub_key_ed25519", "pub_key_ecdsa", "pub_key_rsa", "pub_key_dsa"];

/// The boot that calls.
pub(crate) struct Agent {
    pub node: u32,
    pub token: Option<TokenDigest>,
    pub peer: IpAddr,
}

/// A request that is handed out.
pub(crate) struct HandedOut {
    pub document: Vec<u8>,
    pub plan_digest: Option<String>,
}

impl Master {
    /// Stores a node's whole inventory; during a run it is only acknowledged.
    ///
    /// # Errors
    /// 400 when it is none, 403 for another boot.
    pub(crate) fn store_inventory(&self, agent: &Agent, body: &[u8]) -> Result<(), Refusal> {
        let inventory: Inventory = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad(format!("the body is not an inventory: {error}")))?;
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let mut live = slot.lock();
        // The disks are changing. An agent that lost the answer with its request reports again before it asks again, so
        // this must not be an error.
        if live.node.status == Status::Provisioning {
            return Ok(());
        }
        self.store.write_json(&document_path(agent.node, "inventory"), &inventory)?;
        self.change(&mut live, |node, now| node.inventory_at = Some(now.to_owned()))?;
        info!("inventory: {}: {} disks", live.node.label(), inventory.disks.len());
        Ok(())
    }

    /// Hands the request out, if one is armed for this boot.
    ///
    /// # Errors
    /// 403 for another boot.
    pub(crate) fn hand_out(&self, agent: &Agent) -> Result<Option<HandedOut>, Refusal> {
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let mut live = slot.lock();
        let Some(token) = agent.token.as_ref() else { return Ok(None) };
        let Some(id) = live.node.release.as_ref().map(|release| release.id.clone()) else { return Ok(None) };
        // Read first: a request that cannot be read is not consumed.
        let document = self.store.read(&release::request_path(&id))?;
        let Some(taken) = self.change(&mut live, |node, now| node.take_request(token, now))? else { return Ok(None) };
        let document =
            document.ok_or_else(|| crate::error::Error::bug(format!("request {id} is not in its folder")))?;
        let again = if taken.is_first { "" } else { " again, to the same boot" };
        info!("request: {} at {}: handed out{again}", live.node.label(), agent.peer);
        let plan_digest = live.node.release.as_ref().and_then(|release| release.plan_digest.clone());
        Ok(Some(HandedOut { document, plan_digest }))
    }

    /// Stores a batch of events and returns the last number that is stored.
    ///
    /// # Errors
    /// 400 for nonsense, 403 for another boot, 413 for too much.
    pub(crate) fn store_events(&self, agent: &Agent, body: &[u8]) -> Result<u64, Refusal> {
        let batch = events::parse(body)?;
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let mut live = slot.lock();
        let (last_seq, new) = events::append(&self.store, agent.node, &mut live.run, batch)?;
        if new.is_empty() {
            return Ok(last_seq);
        }
        self.change(&mut live, |node, now| node.hear(now))?;
        for event in &new {
            self.follow(&mut live, event)?;
        }
        Ok(last_seq)
    }

    fn follow(&self, live: &mut Live, event: &Event) -> Result<(), Refusal> {
        if let Some(line) = told(event) {
            let is_news = event.kind != EventKind::Progress
                || live.progress_told.is_none_or(|told| told.elapsed() >= super::state::PROGRESS_TOLD_EVERY);
            if is_news {
                info!("event: {}: {line}", live.node.label());
            }
            if event.kind == EventKind::Progress && is_news {
                live.progress_told = Some(Instant::now());
            }
        }
        let failed = event.error.as_ref().filter(|_| event.kind == EventKind::RunFinished);
        if let Some(error) = failed.filter(|_| live.node.status == Status::Provisioning) {
            let reason = shortened(error);
            self.change(live, |node, now| node.fail(reason, now))?;
        }
        Ok(())
    }

    /// Stores the report of a run.
    ///
    /// # Errors
    /// 400 when it is none, 403 for another boot.
    pub(crate) fn store_report(&self, agent: &Agent, body: &[u8]) -> Result<(), Refusal> {
        let report: Value =
            serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
        let is_failure = match report.get("outcome").and_then(Value::as_str) {
            Some("done") => false,
            Some("failed") => true,
            _ => return Err(Refusal::bad("outcome: expected \"done\" or \"failed\"")),
        };
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let mut live = slot.lock();
        self.store.write_json(&document_path(agent.node, "report"), &report)?;
        let message = report.pointer("/error/message").and_then(Value::as_str).map_or("no reason given", |text| text);
        let reason = message.chars().filter(|letter| !letter.is_control()).take(1000).collect::<String>();
        let seconds = report.get("seconds").and_then(Value::as_f64).unwrap_or(0.0);
        let outcome = if is_failure { format!("failed: {reason}") } else { "done".to_owned() };
        info!("report: {}: {outcome} after {seconds:.0} s", live.node.label());
        self.change(&mut live, |node, now| {
            node.hear(now);
            node.report_at = Some(now.to_owned());
            match node.status {
                Status::Provisioning | Status::Provisioned if is_failure => node.fail(reason, now),
                Status::Failed if is_failure => node.fail(reason, now),
                Status::Provisioning => node.end_run(),
                _ => {}
            }
        })?;
        Ok(())
    }

    /// Switches the network boot of a node off.
    ///
    /// # Errors
    /// 403 for another boot, 409 while a release waits for the node.
    pub(crate) fn netboot_off(&self, agent: &Agent) -> Result<(), Refusal> {
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let mut live = slot.lock();
        if live.node.status == Status::Released {
            return Err(Refusal::conflict("a release waits for this node: a person cancels it, the node cannot"));
        }
        self.change(&mut live, |node, now| {
            node.hear(now);
            node.netboot_off(now);
        })?;
        info!("netboot: {}: off", live.node.label());
        Ok(())
    }

    /// Whether the next network boot of a node gets the bootstrap.
    ///
    /// # Errors
    /// 403 for another boot.
    pub(crate) fn netboot(&self, agent: &Agent) -> Result<bool, Refusal> {
        let slot = self.agent_of(agent.node, agent.token.as_ref(), agent.peer)?;
        let live = slot.lock();
        Ok(live.node.next_boot != NextBoot::LocalDisk)
    }

    /// An installed system calls home.
    ///
    /// # Errors
    /// 404 when the token belongs to no release.
    pub(crate) fn call_home(
        &self,
        token: &TokenDigest,
        peer: IpAddr,
        form: &[(String, String)],
    ) -> Result<(), Refusal> {
        let is_of = |live: &Live| live.node.release.as_ref().is_some_and(|release| release.phone_home == *token);
        let slot = self.slots().into_iter().find(|slot| is_of(&slot.lock()));
        let slot = slot.ok_or_else(|| Refusal::absent("no release has this token"))?;
        let mut live = slot.lock();
        // A release that nobody fetched has not told its token to anybody who may use it.
        if !is_of(&live) || live.node.status == Status::Released {
            return Err(Refusal::absent("no release has this token"));
        }
        if live.node.status == Status::Ready {
            return Ok(());
        }
        let said = |key: &str| form.iter().find(|(name, _)| name == key).map(|(_, value)| shortened(value));
        let now = clock::now_rfc3339();
        let keys = form.iter().filter(|(name, _)| HOST_KEYS.contains(&name.as_str()));
        let said = PhoneHome {
            at: now.clone(),
            from: peer.to_string(),
            hostname: said("fqdn").or_else(|| said("hostname")),
            instance_id: said("instance_id"),
            host_keys: keys.map(|(_, key)| key.chars().filter(|c| !c.is_control()).take(2000).collect()).collect(),
        };
        let hostname = said.hostname.clone().unwrap_or_default();
        info!("phone-home: {} at {peer}: {hostname}", live.node.label());
        self.change(&mut live, |node, now| node.call_home(said, now))?;
        Ok(())
    }
}

/// An event as a line of the log; nothing for those that say nothing to an operator.
fn told(event: &Event) -> Option<String> {
    let step = event.step.as_deref().map(shortened).unwrap_or_default();
    let message = event.message.as_deref().map(shortened).unwrap_or_default();
    let error = event.error.as_deref().map(shortened).unwrap_or_default();
    let bytes = event.bytes_done.map(|bytes| format!(", {}", Bytes::new(bytes))).unwrap_or_default();
    Some(match event.kind {
        EventKind::RunStarted => format!("run started: {message}"),
        EventKind::StepStarted => format!("{step}: started: {message}"),
        EventKind::StepFinished => format!("{step}: finished{bytes}"),
        EventKind::StepFailed => format!("{step}: failed: {error}"),
        EventKind::RunFinished if error.is_empty() => format!("run finished: {message}"),
        EventKind::RunFinished => format!("run failed: {error}"),
        EventKind::Progress => {
            let total = event.bytes_total.map(|total| format!(" of {}", Bytes::new(total))).unwrap_or_default();
            let rate = event.rate.map(|rate| format!(", {}/s", Bytes::new(rate))).unwrap_or_default();
            format!("{step}: {}{total}{rate}", Bytes::new(event.bytes_done?))
        }
        EventKind::Log => return (!message.is_empty()).then_some(message),
    })
}
