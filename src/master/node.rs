//! A node's record and its life: discovered, released, provisioning, provisioned, ready, or failed. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ident::Mac;
use super::token::TokenDigest;

/// Changes of status that a record remembers.
const HISTORY_KEPT: usize = 50;

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It reported; nobody released it.
    Discovered,
    /// A person released it; its next boot fetches the request.
    Released,
    /// The request was handed out.
    Provisioning,
    /// Its netboot was switched off after a verified run; it has not called home yet.
    Provisioned,
    /// The installed system called home.
    Ready,
    /// The run failed, or nothing was heard of it in time.
    Failed,
}

impl Status {
    /// The word in lists and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Released => "released",
            Self::Provisioning => "provisioning",
            Self::Provisioned => "provisioned",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// What the node's next network boot gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextBoot {
    /// Its own disk.
    LocalDisk,
    /// The bootstrap, once, to be discovered again.
    Discovery,
    /// The bootstrap and a request.
    Provision,
}

/// One change of status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The status from then on.
    pub status: Status,
    /// When, RFC 3339.
    pub at: String,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A bootstrap that was served: whoever has its token and address is that boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Digest of the token on its kernel line.
    pub token: TokenDigest,
    /// The address that fetched the script.
    pub peer: IpAddr,
    /// The MAC address that asked.
    pub mac: Mac,
    /// When, RFC 3339.
    pub at: String,
    /// SMBIOS UUID as the firmware said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Serial number as the firmware said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl Boot {
    /// Whether this token, coming from this address, is that boot.
    pub(crate) fn is(&self, token: &TokenDigest, peer: IpAddr) -> bool {
        self.token == *token && self.peer == peer
    }
}

/// How far a release got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Waits for the node to ask.
    Armed,
    /// The request went to the boot with this token, and goes to no other.
    Served(TokenDigest),
    /// The run ended, well or not, or a person cancelled it.
    Ended,
}

/// What a person allowed, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Names the request's file.
    pub id: String,
    /// The profile.
    pub profile: String,
    /// Digest of the plan that the person saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// Digest of the token that the installed system calls home with.
    pub phone_home: TokenDigest,
    /// Whether disks that are not empty were allowed to be overwritten.
    pub wipe: bool,
    /// When, RFC 3339.
    pub at: String,
    /// How far it got.
    pub progress: Progress,
}

/// Why a node counts as failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub reason: String,
    /// The status to return to when the node is heard after all; absent when the node itself said that it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presumed_from: Option<Status>,
}

/// A disk, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSummary {
    /// Kernel name.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
}

/// What a node says of itself, for lists.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Maker.
    pub manufacturer: Option<String>,
    /// Product.
    pub product: Option<String>,
    /// Logical processors.
    pub cpus: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Disks.
    pub disks: Vec<DiskSummary>,
}

/// What cloud-init told at the first boot.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhoneHome {
    /// When, RFC 3339.
    pub at: String,
    /// Where from.
    pub from: String,
    /// Host name.
    pub hostname: Option<String>,
    /// cloud-init's instance id.
    pub instance_id: Option<String>,
    /// Public host keys, as they belong into a known_hosts file.
    pub host_keys: Vec<String>,
}

/// Everything the master keeps of a node, apart from the documents beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Counts up from 1.
    pub id: u32,
    /// The MAC address it is keyed by.
    pub mac: Mac,
    /// Every MAC address of its interfaces.
    pub macs: BTreeSet<Mac>,
    /// SMBIOS UUID, lower case.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// The address that it reported.
    pub ip: Option<IpAddr>,
    /// What it has.
    pub hardware: Hardware,
    /// Checksum that the agent gave with its last report.
    pub agent_checksum: Option<String>,
    /// Whether it ever reported with the token of a boot; from then on only such reports change what it has.
    pub is_proved: bool,
    /// Where it stands.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Former and present status, oldest first.
    pub history: Vec<Change>,
    /// What its next network boot gets.
    pub next_boot: NextBoot,
    /// The last bootstrap that it was served.
    pub boot: Option<Boot>,
    /// The last release.
    pub release: Option<Release>,
    /// When it was first reported, RFC 3339.
    pub discovered_at: String,
    /// When its inventory came; absent when it never came or when the disks were written since.
    pub inventory_at: Option<String>,
    /// When its last report of a run came.
    pub report_at: Option<String>,
    /// What the installed system said.
    pub phone_home: Option<PhoneHome>,
}

