//! What a plan destroys, and in which step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::{Disk, Inventory};
use crate::layout::Layout;
use crate::plan::before::{content, describe, unexplained};

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

/// Everything on the prepared disks, and what is made anew on the kept ones.
pub fn of(
    disks: &[&Disk],
    kept: &BTreeSet<String>,
    renewed: &BTreeSet<String>,
    inventory: &Inventory,
    layout: &Layout,
) -> Vec<Loss> {
    let on_disk = |disk: &&Disk| {
        if kept.contains(&disk.device) { remade(disk, renewed, inventory, layout) } else { all_on(disk, inventory) }
    };
    disks.iter().flat_map(on_disk).collect()
}

fn all_on(disk: &Disk, inventory: &Inventory) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut lose = |device: &str, what: String| {
        let (disk, device, step) = (disk.device.clone(), device.to_owned(), format!("erase {}", disk.device));
        losses.push(Loss { disk, device, what, step });
    };
    if let Some(table) = &disk.table {
        let partitions = counted(disk.partitions.len(), "partition");
        lose(&disk.device, format!("partition table {} with {partitions}", table.to_uppercase()));
    }
    let is_on = |device: &str| device == disk.device || disk.partitions.iter().any(|it| it.device == device);
    for group in &inventory.volume_groups {
        if let Some(pv) = group.physical_volumes.iter().find(|pv| is_on(&pv.device)) {
            let volumes: Vec<_> = group.logical_volumes.iter().map(|lv| format!("{} {}", lv.name, lv.size)).collect();
            let list = if volumes.is_empty() { String::new() } else { format!(" ({})", volumes.join(", ")) };
            lose(&pv.device, format!("VG {} with {}{list}", group.name, counted(volumes.len(), "LV")));
        }
    }
    for array in &inventory.arrays {
        if let Some(member) = array.members.iter().find(|member| is_on(member)) {
            lose(member, format!("array {} of {}", array.device, array.members.join(", ")));
        }
    }
    for signature in unexplained(disk, inventory) {
        lose(&signature.device, describe(signature));
    }
    let is_bare = losses.is_empty();
    let mut lose = |what: &str| {
        let (disk, step) = (disk.device.clone(), format!("erase {}", disk.device));
        losses.push(Loss { device: disk.clone(), disk, what: what.to_owned(), step });
    };
    match disk.has_data {
        Some(true) if is_bare => lose("data without a known signature"),
        None if is_bare => lose("whatever is on it: nobody looked"),
        _ => {}
    }
    losses
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
    let places = disk.partitions.iter().filter(|it| renewed.contains(&it.device));
    let mut losses: Vec<_> = places
        .map(|it| {
            let content = content(disk, &it.device, inventory);
            let what = if content.is_empty() { "what is there now".to_owned() } else { content.join(", ") };
            lose(&it.device, what, format!("erase-partition {}", it.device))
        })
        .collect();
    let made = layout.filesystems.iter().filter(|it| !it.keep_data);
    let made = made.filter(|it| {
        is_here(&it.device) || base(&it.device).is_some_and(|device| is_here(&device) && !renewed.contains(&device))
    });
    losses.extend(made.map(|it| {
        let step = if it.from_image { "write-image" } else { "mkfs" };
        let what = format!("what is there now, for a new {}", it.kind);
        lose(&it.device, what, format!("{step} {}", it.device))
    }));
    let drive = layout.configdrive_device.iter().filter(|it| is_here(it));
    losses.extend(drive.map(|it| lose(it, "the config drive there".to_owned(), format!("configdrive {it}"))));
    losses.push(lose(&disk.device, "boot code".to_owned(), format!("withdraw-boot-code {}", disk.device)));
    losses
}
