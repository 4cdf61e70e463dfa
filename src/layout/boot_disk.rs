//! Which disk carries `/boot`.

use crate::error::{Error, Kind, Result};
use crate::layout::storage::is_boot;
use crate::request::{DiskSpec, Mount, VolumeKind};
use crate::units::Mib;

/// Paths of the disks that may carry `/boot`; it goes to the first of them that is prepared.
///
/// Disks that list `/boot` and are not NVMe, else NVMe disks that list it; of those, firmware RAID volumes with the
/// group `os` when there are any; of those, the one marked bootable.
///
/// # Errors
/// `Request` when several of the remaining are marked bootable.
pub fn candidates(disks: &[DiskSpec]) -> Result<Vec<&str>> {
    let listing: Vec<_> = disks.iter().filter(|disk| lists_boot(disk)).collect();
    let mut suitable: Vec<_> = listing.iter().copied().filter(|disk| !is_nvme(disk)).collect();
    if suitable.is_empty() {
        suitable = listing;
    }
    if suitable.is_empty() {
        suitable = disks.iter().filter(|disk| has_plain_root(disk) && !is_nvme(disk)).collect();
    } else if suitable.iter().any(|disk| is_firmware_raid_of_os(disk)) {
        suitable.retain(|disk| is_firmware_raid_of_os(disk));
    }
    let bootable: Vec<_> = suitable.iter().copied().filter(|disk| disk.is_bootable).collect();
    match bootable.as_slice() {
        [] => Ok(suitable.into_iter().map(|disk| disk.path.as_str()).collect()),
        [disk] => Ok(vec![&disk.path]),
        several => {
            let paths: Vec<_> = several.iter().map(|disk| format!("{}.bootable", disk.path)).collect();
            Err(Error::new(
                Kind::Request,
                format!("{}: expected at most one bootable disk, found {}", paths.join(", "), several.len()),
            ))
        }
    }
}

/// Whether the disk lists a `/boot`, of whatever size.
pub fn lists_boot(disk: &DiskSpec) -> bool {
    mounts(disk).any(is_boot)
}

fn has_plain_root(disk: &DiskSpec) -> bool {
    mounts(disk).any(|mount| *mount == Mount::Path("/".to_owned()))
}

fn mounts(disk: &DiskSpec) -> impl Iterator<Item = &Mount> {
    disk.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Partition { mount, .. } | VolumeKind::Raid { mount, .. } => Some(mount),
        VolumeKind::Boot | VolumeKind::LvmMetaPool | VolumeKind::Pv { .. } => None,
    })
}

fn is_nvme(disk: &DiskSpec) -> bool {
    disk.name.contains("nvme")
}

fn is_firmware_raid_of_os(disk: &DiskSpec) -> bool {
    let holds_os = disk
        .volumes
        .iter()
        .any(|volume| matches!(&volume.kind, VolumeKind::Pv { vg, .. } if vg == "os" && volume.size > Mib::default()));
    disk.name.starts_with("md") && holds_os
}