impl Node {
    /// A node that has just been seen.
    pub(crate) fn new(id: u32, mac: Mac, now: &str) -> Self {
        Self {
            id,
            mac,
            macs: BTreeSet::from([mac]),
            uuid: None,
            serial: None,
            ip: None,
            hardware: Hardware::default(),
            agent_checksum: None,
            is_proved: false,
            status: Status::Discovered,
            failure: None,
            history: vec![Change { status: Status::Discovered, at: now.to_owned(), reason: None }],
            next_boot: NextBoot::LocalDisk,
            boot: None,
            release: None,
            discovered_at: now.to_owned(),
            inventory_at: None,
            report_at: None,
            phone_home: None,
        }
    }

    /// Changes the status; the same status again changes nothing.
    pub(crate) fn become_status(&mut self, status: Status, now: &str, reason: Option<String>) {
        if self.status == status {
            return;
        }
        self.status = status;
        if status != Status::Failed {
            self.failure = None;
        }
        self.history.push(Change { status, at: now.to_owned(), reason });
        let surplus = self.history.len().saturating_sub(HISTORY_KEPT);
        self.history.drain(..surplus);
    }

    /// When the present status began.
    pub(crate) fn since(&self) -> &str {
        self.history.last().map_or(&self.discovered_at, |change| &change.at)
    }

    /// A person allows one run.
    pub(crate) fn release(&mut self, release: Release, now: &str) {
        let reason = format!("profile {}", release.profile);
        self.release = Some(release);
        self.next_boot = NextBoot::Provision;
        self.phone_home = None;
        self.report_at = None;
        self.become_status(Status::Released, now, Some(reason));
    }

    /// Whether the boot with this token gets the request now. The first one to ask does, and then only it.
    pub(crate) fn take_request(&mut self, token: &TokenDigest, now: &str) -> Option<TakenRequest> {
        let release = self.release.as_mut()?;
        let id = release.id.clone();
        match &release.progress {
            Progress::Armed => {
                release.progress = Progress::Served(token.clone());
                self.inventory_at = None;
                self.become_status(Status::Provisioning, now, None);
                Some(TakenRequest { id, is_first: true })
            }
            Progress::Served(first) if first == token => Some(TakenRequest { id, is_first: false }),
            Progress::Served(_) | Progress::Ended => None,
        }
    }

    /// The run ended: no request is handed out any more, and the next boot is from the disk.
    pub(crate) fn end_run(&mut self) {
        if let Some(release) = &mut self.release {
            release.progress = Progress::Ended;
        }
        self.next_boot = NextBoot::LocalDisk;
    }

    /// The node said, or a person decided, that the run failed.
    pub(crate) fn fail(&mut self, reason: String, now: &str) {
        self.end_run();
        self.become_status(Status::Failed, now, Some(reason.clone()));
        self.failure = Some(Failure { reason, presumed_from: None });
    }

    /// Nothing was heard in time.
    pub(crate) fn presume_failed(&mut self, reason: String, now: &str) {
        let from = self.status;
        self.end_run();
        self.become_status(Status::Failed, now, Some(reason.clone()));
        self.failure = Some(Failure { reason, presumed_from: Some(from) });
    }

    /// The node is heard after it was given up. Nothing is armed by it. Says whether that changed anything.
    pub(crate) fn hear(&mut self, now: &str) -> bool {
        let Some(from) = self.failure.as_ref().and_then(|failure| failure.presumed_from) else { return false };
        self.become_status(from, now, Some("heard again".to_owned()));
        true
    }

    /// The agent switched netboot off, which it does after a verified run.
    pub(crate) fn netboot_off(&mut self, now: &str) {
        let was_running = matches!(self.status, Status::Provisioning);
        // A release that nobody fetched yet is a person's word and stays.
        if self.status == Status::Released {
            return;
        }
        self.end_run();
        if was_running {
            self.become_status(Status::Provisioned, now, None);
        }
    }

