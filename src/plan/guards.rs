//! What a plan must not touch, and what it must find as it was.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory, Signature, Use, VolumeGroup};
use crate::layout::Layout;
use crate::plan::before::LVM_MEMBER;
use crate::plan::{Expectation, Step};

/// The inventory's word for what lvm2 tells.
pub const LVM_SOURCE: &str = "lvm";
/// LVM's word for a physical volume that is missing.
const MISSING: &str = "[unknown]";

/// What becomes of the disks of a layout: those that are not kept are prepared.
pub struct Fates<'a> {
    /// Devices of disks whose tables stay.
    pub kept: &'a BTreeSet<String>,
    /// Partitions on them whose group or array is made anew.
    pub renewed: &'a BTreeSet<String>,
}

/// Refuses disks that are mounted, swapped on, or held by something that the plan would not close.
pub fn refuse_disks_in_use(disks: &[&Disk], inventory: &Inventory) -> Result<()> {
    for disk in disks {
        for usage in &disk.uses {
            refuse_use(disk, usage, inventory)?;
        }
    }
    Ok(())
}

fn refuse_use(disk: &Disk, usage: &Use, inventory: &Inventory) -> Result<()> {
    let refuse = |what: String, advice: String| {
        Err(Error::new(Kind::Refused, format!("disk {} is in use: {what}", disk.device)).advise(advice))
    };
    match usage {
        Use::Mount { device, path } => {
            refuse(format!("{device} is mounted on {path}"), format!("if that is no mistake: umount {path}"))
        }
        Use::Swap { device } => refuse(format!("{device} is active swap"), format!("swapoff {device}")),
        Use::Holder { device, by, name } => {
            let is_volume = inventory.volume_groups.iter().any(|group| holds(group, name));
            let is_array = inventory.arrays.iter().any(|array| array.device == format!("/dev/{by}"));
            if is_volume || is_array {
                return Ok(());
            }
            refuse(format!("{device} is held by {by} ({name})"), format!("free {device} from {name} first"))
        }
    }
}

/// Whether a device-mapper name is that of one of the group's volumes.
fn holds(group: &VolumeGroup, mapper_name: &str) -> bool {
    let group_name = group.name.replace('-', "--");
    // Hidden parts of thin, cached or mirrored volumes are named GROUP-VOLUME_suffix.
    mapper_name.strip_prefix(&group_name).is_some_and(|rest| rest.starts_with('-') && !rest.starts_with("--"))
}

/// Which groups and arrays must be closed before the disks are prepared.
///
/// Those that lie on prepared disks alone are closed. One that reaches beyond them is refused, and so is a foreign one
/// with the name of a planned one.
pub fn closings(layout: &Layout, disks: &[&Disk], fates: &Fates<'_>, inventory: &Inventory) -> Result<Vec<Step>> {
    let Fates { kept, renewed } = fates;
    let prepared: BTreeSet<&str> = disks
        .iter()
        .filter(|disk| !kept.contains(&disk.device))
        .flat_map(|disk| std::iter::once(&disk.device).chain(disk.partitions.iter().map(|it| &it.device)))
        .chain(renewed.iter())
        .map(String::as_str)
        .collect();
    let kept_devices: BTreeSet<&str> = disks
        .iter()
        .filter(|disk| kept.contains(&disk.device))
        .flat_map(|disk| disk.partitions.iter().map(|it| it.device.as_str()))
        .filter(|device| !renewed.contains(*device))
        .collect();
    refuse_unknown_groups(disks, kept, inventory)?;
    let mut steps = Vec::new();
    // Arrays that will be closed carry physical volumes, too.
    let mut closed: BTreeSet<&str> = prepared.clone();
    let mut arrays = Vec::new();
    let mut array_steps = Vec::new();
    for array in &inventory.arrays {
        let ours = array.members.iter().filter(|member| prepared.contains(member.as_str())).count();
        if ours == 0 {
            let is_planned = layout.mds.iter().any(|md| md.name == array.device);
            let is_kept = array.members.iter().all(|member| kept_devices.contains(member.as_str()));
            if is_planned && !is_kept {
                return Err(foreign("array", &array.device, &array.members, &format!("mdadm --stop {}", array.device)));
            }
            continue;
        }
        if disks.iter().any(|disk| disk.device == array.device) {
            continue;
        }
        if ours < array.members.len() {
            return Err(beyond(
                "array",
                &array.device,
                &array.members,
                &prepared,
                &format!("mdadm --stop {}", array.device),
            ));
        }
        closed.insert(&array.device);
        arrays.push(format!("{}p", array.device));
        array_steps.push(Step::StopArray { device: array.device.clone(), members: array.members.clone() });
    }
    for group in &inventory.volume_groups {
        // What is missing lies nowhere: nobody's data are hurt by what happens to the rest.
        let present = group.physical_volumes.iter().map(|pv| &pv.device).filter(|device| *device != MISSING);
        let places: Vec<String> = present.cloned().collect();
        // A partition of a closed array is closed with it.
        let on_array = |place: &&String| arrays.iter().any(|array| place.starts_with(array.as_str()));
        let ours = places.iter().filter(|place| closed.contains(place.as_str()) || on_array(place)).count();
        // By UUID: LVM takes a name that two groups have for none of them.
        let free = format!("vgremove --select vg_uuid={0}, or vgrename {0} NEWNAME", group.uuid);
        if ours == 0 {
            let is_planned = layout.vgs.iter().any(|vg| vg.name == group.name);
            let is_kept = places.iter().all(|place| kept_devices.contains(place.as_str()));
            if is_planned && !is_kept {
                return Err(foreign("volume group", &group.name, &places, &free));
            }
        } else if ours < places.len() {
            return Err(beyond("volume group", &group.name, &places, &closed, &free));
        } else {
            steps.push(Step::DeactivateVolumeGroup { name: group.name.clone(), uuid: group.uuid.clone() });
        }
    }
    // Groups first: they may lie on the arrays.
    steps.append(&mut array_steps);
    Ok(steps)
}

