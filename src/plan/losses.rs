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

fn remade(disk: &Disk, layout: &Layout) -> Vec<String> {
    let on_disk = |device: &str| disk.partitions.iter().any(|it| it.device == device);
    let file_systems = layout.filesystems.iter().filter(|it| !it.keep_data && on_disk(&it.device));
    file_systems.map(|it| format!("{}: what is there now, for a new {}", it.device, it.kind)).collect()
}

fn describe(signature: &Signature) -> String {
    let label = signature.label.as_ref().map_or_else(String::new, |label| format!(" label {label}"));
    format!("{}: {}{label}", signature.device, signature.kind)
}
