//! `erase-node`: no disk of this node starts any more; what lies on the disks stays. It is what Astute's `erase_node` does.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use log::warn;
use serde::Serialize;

use super::plan::print;
use crate::error::{Context as _, Error, Kind, Result};
use crate::execute;
use crate::inventory::{self, Disk, Use};
use crate::sys::blkid;
use crate::sys::boot_sector::{self, BootSector, Claim};

/// Contents of a whole disk, in libblkid's words, that leave its first sector to whoever starts it.
const FIRST_SECTOR_FREE: [&str; 7] = ["LVM2_member", "btrfs", "ext2", "ext3", "ext4", "iso9660", "swap"];

/// A disk that has not answered by then is told as failed; one that spins up takes about ten seconds. Astute waits for 40.
const PATIENCE: Duration = Duration::from_secs(15);

/// Options of `erase-node`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Show what would be done; touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Erase disks in use as well: for an installed system that is taken out of service, called in that system
    #[arg(long)]
    pub in_use: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was done to the disks of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Erasure {
    /// Whether nothing was to be touched.
    pub dry_run: bool,
    /// Every disk of the node, in natural order.
    pub disks: Vec<DiskErasure>,
}

/// What was done to a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskErasure {
    /// Its device node.
    pub device: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, when its boot sector is not erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Boot code and boot signature are zero, read back from the medium.
    Erased,
    /// They would be, were this no dry run.
    WouldBeErased,
    /// No BIOS starts from it, and its first sector holds data.
    Left,
    /// A safety rule keeps it as it is.
    Refused,
    /// It could not be read or written.
    Failed,
}

/// What is to be done to a disk.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Erase,
    Leave(String),
    Refuse(String),
}

/// Erases the boot sectors of all disks that may be touched, whatever becomes of the others.
///
/// # Errors
/// `Refused` when a disk had to stay as it is, another run goes on, or the caller is not root; `Medium` when a disk could not be
/// read or written. What is printed tells of every disk.
pub fn run(args: &Args) -> Result<()> {
    execute::require_root()?;
    let _lock = if args.dry_run { None } else { Some(execute::lock()?) };
    let disks = inventory::disks();
    if disks.is_empty() {
        warn!("no disk was found: nothing is erased");
    }
    let options = args.clone();
    let erasure = Erasure { dry_run: args.dry_run, disks: on_all(&disks, PATIENCE, move |disk| erase(disk, &options)) };
    print(&if args.json { json(&erasure)? } else { words(&erasure) })?;
    failure(&erasure).map_or(Ok(()), Err)
}

/// Does something to all disks at once: one that is dead must not keep the others.
fn on_all<F>(disks: &[Disk], patience: Duration, act: F) -> Vec<DiskErasure>
where
    F: Fn(&Disk) -> DiskErasure + Send + Sync + 'static,
{
    let (answer, answers) = mpsc::channel();
    let act = Arc::new(act);
    for (index, disk) in disks.iter().enumerate() {
        let (answer, act, of_thread) = (answer.clone(), Arc::clone(&act), disk.clone());
        // Not joined: it may hang in its disk for ever.
        let acting = move || {
            // Nobody listens any more when the disk was too slow.
            let _unheard = answer.send((index, act(&of_thread)));
        };
        if let Err(error) = std::thread::Builder::new().name(format!("erase {}", disk.name)).spawn(acting) {
            warn!("{}: {error}", disk.device);
        }
    }
    drop(answer);
    let mut told = vec![None; disks.len()];
    let deadline = Instant::now() + patience;
    // It ends when all have answered, too: no sender is left then.
    while let Ok((index, erasure)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        told[index] = Some(erasure);
    }
    let silent = |disk: &Disk| DiskErasure {
        device: disk.device.clone(),
        outcome: Outcome::Failed,
        reason: Some(format!("no answer within {:.1} s", patience.as_secs_f64())),
    };
    disks.iter().zip(told).map(|(disk, told)| told.unwrap_or_else(|| silent(disk))).collect()
}

