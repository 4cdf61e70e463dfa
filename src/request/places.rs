//! The places that a document has for file systems.

use std::collections::BTreeSet;

use super::file_systems::{DEFAULT, DEFAULT_BOOT};
use super::model::{DiskSpec, LVM_EXTENT, Mount, VgSpec, VolumeKind, VolumeSpec};
use crate::units::Mib;

/// A file system that the document asks for.
pub struct Place<'a> {
    /// Of the volume.
    pub path: &'a str,
    pub mount: &'a Mount,
    pub kind: &'a str,
    /// As the document asks for it, where it is given to the file system.
    pub label: Option<&'a str>,
    /// Of the volume; that of a logical volume in whole extents.
    pub size: Mib,
    pub is_kept: bool,
    /// It is that of an array.
    pub is_array: bool,
    /// It is one of several that make one: a member of an array, or a `/boot` of which one is made.
    pub is_shared: bool,
}

/// Sizes of zero and below mean that a volume is not wanted.
pub fn is_wanted(size: Mib) -> bool {
    size > Mib::default()
}

/// The group of a physical volume.
pub fn group_of(kind: &VolumeKind) -> Option<&str> {
    match kind {
        VolumeKind::Pv { vg, .. } => Some(vg),
        _ => None,
    }
}

/// A mount point that is a path.
pub fn path_of(mount: &Mount) -> Option<&str> {
    match mount {
        Mount::Path(path) => Some(path),
        Mount::None | Mount::Swap => None,
    }
}

/// Every file system that the document asks for.
pub fn places<'a>(disks: &'a [DiskSpec], groups: &'a [VgSpec]) -> Vec<Place<'a>> {
    let volumes = || disks.iter().flat_map(|disk| &disk.volumes).filter(|volume| is_wanted(volume.size));
    // A kept member keeps its array, a kept physical volume its group with all that is in it.
    let kept = || volumes().filter(|volume| volume.keep_data).map(|volume| &volume.kind);
    let kept_groups: BTreeSet<_> = kept().filter_map(group_of).collect();
    let member_of = |kind: &'a VolumeKind| match kind {
        VolumeKind::Raid { mount, .. } => path_of(mount).filter(|mount| *mount != "/boot"),
        _ => None,
    };
    let kept_arrays: BTreeSet<_> = kept().filter_map(member_of).collect();
    let mut places: Vec<_> = volumes().filter_map(place).collect();
    let mut labelled = BTreeSet::new();
    for place in &mut places {
        place.is_kept |= place.is_shared && path_of(place.mount).is_some_and(|mount| kept_arrays.contains(mount));
        // An array has the label of its first member.
        if place.is_array && path_of(place.mount).is_some_and(|mount| !labelled.insert(mount)) {
            place.label = None;
        }
    }
    for group in groups {
        let is_kept = kept_groups.contains(group.name.as_str());
        let wanted = group.volumes.iter().filter(|volume| is_wanted(volume.size) && volume.mount != Mount::None);
        places.extend(wanted.map(|volume| Place {
            path: &volume.path,
            mount: &volume.mount,
            kind: volume.file_system.as_deref().unwrap_or(DEFAULT),
            label: volume.label.as_deref(),
            size: Mib::new(volume.size.get().next_multiple_of(LVM_EXTENT.get())),
            is_kept,
            is_array: false,
            is_shared: false,
        }));
    }
    places
}

/// The file system on a volume of a disk.
fn place(volume: &VolumeSpec) -> Option<Place<'_>> {
    let (mount, file_system, label, is_raid) = match &volume.kind {
        // Journals are raw, whatever else the volume says.
        _ if volume.name.as_deref() == Some("cephjournal") => return None,
        VolumeKind::Partition { mount: Mount::None, file_system: None, .. }
        | VolumeKind::Raid { mount: Mount::None, .. }
        | VolumeKind::Boot
        | VolumeKind::LvmMetaPool
        | VolumeKind::Pv { .. } => return None,
        VolumeKind::Partition { mount, file_system, label, .. } => (mount, file_system, label, false),
        VolumeKind::Raid { mount, file_system, label, .. } => (mount, file_system, label, true),
    };
    let is_boot = path_of(mount) == Some("/boot");
    let default = if is_raid && is_boot { DEFAULT_BOOT } else { DEFAULT };
    Some(Place {
        path: &volume.path,
        mount,
        kind: file_system.as_deref().unwrap_or(default),
        label: label.as_deref(),
        size: volume.size,
        is_kept: volume.keep_data,
        is_array: is_raid && !is_boot,
        is_shared: is_raid || is_boot,
    })
}