    /// A person takes the release back. Says whether there was one.
    pub(crate) fn cancel(&mut self, now: &str) -> bool {
        match self.status {
            Status::Released => {
                self.end_run();
                let before = self.history.iter().rev().map(|change| change.status).find(|&s| s != Status::Released);
                // A failure's reason is gone with the release; what it was stands in the history.
                let before = before.filter(|&status| status != Status::Failed).unwrap_or(Status::Discovered);
                self.become_status(before, now, Some("release cancelled".to_owned()));
                true
            }
            Status::Provisioning => {
                self.fail("cancelled by the operator while it ran".to_owned(), now);
                true
            }
            _ => false,
        }
    }

    /// The installed system called home.
    pub(crate) fn call_home(&mut self, said: PhoneHome, now: &str) {
        self.end_run();
        self.phone_home = Some(said);
        self.become_status(Status::Ready, now, None);
    }

    /// Whether `key` (id, MAC in any spelling, UUID, serial number) names this node.
    pub(crate) fn is_named(&self, key: &str) -> bool {
        key.parse() == Ok(self.id)
            || key.parse::<Mac>().is_ok_and(|mac| self.macs.contains(&mac))
            || self.uuid.as_deref().is_some_and(|uuid| super::ident::smbios_uuid(key).as_deref() == Some(uuid))
            || self.serial.as_deref().is_some_and(|serial| serial.eq_ignore_ascii_case(key))
    }

    /// Name for logs: `node 3 (52:54:00:00:00:01)`.
    pub(crate) fn label(&self) -> String {
        format!("node {} ({})", self.id, self.mac)
    }
}

/// A request that is handed out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TakenRequest {
    /// Names its file.
    pub id: String,
    /// Whether this is the hand-out that starts the run.
    pub is_first: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released() -> Node {
        let mut node = Node::new(1, "52:54:00:00:00:01".parse().unwrap(), "t0");
        let release = Release {
            id: "1-a".into(),
            profile: "p".into(),
            plan_digest: None,
            phone_home: TokenDigest::of("home"),
            wipe: false,
            at: "t1".into(),
            progress: Progress::Armed,
        };
        node.release(release, "t1");
        node
    }

    #[test]
    fn request_goes_to_the_first_boot_that_asks_and_to_no_other() {
        let mut node = released();
        let (first, other) = (TokenDigest::of("a"), TokenDigest::of("b"));
        assert_eq!(node.take_request(&first, "t2"), Some(TakenRequest { id: "1-a".into(), is_first: true }));
        assert_eq!(node.take_request(&other, "t3"), None);
        assert_eq!(node.take_request(&first, "t4"), Some(TakenRequest { id: "1-a".into(), is_first: false }));
        node.netboot_off("t5");
        assert_eq!(node.take_request(&first, "t6"), None);
        assert_eq!((node.status, node.next_boot), (Status::Provisioned, NextBoot::LocalDisk));
    }

    #[test]
    fn failure_never_arms_again_even_when_the_node_is_heard_after_all() {
        let mut node = released();
        let token = TokenDigest::of("a");
        node.take_request(&token, "t2");
        node.presume_failed("silent".into(), "t3");
        assert_eq!(node.take_request(&token, "t4"), None);
        assert!(node.hear("t5"));
        assert_eq!((node.status, node.next_boot), (Status::Provisioning, NextBoot::LocalDisk));
        assert_eq!(node.take_request(&token, "t6"), None);
        node.netboot_off("t7");
        assert_eq!(node.status, Status::Provisioned);
    }

    #[test]
    fn cancelled_release_leaves_what_was_before() {
        let mut node = released();
        assert!(node.cancel("t2"));
        assert_eq!((node.status, node.next_boot), (Status::Discovered, NextBoot::LocalDisk));
        assert_eq!(node.take_request(&TokenDigest::of("a"), "t3"), None);
        assert!(!node.cancel("t4"));
    }

    #[test]
    fn node_is_named_by_any_of_its_identities() {
        let mut node = released();
        node.uuid = Some("4c4c4544-0000-1000-8000-000000000001".into());
        node.serial = Some("EX1".into());
        for key in ["1", "5254.0000.0001", "4C4C4544-0000-1000-8000-000000000001", "ex1"] {
            assert!(node.is_named(key), "{key}");
        }
        assert!(!node.is_named("2"));
    }
}