fn erase(disk: &Disk, args: &Args) -> DiskErasure {
    let told = |outcome, reason| DiskErasure { device: disk.device.clone(), outcome, reason };
    let device = Path::new(&disk.device);
    if let Some(reason) = obstacle(disk, args.in_use) {
        return told(Outcome::Refused, Some(reason));
    }
    let decision = look(disk).map(|(sector, content)| decide(&sector, content.as_deref()));
    let claim = if args.in_use { Claim::Shared } else { Claim::Exclusive };
    match decision {
        Ok(Decision::Erase) if args.dry_run => told(Outcome::WouldBeErased, None),
        Ok(Decision::Erase) => match boot_sector::erase(device, disk.size, claim) {
            Ok(()) => told(Outcome::Erased, None),
            Err(error) if error.kind() == Kind::Refused => told(Outcome::Refused, Some(error.to_string())),
            Err(error) => told(Outcome::Failed, Some(error.to_string())),
        },
        Ok(Decision::Leave(reason)) => told(Outcome::Left, Some(reason)),
        Ok(Decision::Refuse(reason)) => told(Outcome::Refused, Some(reason)),
        Err(error) => told(Outcome::Failed, Some(error.to_string())),
    }
}

/// The boot sector of a disk, and what libblkid takes the whole disk for.
fn look(disk: &Disk) -> Result<(BootSector, Option<String>)> {
    let sector = BootSector::read(Path::new(&disk.device))?;
    Ok((sector, blkid::probe([&disk.device])?.remove("TYPE")))
}

/// Why a disk may not be written to, whatever is on it.
fn obstacle(disk: &Disk, in_use: bool) -> Option<String> {
    if disk.is_read_only {
        return Some("it is read-only".to_owned());
    }
    Some(match disk.uses.first().filter(|_| !in_use)? {
        Use::Mount { device, path } => format!("{device} is mounted on {path}"),
        Use::Swap { device } => format!("{device} is active swap"),
        Use::Holder { device, name, .. } => format!("{device} is held by {name}"),
    })
}

fn decide(sector: &BootSector, content: Option<&str>) -> Decision {
    match content.filter(|content| !FIRST_SECTOR_FREE.contains(content)) {
        None => Decision::Erase,
        Some(content) if sector.has_signature() => {
            Decision::Refuse(format!("the whole disk is {content}, whose data lie in the boot sector"))
        }
        Some(content) => Decision::Leave(format!("the whole disk is {content}, and no BIOS starts from it")),
    }
}

fn json(erasure: &Erasure) -> Result<String> {
    let text = serde_json::to_string_pretty(erasure).context(Kind::Bug, || "writing what was erased as JSON")?;
    Ok(text + "\n")
}

