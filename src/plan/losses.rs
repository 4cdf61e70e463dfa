//! What a plan destroys, in words that let a person stop it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::{Disk, Inventory, Signature};
use crate::layout::Layout;

/// Something that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The disk that it lies on.
    pub disk: String,
    /// What it is.
    pub what: String,
}

/// Everything on the prepared disks, and the file systems that are made anew on the kept ones.
pub fn of(disks: &[&Disk], kept: &BTreeSet<String>, inventory: &Inventory, layout: &Layout) -> Vec<Loss> {
    let mut losses = Vec::new();
    for disk in disks {
        let whats = if kept.contains(&disk.device) { remade(disk, layout) } else { all_on(disk, inventory) };
        losses.extend(whats.into_iter().map(|what| Loss { disk: disk.device.clone(), what }));
    }
    losses
}

fn all_on(disk: &Disk, inventory: &Inventory) -> Vec<String> {
    let mut whats = Vec::new();
    if let Some(table) = &disk.table {
        whats.push(format!("partition table {} with {} partitions", table.to_uppercase(), disk.partitions.len()));
    }
    let is_on = |device: &str| device == disk.device || disk.partitions.iter().any(|it| it.device == device);
    for group in &inventory.volume_groups {
        if group.physical_volumes.iter().any(|pv| is_on(&pv.device)) {
            let volumes: Vec<_> = group.logical_volumes.iter().map(|lv| format!("{} {}", lv.name, lv.size)).collect();
            whats.push(format!("VG {} with {} LVs ({})", group.name, volumes.len(), volumes.join(", ")));
        }
    }
    for array in &inventory.arrays {
        if array.members.iter().any(|member| is_on(member)) {
            whats.push(format!("array {} of {}", array.device, array.members.join(", ")));
        }
    }
    whats.extend(disk.signatures.iter().map(describe));
    match disk.has_data {
        Some(true) if whats.is_empty() => whats.push("data without a known signature".to_owned()),
        None if whats.is_empty() => whats.push("whatever is on it: nobody looked".to_owned()),
        _ => {}
    }
    whats
}

/// On a kept disk: what is made anew beside what stays. A volume counts for the disk of its group's first member.
fn remade(disk: &Disk, layout: &Layout) -> Vec<String> {
    let laid = layout.disks.iter().find(|laid| laid.device == disk.device);
    let is_here = |device: &str| laid.is_some_and(|laid| laid.partitions.iter().any(|it| it.device == device));
    let base = |device: &str| -> Option<String> {
        let volume = layout.lvs.iter().find(|it| it.device == device);
        let group = volume.and_then(|volume| layout.vgs.iter().find(|it| it.name == volume.vg));
        let array = layout.mds.iter().find(|it| it.name == device);
        let first = group.and_then(|it| it.pvs.first()).or_else(|| array.and_then(|it| it.devices.first()));
        first.cloned()
    };
    let renewed = layout.filesystems.iter().filter(|it| !it.keep_data);
    let renewed = renewed.filter(|it| is_here(&it.device) || base(&it.device).is_some_and(|device| is_here(&device)));
    let mut whats: Vec<_> =
        renewed.map(|it| format!("{}: what is there now, for a new {}", it.device, it.kind)).collect();
    whats.extend(
        layout.configdrive_device.iter().filter(|it| is_here(it)).map(|it| format!("{it}: the config drive there")),
    );
    whats.push("boot code".to_owned());
    whats
}

fn describe(signature: &Signature) -> String {
    let label = signature.label.as_ref().map_or_else(String::new, |label| format!(" label {label}"));
    format!("{}: {}{label}", signature.device, signature.kind)
}