/// Where LVM could not be asked, nobody knows whether a group reaches beyond the prepared disks.
fn refuse_unknown_groups(disks: &[&Disk], kept: &BTreeSet<String>, inventory: &Inventory) -> Result<()> {
    let Some(warning) = inventory.warnings.iter().find(|warning| warning.source == LVM_SOURCE) else { return Ok(()) };
    let is_member = |disk: &&&Disk| {
        !kept.contains(&disk.device) && disk.signatures.iter().any(|signature| signature.kind == LVM_MEMBER)
    };
    match disks.iter().find(is_member) {
        None => Ok(()),
        Some(disk) => Err(Error::new(
            Kind::Refused,
            format!(
                "disk {} holds an LVM physical volume, and the volume groups could not be read: {}",
                disk.device, warning.reason
            ),
        )
        .advise("make `vgs` work, or erase the disk by hand if what is on it is not needed")),
    }
}

fn foreign(what: &str, name: &str, places: &[String], free: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!(
            "{what} {name} is to be made, and one of that name lies on {}, which the request does not name",
            places.join(", ")
        ),
    )
    .advise(format!("free the name if it is not needed: {free}"))
}

fn beyond(what: &str, name: &str, places: &[String], named: &BTreeSet<&str>, free: &str) -> Error {
    let (inside, outside): (Vec<_>, Vec<_>) =
        places.iter().map(String::as_str).partition(|place| named.contains(place));
    Error::new(
        Kind::Refused,
        format!(
            "{what} {name} lies on {}, which the request prepares anew, and on {}, which it does not",
            inside.join(", "),
            outside.join(", ")
        ),
    )
    .advise(format!("free the disks if it is not needed: {free}"))
}

/// Refuses when something outside the disks of the layout already has a UUID that the plan gives: a clone of this
/// machine's disk, or half of an old mirror. What starts by UUID would start either of them.
pub fn refuse_planned_identities_elsewhere(
    expectations: &[Expectation],
    disks: &[&Disk],
    inventory: &Inventory,
) -> Result<()> {
    let digits = |uuid: &str| uuid.replace(['-', ':'], "").to_lowercase();
    let planned: BTreeSet<String> = expectations
        .iter()
        .filter_map(|expectation| match expectation {
            Expectation::FileSystem { uuid, .. } | Expectation::Array { uuid: Some(uuid), .. } => Some(digits(uuid)),
            _ => None,
        })
        .collect();
    let is_ours = |disk: &&Disk| disks.iter().any(|ours| ours.device == disk.device);
    for disk in inventory.disks.iter().filter(|disk| !is_ours(disk)) {
        let clash = |it: &&Signature| it.uuid.as_deref().is_some_and(|uuid| planned.contains(&digits(uuid)));
        if let Some(it) = disk.signatures.iter().find(clash) {
            let uuid = it.uuid.as_deref().unwrap_or_default();
            let what = format!("{} on {}, which the request does not name, has the UUID {uuid}", it.kind, it.device);
            return Err(Error::new(Kind::Refused, format!("{what} that is to be given to another")).advise(format!(
                "if it is a copy that is not needed: wipefs --all {}; else plan with another --seed",
                it.device
            )));
        }
    }
    let is_on_ours = |member: &String| {
        disks.iter().any(|disk| disk.device == *member || disk.partitions.iter().any(|it| it.device == *member))
    };
    let foreign = inventory.arrays.iter().filter(|array| !array.members.iter().all(is_on_ours));
    for array in foreign {
        let uuid = array.uuid.as_deref().unwrap_or_default();
        if planned.contains(&digits(uuid)) {
            let places = array.members.join(", ");
            let what =
                format!("array {} on {places}, which the request does not name, has the UUID {uuid}", array.device);
            return Err(Error::new(Kind::Refused, format!("{what} that is to be given to another")).advise(format!(
                "if it is not needed: mdadm --stop {} && mdadm --zero-superblock {}; else plan with another --seed",
                array.device,
                array.members.join(" ")
            )));
        }
    }
    Ok(())
}
