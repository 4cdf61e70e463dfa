//! What an operator sees of a node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::report::{Event, EventKind};
use crate::units::Bytes;

use super::events;
use super::node::{Hardware, NextBoot, Node, PhoneHome, Status};
use super::state::{Master, document_path};

/// Events that `show` gives.
const EVENTS_SHOWN: usize = 20;

/// A line of `nodes list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Id.
    pub id: u32,
    /// MAC address.
    pub mac: String,
    /// Address that it reported.
    pub ip: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// What its next network boot gets.
    pub next_boot: NextBoot,
    /// What it has.
    pub hardware: Hardware,
}

/// Machines that fetched a bootstrap and never reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrangerView {
    /// MAC address.
    pub mac: String,
    /// Address that fetched the script.
    pub peer: String,
    /// When, RFC 3339.
    pub at: String,
}

/// `nodes list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Nodes by id.
    pub nodes: Vec<Summary>,
    /// Machines that never reported.
    pub strangers: Vec<StrangerView>,
}

/// `nodes show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// What `list` tells.
    #[serde(flatten)]
    pub summary: Summary,
    /// Former and present status.
    pub history: Vec<super::node::Change>,
    /// The last release's profile, time and plan.
    pub release: Option<ReleaseView>,
    /// The last events of the last run, oldest first.
    pub events: Vec<Event>,
    /// The last report of a run.
    pub report: Option<Value>,
    /// What the installed system said at its first boot.
    pub phone_home: Option<PhoneHome>,
    /// When the inventory came that a release would be planned from.
    pub inventory_at: Option<String>,
}

/// A release without its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Profile.
    pub profile: String,
    /// When, RFC 3339.
    pub at: String,
    /// Digest of the plan that was shown.
    pub plan_digest: Option<String>,
    /// Whether disks that were not empty were allowed to be overwritten.
    pub wipe: bool,
}

impl Summary {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            id: node.id,
            mac: node.mac.to_string(),
            ip: node.ip.map(|ip| ip.to_string()),
            uuid: node.uuid.clone(),
            serial: node.serial.clone(),
            status: node.status,
            since: node.since().to_owned(),
            reason: node.failure.as_ref().map(|failure| failure.reason.clone()),
            next_boot: node.next_boot,
            hardware: node.hardware.clone(),
        }
    }
}

impl Master {
    /// All nodes.
    pub(crate) fn list(&self) -> List {
        let nodes = self.slots().iter().map(|slot| Summary::of(&slot.lock().node)).collect();
        let index = self.index();
        let mut strangers: Vec<_> = index
            .strangers
            .values()
            .map(|boot| StrangerView { mac: boot.mac.to_string(), peer: boot.peer.to_string(), at: boot.at.clone() })
            .collect();
        strangers.sort_by(|a, b| a.mac.cmp(&b.mac));
        List { nodes, strangers }
    }

    /// One node with its history, last events and last report.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn details(&self, node: &Node) -> Result<Details> {
        let release = node.release.as_ref().map(|release| ReleaseView {
            profile: release.profile.clone(),
            at: release.at.clone(),
            plan_digest: release.plan_digest.clone(),
            wipe: release.wipe,
        });
        let report = match node.report_at {
            Some(_) => self.store.read_json(&document_path(node.id, "report"))?,
            None => None,
        };
        Ok(Details {
            summary: Summary::of(node),
            history: node.history.clone(),
            release,
            events: events::last(&self.store, node.id, EVENTS_SHOWN)?,
            report,
            phone_home: node.phone_home.clone(),
            inventory_at: node.inventory_at.clone(),
        })
    }
}

impl List {
    /// A table for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text =
            format!("{:>4}  {:17}  {:15}  {:12}  {:20}  {}\n", "ID", "MAC", "IP", "STATUS", "SINCE", "DISKS");
        for node in &self.nodes {
            let disks: Vec<_> = node.hardware.disks.iter().map(disk).collect();
            let ip = node.ip.as_deref().unwrap_or("-");
            text.push_str(&format!(
                "{:>4}  {:17}  {ip:15}  {:12}  {:20}  {}\n",
                node.id,
                node.mac,
                node.status.as_str(),
                node.since,
                disks.join(", ")
            ));
            if let Some(reason) = &node.reason {
                text.push_str(&format!("      {reason}\n"));
            }
        }
        for stranger in &self.strangers {
            let StrangerView { mac, peer, at } = stranger;
            text.push_str(&format!(
                "   -  {mac:17}  {peer:15}  {:12}  {at:20}  fetched the bootstrap, never reported\n",
                "-"
            ));
        }
        text
    }
}

impl Details {
    /// Some lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let node = &self.summary;
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut lines = vec![
            format!("node {}: {} since {}", node.id, node.status.as_str(), node.since),
            format!("  mac {}, ip {}, serial {}", node.mac, or_dash(&node.ip), or_dash(&node.serial)),
            format!("  uuid {}", or_dash(&node.uuid)),
            format!(
                "  {} {}, {} CPUs, {}",
                or_dash(&node.hardware.manufacturer),
                or_dash(&node.hardware.product),
                node.hardware.cpus.unwrap_or(0),
                Bytes::new(node.hardware.memory.unwrap_or(0))
            ),
        ];
        lines.extend(node.hardware.disks.iter().map(|one| format!("  disk {}", disk(one))));
        lines.extend(node.reason.iter().map(|reason| format!("  failed: {reason}")));
        if let Some(release) = &self.release {
            let digest = release.plan_digest.as_deref().unwrap_or("-");
            lines.push(format!("  released {} with profile {}, plan {digest}", release.at, release.profile));
        }
        if let Some(home) = &self.phone_home {
            lines.push(format!("  called home {} from {} as {}", home.at, home.from, or_dash(&home.hostname)));
            lines.extend(home.host_keys.iter().map(|key| format!("    host key {key}")));
        }
        for change in &self.history {
            let reason = change.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            lines.push(format!("  {} {}{reason}", change.at, change.status.as_str()));
        }
        if !self.events.is_empty() {
            lines.push("  last events:".to_owned());
        }
        lines.extend(self.events.iter().map(|event| format!("    {}", event_line(event))));
        lines.join("\n") + "\n"
    }
}

fn disk(disk: &super::node::DiskSummary) -> String {
    format!("{} {}", disk.name, Bytes::new(disk.size))
}

fn event_line(event: &Event) -> String {
    let kind = match event.kind {
        EventKind::RunStarted => "run started",
        EventKind::StepStarted => "started",
        EventKind::Progress => "progress",
        EventKind::StepFinished => "finished",
        EventKind::StepFailed => "FAILED",
        EventKind::RunFinished => "run finished",
        EventKind::Log => "log",
    };
    let bytes = event.bytes_done.map(|bytes| Bytes::new(bytes).to_string());
    let words = [event.step.clone(), Some(kind.to_owned()), bytes, event.message.clone(), event.error.clone()];
    let words: Vec<_> = words.into_iter().flatten().map(|word| super::ident::shortened(&word)).collect();
    format!("{} {}", event.time, words.join(" "))
}
