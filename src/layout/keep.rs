//! What of a layout stays as it is: the document's `keep_data`, carried to everything that must therefore stay.

use std::collections::BTreeSet;

use crate::error::{Error, Kind};
use crate::layout::findings::Findings;
use crate::layout::matching::Match;
use crate::layout::model::{Layout, Lv, Md, Vg};

/// Carries `keep_data` from what the document flags to what must therefore stay.
///
/// A kept physical volume keeps its group, the group its volumes, a volume its file system. What handed its flag on
/// loses it, as upstream records it. Where upstream made the file system of an array anew although its members were
/// kept, it stays here, and so do all members when one is flagged.
pub fn elevate(layout: &mut Layout) {
    keep_arrays(layout);
    let members: BTreeSet<String> = layout.mds.iter().flat_map(|md| md.devices.iter().cloned()).collect();
    let Layout { disks, vgs, lvs, filesystems, .. } = &mut *layout;
    let mut hand_on = |device: &str| {
        let mut partitions = disks.iter_mut().flat_map(|disk| &mut disk.partitions);
        let partition = partitions.find(|it| it.device == device && !members.contains(device));
        partition.is_some_and(|partition| std::mem::take(&mut partition.keep_data))
    };
    for group in vgs.iter_mut() {
        // Not `any`: each physical volume hands its flag on.
        group.keep_data = group.pvs.iter().filter(|device| hand_on(device)).count() > 0;
    }
    for file_system in filesystems.iter_mut() {
        file_system.keep_data |= hand_on(&file_system.device);
    }
    for group in vgs.iter_mut().filter(|group| group.keep_data) {
        for volume in lvs.iter_mut().filter(|volume| volume.vg == group.name) {
            group.keep_data = false;
            volume.keep_data = true;
        }
    }
    for volume in lvs.iter_mut().filter(|volume| volume.keep_data) {
        if let Some(file_system) = filesystems.iter_mut().find(|it| it.device == volume.device) {
            volume.keep_data = false;
            file_system.keep_data = true;
        }
    }
    layout.skip_partitioning = !units(layout).is_empty();
}

fn keep_arrays(layout: &mut Layout) {
    for array in &layout.mds {
        let mut members: Vec<_> = layout
            .disks
            .iter_mut()
            .flat_map(|disk| &mut disk.partitions)
            .filter(|it| array.devices.contains(&it.device))
            .collect();
        if members.iter().any(|member| member.keep_data) {
            members.iter_mut().for_each(|member| member.keep_data = true);
            let on_array = layout.filesystems.iter_mut().filter(|it| it.device == array.name);
            on_array.for_each(|it| it.keep_data = true);
        }
    }
}

/// Something that is kept as a whole, and the partitions that it lies on.
struct Unit {
    what: What,
    places: Vec<String>,
}

enum What {
    Partition,
    Group(String),
    Array(String),
}

impl Unit {
    fn words(&self) -> String {
        match &self.what {
            What::Partition => self.places.join(", "),
            What::Group(name) => format!("volume group {name}"),
            What::Array(device) => format!("array {device}"),
        }
    }
}

fn units(layout: &Layout) -> Vec<Unit> {
    let is_member = |device: &str| layout.mds.iter().any(|md| md.devices.iter().any(|it| it == device));
    let groups = layout.vgs.iter().filter(|vg| keeps_group(layout, vg));
    let groups = groups.map(|vg| Unit { what: What::Group(vg.name.clone()), places: vg.pvs.clone() });
    let arrays = layout.mds.iter().filter(|md| keeps_array(layout, md)).map(|md| Unit {
        what: What::Array(md.name.clone()),
        // A member that is new has lost its flag.
        places: md.devices.iter().filter(|device| is_kept_partition(layout, device)).cloned().collect(),
    });
    let partitions = layout.disks.iter().flat_map(|disk| &disk.partitions);
    let partitions = partitions
        .filter(|it| !is_member(&it.device) && (it.keep_data || is_kept_file_system(layout, &it.device)))
        .map(|it| Unit { what: What::Partition, places: vec![it.device.clone()] });
    partitions.chain(groups).chain(arrays).collect()
}

fn is_kept_file_system(layout: &Layout, device: &str) -> bool {
    layout.filesystems.iter().any(|it| it.keep_data && it.device == device)
}

/// Devices of the disks on which something is kept: their tables stay.
pub fn kept_disks(layout: &Layout) -> BTreeSet<String> {
    let places: BTreeSet<String> = units(layout).into_iter().flat_map(|unit| unit.places).collect();
    let holds_kept = layout.disks.iter().filter(|disk| disk.partitions.iter().any(|it| places.contains(&it.device)));
    holds_kept.map(|disk| disk.device.clone()).collect()
}

/// Whether the array's data are kept.
pub fn keeps_array(layout: &Layout, md: &Md) -> bool {
    is_kept_file_system(layout, &md.name)
}

/// Whether the group's data are kept.
pub fn keeps_group(layout: &Layout, vg: &Vg) -> bool {
    let is_kept_volume = |lv: &Lv| lv.keep_data || is_kept_file_system(layout, &lv.device);
    vg.keep_data || layout.lvs.iter().any(|lv| lv.vg == vg.name && is_kept_volume(lv))
}

