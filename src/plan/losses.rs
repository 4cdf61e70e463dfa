//! What a plan destroys, and in which step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::{Disk, Inventory, Trace, VolumeGroup};
use crate::layout::Layout;
use crate::plan::before::{self, content, describe, unexplained};
use crate::plan::stacks;

/// Something that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Loss {
    /// The disk that it lies on.
    pub disk: String,
    /// Where exactly: the disk, a partition of it, or an array or volume on it.
    pub device: String,
    /// What it is, in words: `VG os with 2 LVs (root 50 GiB, swap 4 GiB)`.
    pub what: String,
    /// The step that destroys it.
    pub step: String,
}

/// Everything on the prepared disks, and what is made anew on the kept ones. A group or an array over several disks is
/// told once, with the first of them.
pub fn of(
    disks: &[&Disk],
    kept: &BTreeSet<String>,
    renewed: &BTreeSet<String>,
    inventory: &Inventory,
    layout: &Layout,
) -> Vec<Loss> {
    let mut told = BTreeSet::new();
    let mut losses = Vec::new();
    for disk in disks {
        if kept.contains(&disk.device) {
            losses.extend(remade(disk, renewed, inventory, layout));
        } else {
            losses.extend(all_on(disk, inventory, &mut told));
        }
    }
    losses
}

fn all_on(disk: &Disk, inventory: &Inventory, told: &mut BTreeSet<String>) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut lose = |device: &str, what: String| {
        let (disk, device, step) = (disk.device.clone(), device.to_owned(), format!("erase {}", disk.device));
        losses.push(Loss { disk, device, what, step });
    };
    if let Some(table) = &disk.table {
        let partitions = counted(disk.partitions.len(), "partition");
        lose(&disk.device, format!("partition table {} with {partitions}", table.to_uppercase()));
    }
    let mut lost: BTreeSet<String> =
        std::iter::once(&disk.device).chain(disk.partitions.iter().map(|it| &it.device)).cloned().collect();
    // What lies on what is lost is lost in turn, level by level.
    loop {
        let count = lost.len();
        for array in &inventory.arrays {
            if let Some(member) = array.members.iter().find(|member| lost.contains(member.as_str())) {
                if told.insert(array.device.clone()) {
                    lose(member, format!("array {} of {}", array.device, array.members.join(", ")));
                }
                lost.insert(array.device.clone());
            }
        }
        for group in &inventory.volume_groups {
            let place = group.physical_volumes.iter().find(|pv| lost.iter().any(|lost| is_on(&pv.device, lost)));
            let Some(place) = place else { continue };
            if told.insert(group.uuid.clone()) {
                lose(&place.device, group_words(group));
            }
            lost.extend(group.logical_volumes.iter().flat_map(|volume| stacks::nodes(&group.name, &volume.name)));
        }
        if lost.len() == count {
            break;
        }
    }
    for signature in unexplained(disk, inventory) {
        lose(&signature.device, describe(signature));
    }
    // A member of an array begins, or ends, with what is in the array.
    let is_member = |it: &&Trace| !inventory.arrays.iter().any(|array| array.members.contains(&it.device));
    for trace in unnamed_traces(disk).filter(is_member) {
        let what = format!("{}, left over, at byte {}", before::kind(&trace.kind), trace.offset.get());
        lose(&trace.device, what);
    }
    if let Some(what) = unrecognised(disk).filter(|_| losses.is_empty() && !is_part_of_told(disk, inventory)) {
        let (disk, step) = (disk.device.clone(), format!("erase {}", disk.device));
        losses.push(Loss { device: disk.clone(), disk, what: what.to_owned(), step });
    }
    losses
}

/// Superblocks that no signature of their device tells of: what lay there earlier.
fn unnamed_traces(disk: &Disk) -> impl Iterator<Item = &Trace> {
    let is_named =
        |it: &Trace| disk.signatures.iter().any(|known| (&known.device, &known.kind) == (&it.device, &it.kind));
    disk.traces.iter().filter(move |it| !is_named(it))
}