/// A line for each disk.
fn words(erasure: &Erasure) -> String {
    let line = |disk: &DiskErasure| {
        let what = match disk.outcome {
            Outcome::Erased => "boot code and boot signature are erased",
            Outcome::WouldBeErased => "boot code and boot signature would be erased",
            Outcome::Left => "left as it is",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        let reason = disk.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{}: {what}{reason}\n", disk.device)
    };
    erasure.disks.iter().map(line).collect()
}

/// What did not go as the caller wanted; what the medium is to blame for comes first.
fn failure(erasure: &Erasure) -> Option<Error> {
    let of = |outcome, kind| {
        let with_outcome = erasure.disks.iter().filter(move |disk| disk.outcome == outcome);
        with_outcome.map(move |disk| {
            let reason = disk.reason.as_deref().unwrap_or("for no known reason");
            Error::new(kind, format!("not erasing the boot sector of {}: {reason}", disk.device))
        })
    };
    let advice =
        "it is as it was; disks in use are erased with --in-use alone, for a system that is taken out of service";
    let refused = of(Outcome::Refused, Kind::Refused).map(|error| error.advise(advice));
    Error::join(of(Outcome::Failed, Kind::Medium).chain(refused).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn sector(is_bootable: bool) -> BootSector {
        let scratch = crate::scratch::Scratch::new();
        let mut bytes = [0; 512];
        if is_bootable {
            bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        }
        std::fs::write(scratch.path("sector"), bytes).unwrap();
        BootSector::read(&scratch.path("sector")).unwrap()
    }

    #[test]
    fn disks_in_use_are_refused_unless_the_running_system_is_the_one_to_go() {
        let mount = Use::Mount { device: "/dev/sda1".to_owned(), path: "/run/live/medium".to_owned() };
        let swap = Use::Swap { device: "/dev/sda2".to_owned() };
        let held = Use::Holder {
            device: "/dev/sda3".to_owned(),
            by: "dm-0".to_owned(),
            name: "os-root".to_owned(),
            uuid: None,
        };
        let reasons =
            ["/dev/sda1 is mounted on /run/live/medium", "/dev/sda2 is active swap", "/dev/sda3 is held by os-root"];
        for (user, reason) in [mount, swap, held].into_iter().zip(reasons) {
            let disk = Disk { uses: vec![user], ..Disk::unknown("sda", Bytes::mib(8)) };
            assert_eq!(obstacle(&disk, false).as_deref(), Some(reason));
            assert_eq!(obstacle(&disk, true), None);
        }
        let disk = Disk { is_read_only: true, ..Disk::unknown("sda", Bytes::mib(8)) };
        assert_eq!(obstacle(&disk, true).as_deref(), Some("it is read-only"));
    }

    #[test]
    fn data_in_the_first_sector_is_never_touched() {
        for content in [None, Some("ext4"), Some("LVM2_member"), Some("swap")] {
            assert_eq!(decide(&sector(true), content), Decision::Erase, "{content:?}");
            assert_eq!(decide(&sector(false), content), Decision::Erase, "{content:?}");
        }
        let reason = "the whole disk is xfs, and no BIOS starts from it".to_owned();
        assert_eq!(decide(&sector(false), Some("xfs")), Decision::Leave(reason));
        let reason = "the whole disk is vfat, whose data lie in the boot sector".to_owned();
        assert_eq!(decide(&sector(true), Some("vfat")), Decision::Refuse(reason));
    }

    #[test]
    fn dead_disk_does_not_keep_the_others() {
        let disks = ["sda", "sdb", "sdc"].map(|name| Disk::unknown(name, Bytes::mib(8)));
        let told = on_all(&disks, Duration::from_millis(300), |disk| {
            if disk.name == "sdb" {
                loop {
                    std::thread::park();
                }
            }
            DiskErasure { device: disk.device.clone(), outcome: Outcome::Erased, reason: None }
        });
        let told: Vec<_> =
            told.iter().map(|disk| (disk.device.as_str(), disk.outcome, disk.reason.as_deref())).collect();
        let expected = [
            ("/dev/sda", Outcome::Erased, None),
            ("/dev/sdb", Outcome::Failed, Some("no answer within 0.3 s")),
            ("/dev/sdc", Outcome::Erased, None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn every_disk_is_told_of_and_the_medium_is_blamed_first() {
        let disk = |device: &str, outcome, reason: Option<&str>| DiskErasure {
            device: device.to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
        };
        let mut erasure = Erasure {
            dry_run: false,
            disks: vec![
                disk("/dev/sda", Outcome::Erased, None),
                disk("/dev/sdb", Outcome::Left, Some("the whole disk is xfs")),
                disk("/dev/sdc", Outcome::Refused, Some("/dev/sdc1 is mounted on /srv")),
            ],
        };
        assert_eq!(
            words(&erasure),
            "/dev/sda: boot code and boot signature are erased\n\
             /dev/sdb: left as it is: the whole disk is xfs\n\
             /dev/sdc: refused: /dev/sdc1 is mounted on /srv\n"
        );
        let error = failure(&erasure).unwrap();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.to_string(), "not erasing the boot sector of /dev/sdc: /dev/sdc1 is mounted on /srv");
        erasure.disks.push(disk("/dev/sdd", Outcome::Failed, Some("I/O error")));
        assert_eq!(failure(&erasure).unwrap().kind(), Kind::Medium);
        erasure.disks.truncate(2);
        assert!(failure(&erasure).is_none());
        assert_eq!(
            json(&erasure).unwrap(),
            "{\n  \"dry_run\": false,\n  \"disks\": [\n    {\n      \"device\": \"/dev/sda\",\n      \"outcome\": \"erased\"\n    },\n    \
             {\n      \"device\": \"/dev/sdb\",\n      \"outcome\": \"left\",\n      \"reason\": \"the whole disk is xfs\"\n    }\n  ]\n}\n"
        );
    }
}