/// Whether the member's part of a kept array is there; it is not on a disk that was replaced.
pub fn is_kept_partition(layout: &Layout, device: &str) -> bool {
    layout.disks.iter().flat_map(|disk| &disk.partitions).any(|it| it.keep_data && it.device == device)
}

/// Partitions of kept disks whose group or array must be made anew all the same: it is not kept, and a part of it lies
/// on a disk that is prepared.
pub fn renewed_partitions(layout: &Layout, kept_disks: &BTreeSet<String>) -> BTreeSet<String> {
    let disks = layout.disks.iter().filter(|disk| kept_disks.contains(&disk.device));
    let stays: BTreeSet<&String> = disks.flat_map(|disk| &disk.partitions).map(|it| &it.device).collect();
    let groups = layout.vgs.iter().filter(|vg| !keeps_group(layout, vg)).map(|vg| &vg.pvs);
    let arrays = layout.mds.iter().filter(|md| !keeps_array(layout, md)).map(|md| &md.devices);
    let split = groups.chain(arrays).filter(|places| places.iter().any(|place| !stays.contains(place)));
    split.flatten().filter(|place| stays.contains(place)).cloned().collect()
}

/// Partitions of kept disks on which a file system, an image or the config drive is written anew.
pub fn rewritten_partitions(layout: &Layout, kept_disks: &BTreeSet<String>) -> BTreeSet<String> {
    let disks = layout.disks.iter().filter(|disk| kept_disks.contains(&disk.device));
    let is_rewritten = |device: &str| {
        layout.configdrive_device.as_deref() == Some(device)
            || layout.filesystems.iter().any(|it| !it.keep_data && it.device == device)
    };
    let partitions = disks.flat_map(|disk| &disk.partitions).map(|it| &it.device);
    partitions.filter(|device| is_rewritten(device)).cloned().collect()
}

/// Ends the wish to keep what would lie on empty disks: a disk that was replaced is prepared beside those that are kept.
///
/// Nailgun flags a volume on all disks alike, so a new disk comes with the flag of its neighbours. The member of an
/// array that lies on a new disk is made anew; a volume group cannot do without a part, and when nothing at all is left
/// to keep, the disks are not those that the document means. So it may be, too, when any disk was recognised by its name
/// alone: the kernel may have given the name of a disk with data to another one.
pub fn release_new_disks(layout: &mut Layout, matches: &[Match<'_, '_>], findings: &mut Findings) {
    let units = units(layout);
    let is_new = |place: &str| {
        let mut pairs = layout.disks.iter().zip(matches);
        let is_empty = |found: &Match<'_, '_>| found.disk.is_empty() || found.spec.erase.is_some();
        pairs.any(|(laid, found)| is_empty(found) && laid.partitions.iter().any(|it| it.device == place))
    };
    let mut new_units = Vec::new();
    let mut is_anything_left = units.is_empty();
    for unit in units {
        let new: Vec<String> = unit.places.iter().filter(|place| is_new(place)).cloned().collect();
        let is_whole = new.len() == unit.places.len();
        is_anything_left |= !is_whole;
        if !new.is_empty() {
            new_units.push((unit, new, is_whole));
        }
    }
    if !is_anything_left {
        let names: Vec<_> = new_units.iter().map(|(unit, ..)| unit.words()).collect();
        let message = format!("all that is to be kept lies on empty disks: {}", names.join(", "));
        findings.fault(
            Error::new(Kind::Hardware, message)
                .advise("see whether these are the right disks; to prepare them take keep_data out of the request"),
        );
        return;
    }
    let by_name: Vec<_> = matches.iter().filter(|it| it.is_by_name).map(|it| it.disk.device.as_str()).collect();
    for (unit, new, is_whole) in new_units {
        if !by_name.is_empty() {
            findings.fault(Error::new(
                Kind::Hardware,
                format!(
                    "{} is to be kept, and the disk of {} is empty; whether it is new cannot be told, since {} was recognised by name alone",
                    unit.words(),
                    new.join(", "),
                    by_name.join(", ")
                ),
            ));
            continue;
        }
        if matches!(unit.what, What::Group(_)) && !is_whole {
            findings.fault(Error::new(
                Kind::Hardware,
                format!("{} is to be kept, and the disk of {} is empty", unit.words(), new.join(", ")),
            ));
            continue;
        }
        findings.warn(format!(
            "{} is to be kept, and the disk of {} is empty: a new disk, which is prepared",
            unit.words(),
            new.join(", ")
        ));
        release(layout, &unit, &new, is_whole);
    }
}

fn release(layout: &mut Layout, unit: &Unit, new: &[String], is_whole: bool) {
    let partitions = layout.disks.iter_mut().flat_map(|disk| &mut disk.partitions);
    partitions.filter(|it| new.contains(&it.device)).for_each(|it| it.keep_data = false);
    if !is_whole {
        return;
    }
    let mut devices = unit.places.clone();
    match &unit.what {
        What::Partition => {}
        What::Array(device) => devices.push(device.clone()),
        What::Group(name) => {
            layout.vgs.iter_mut().filter(|vg| vg.name == *name).for_each(|vg| vg.keep_data = false);
            for volume in layout.lvs.iter_mut().filter(|lv| lv.vg == *name) {
                volume.keep_data = false;
                devices.push(volume.device.clone());
            }
        }
    }
    layout.filesystems.iter_mut().filter(|it| devices.contains(&it.device)).for_each(|it| it.keep_data = false);
}