/// Whether a device is this one, or a partition of this array.
fn is_on(device: &str, lost: &str) -> bool {
    let is_partition = || device.strip_prefix(lost).is_some_and(|rest| rest.starts_with('p'));
    device == lost || (lost.starts_with("/dev/md") && is_partition())
}

/// Whether the whole disk is a part of something that was told with another disk.
fn is_part_of_told(disk: &Disk, inventory: &Inventory) -> bool {
    inventory.arrays.iter().any(|array| array.members.contains(&disk.device))
        || inventory.volume_groups.iter().any(|group| group.physical_volumes.iter().any(|pv| pv.device == disk.device))
}

fn unrecognised(disk: &Disk) -> Option<&'static str> {
    match disk.has_data {
        Some(true) => Some("data without a known signature"),
        None => Some("whatever is on it: nobody looked"),
        Some(false) => None,
    }
}

fn group_words(group: &VolumeGroup) -> String {
    let volumes: Vec<_> = group.logical_volumes.iter().map(|lv| format!("{} {}", lv.name, lv.size)).collect();
    let list = if volumes.is_empty() { String::new() } else { format!(" ({})", volumes.join(", ")) };
    format!("VG {} with {}{list}", group.name, counted(volumes.len(), "LV"))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// On a kept disk: what is made anew beside what stays. A volume counts for the disk of its group's first member.
fn remade(disk: &Disk, renewed: &BTreeSet<String>, inventory: &Inventory, layout: &Layout) -> Vec<Loss> {
    let laid = layout.disks.iter().find(|laid| laid.device == disk.device);
    let is_here = |device: &str| laid.is_some_and(|laid| laid.partitions.iter().any(|it| it.device == device));
    let base = |device: &str| -> Option<String> {
        let volume = layout.lvs.iter().find(|it| it.device == device);
        let group = volume.and_then(|volume| layout.vgs.iter().find(|it| it.name == volume.vg));
        let array = layout.mds.iter().find(|it| it.name == device);
        let first = group.and_then(|it| it.pvs.first()).or_else(|| array.and_then(|it| it.devices.first()));
        first.cloned()
    };
    let lose = |device: &str, what: String, step: String| Loss {
        disk: disk.device.clone(),
        device: device.to_owned(),
        what,
        step,
    };
    // What is there now, in words, where anything is known of it.
    let known = |device: &str| Some(content(disk, device, inventory).join(", ")).filter(|words| !words.is_empty());
    let now = |device: &str| known(device).unwrap_or_else(|| "what is there now".to_owned());
    let places = disk.partitions.iter().filter(|it| renewed.contains(&it.device));
    let mut losses: Vec<_> =
        places.map(|it| lose(&it.device, now(&it.device), format!("erase-partition {}", it.device))).collect();
    let made = layout.filesystems.iter().filter(|it| !it.keep_data);
    let made = made.filter(|it| {
        is_here(&it.device) || base(&it.device).is_some_and(|device| is_here(&device) && !renewed.contains(&device))
    });
    losses.extend(made.map(|it| {
        let step = if it.from_image { "write-image" } else { "mkfs" };
        lose(&it.device, format!("{}, for a new {}", now(&it.device), it.kind), format!("{step} {}", it.device))
    }));
    let drive = layout.configdrive_device.iter().filter(|it| is_here(it));
    losses
        .extend(drive.map(|it| lose(it, format!("{}, for a new config drive", now(it)), format!("configdrive {it}"))));
    let core = laid.and_then(|laid| laid.partitions.first()).and_then(|it| Some((&it.device, known(&it.device)?)));
    losses.extend(core.map(|(device, what)| lose(device, format!("{what}, for GRUB"), "boot-code".to_owned())));
    losses.push(lose(&disk.device, "boot code".to_owned(), format!("withdraw-boot-code {}", disk.device)));
    losses
}
