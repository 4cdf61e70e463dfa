//! What a plan must not touch, and what it must find as it was.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory, Signature, Use, VolumeGroup};
use crate::layout::Layout;
use crate::plan::before::{self, ARRAY_MEMBER, LVM_MEMBER};
use crate::plan::stacks::{self, Kind as StackKind, Stack};
use crate::plan::{Expectation, Step};

/// The inventory's word for what lvm2 tells.
pub const LVM_SOURCE: &str = "lvm";

/// What becomes of the disks of a layout: those that are not kept are prepared.
pub struct Fates<'a> {
    /// Devices of disks whose tables stay.
    pub kept: &'a BTreeSet<String>,
    /// Partitions on them whose content is lost all the same.
    pub rewritten: &'a BTreeSet<String>,
}

impl Fates<'_> {
    /// Prepared disks, their partitions, and what is rewritten on kept ones.
    fn lost_places(&self, disks: &[&Disk]) -> BTreeSet<String> {
        let prepared = disks.iter().filter(|disk| !self.kept.contains(&disk.device));
        let places =
            prepared.flat_map(|disk| std::iter::once(&disk.device).chain(disk.partitions.iter().map(|it| &it.device)));
        places.chain(self.rewritten).cloned().collect()
    }

    /// Partitions of kept disks that stay as they are.
    fn kept_places(&self, disks: &[&Disk]) -> BTreeSet<String> {
        let kept = disks.iter().filter(|disk| self.kept.contains(&disk.device));
        let places = kept.flat_map(|disk| disk.partitions.iter().map(|it| &it.device));
        places.filter(|place| !self.rewritten.contains(*place)).cloned().collect()
    }
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
        Use::Holder { device, by, name, uuid } => {
            let is_volume = inventory.volume_groups.iter().any(|group| holds(group, name, uuid.as_deref()));
            let is_array = inventory.arrays.iter().any(|array| array.device == format!("/dev/{by}"));
            if is_volume || is_array {
                return Ok(());
            }
            let advice = format!("if it is not needed: {}", closing_command(by, name, uuid.as_deref()));
            refuse(format!("{device} is held by {by} ({name})"), advice)
        }
    }
}

/// Whether a device-mapper device is one of the group's volumes, or a hidden part of one.
fn holds(group: &VolumeGroup, mapper_name: &str, mapper_uuid: Option<&str>) -> bool {
    // LVM's own UUIDs, of the group and of the volume, both without hyphens; a name may be anybody's.
    if let Some(uuid) = mapper_uuid {
        return uuid.strip_prefix("LVM-").is_some_and(|uuid| uuid.starts_with(&group.uuid.replace('-', "")));
    }
    let group_name = group.name.replace('-', "--");
    // Hidden parts of thin, cached or mirrored volumes are named GROUP-VOLUME_suffix.
    mapper_name.strip_prefix(&group_name).is_some_and(|rest| rest.starts_with('-') && !rest.starts_with("--"))
}

/// What ends the use of a device on top of a disk, by what it is.
fn closing_command(kernel_name: &str, name: &str, mapper_uuid: Option<&str>) -> String {
    let family = mapper_uuid.and_then(|uuid| uuid.split('-').next()).unwrap_or_default();
    match family {
        "CRYPT" => format!("cryptsetup close {name}"),
        "mpath" => format!("multipath -f {name}"),
        _ if kernel_name.starts_with("bcache") => format!("echo 1 > /sys/block/{kernel_name}/bcache/stop"),
        _ if kernel_name.starts_with("md") => format!("mdadm --stop /dev/{kernel_name}"),
        _ if kernel_name.starts_with("drbd") => format!("drbdadm down {name}"),
        _ => format!("dmsetup remove {name}"),
    }
}

/// Refuses disks that are to be prepared and are members of a RAID of the firmware: its metadata tells the firmware of
/// all of its disks, and is left alone unless a person says otherwise.
fn refuse_firmware_members(disks: &[&Disk], fates: &Fates<'_>) -> Result<()> {
    let prepared = disks.iter().filter(|disk| !fates.kept.contains(&disk.device));
    let is_member = |it: &&Signature| it.kind.ends_with("_raid_member") && it.kind != ARRAY_MEMBER;
    let faults = prepared.filter_map(|disk| {
        let it = disk.signatures.iter().filter(|it| it.device == disk.device).find(is_member)?;
        let message = format!("disk {} is a {}", disk.device, before::describe(it));
        Some(Error::new(Kind::Refused, message).advise(format!(
            "use the volume that the firmware makes of it; or, if that RAID is not needed: wipefs --all --types {} {}",
            it.kind, disk.device
        )))
    });
    Error::join(faults.collect()).map_or(Ok(()), Err)
}

/// Which groups and arrays must be closed before the disks are prepared.
///
/// Those that lie on prepared places alone are closed. What reaches beyond them is refused, running or not, and so is
/// something foreign with the name of what is planned.
pub fn closings(layout: &Layout, disks: &[&Disk], fates: &Fates<'_>, inventory: &Inventory) -> Result<Vec<Step>> {
    refuse_unknown_groups(disks, fates, inventory)?;
    refuse_firmware_members(disks, fates)?;
    let stacks = stacks::of(inventory);
    let mut closing =
        Closing { layout, disks, lost: fates.lost_places(disks), stays: fates.kept_places(disks), inventory };
    // What lies on lost places alone is lost, and its own devices are lost places in turn: level by level, from below.
    let mut open: Vec<&Stack> = stacks.iter().collect();
    let mut levels = Vec::new();
    loop {
        let is_lost = |stack: &&Stack| !stack.places.is_empty() && stack.places.iter().all(|it| closing.is_lost(it));
        let (ready, others): (Vec<_>, Vec<_>) = open.iter().copied().partition(is_lost);
        if ready.is_empty() {
            break;
        }
        let mut steps = Vec::new();
        for stack in &ready {
            steps.extend(closing.close(stack)?);
        }
        steps.sort_by_key(|step| !matches!(step, Step::DeactivateVolumeGroup { .. }));
        levels.push(steps);
        closing.lost.extend(ready.iter().flat_map(|stack| stack.provides.iter().cloned()));
        open = others;
    }
    for stack in open {
        closing.refuse_what_reaches_beyond(stack)?;
    }
    // The uppermost is closed first.
    Ok(levels.into_iter().rev().flatten().collect())
}

/// What is judged against what.
struct Closing<'a> {
    layout: &'a Layout,
    disks: &'a [&'a Disk],
    /// Places whose content is lost, and devices on them.
    lost: BTreeSet<String>,
    /// Places that stay as they are.
    stays: BTreeSet<String>,
    inventory: &'a Inventory,
}

impl Closing<'_> {
    /// The step that ends the use of what lies on lost places alone.
    fn close(&self, stack: &Stack) -> Result<Option<Step>> {
        if stack.is_incomplete && self.may_hide_something() {
            let what = "and a part of it lies nobody knows where, perhaps in an array that does not run";
            let message = format!("{} lies on {}, {what}", stack.words, stack.places.join(", "));
            return Err(Error::new(Kind::Refused, message).advise(free(stack)));
        }
        match &stack.kind {
            StackKind::Group { name, close } => {
                self.refuse_name_of_what_stays(stack, name)?;
                Ok(Some(close.clone()))
            }
            StackKind::Array { device, close } => {
                if self.disks.iter().any(|disk| disk.device == *device) {
                    let places = stack.places.join(", ");
                    let message = format!("{device} and {places}, which it lies on, are both to be prepared");
                    return Err(Error::new(Kind::Refused, message).advise("take one of them out of the request"));
                }
                Ok(Some(close.clone()))
            }
            StackKind::Idle => Ok(None),
        }
    }

    fn refuse_what_reaches_beyond(&self, stack: &Stack) -> Result<()> {
        let (inside, outside): (Vec<_>, Vec<_>) = stack.places.iter().partition(|place| self.is_lost(place));
        if inside.is_empty() { self.refuse_taken_name(stack) } else { Err(beyond(stack, &inside, &outside)) }
    }

    /// Whether the place is lost; a partition of an array that is closed is closed with it.
    fn is_lost(&self, place: &str) -> bool {
        let array = place.rsplit_once('p').map(|(array, _)| array).filter(|array| array.starts_with("/dev/md"));
        self.lost.contains(place) || array.is_some_and(|array| self.lost.contains(array))
    }

    /// Whether an array that does not run lies on disks that the request does not name: nobody knows what is on it. Arrays
    /// of the named disks carry file systems.
    fn may_hide_something(&self) -> bool {
        let is_named = |disk: &Disk| self.disks.iter().any(|named| named.device == disk.device);
        let is_running = |member: &String| self.inventory.arrays.iter().any(|array| array.members.contains(member));
        let others = self.inventory.disks.iter().filter(|disk| !is_named(disk));
        others.flat_map(|disk| &disk.signatures).any(|it| it.kind == ARRAY_MEMBER && !is_running(&it.device))
    }

    fn refuse_taken_name(&self, stack: &Stack) -> Result<()> {
        let is_planned = match &stack.kind {
            StackKind::Group { name, .. } => self.layout.vgs.iter().any(|vg| vg.name == *name),
            StackKind::Array { device, .. } => self.layout.mds.iter().any(|md| md.name == *device),
            StackKind::Idle => false,
        };
        let is_kept = stack.places.iter().all(|place| self.stays.contains(place));
        if !is_planned || is_kept {
            return Ok(());
        }
        let what = format!("one of that name lies on {}, which the request does not name", stack.places.join(", "));
        let message = format!("{} is to be made, and {what}", stack.words);
        Err(Error::new(Kind::Refused, message).advise(format!("free the name if it is not needed: {}", stack.free)))
    }

    /// LVM is told names: of two groups with one name it might take the wrong one.
    fn refuse_name_of_what_stays(&self, stack: &Stack, name: &str) -> Result<()> {
        let planned = self.layout.vgs.iter().find(|vg| vg.name == name);
        match planned.filter(|vg| vg.pvs.iter().all(|place| self.stays.contains(place))) {
            None => Ok(()),
            Some(vg) => Err(Error::new(
                Kind::Refused,
                format!(
                    "{} lies on {}, and another one of that name on {}",
                    stack.words,
                    vg.pvs.join(", "),
                    stack.places.join(", ")
                ),
            )
            .advise(free(stack))),
        }
    }
}

fn beyond(stack: &Stack, inside: &[&String], outside: &[&String]) -> Error {
    Error::new(
        Kind::Refused,
        format!(
            "{} lies on {}, which the request prepares anew, and on {}, which it does not",
            stack.words,
            join(inside),
            join(outside)
        ),
    )
    .advise(free(stack))
}

fn free(stack: &Stack) -> String {
    format!("free the disks if it is not needed: {}", stack.free)
}

fn join(places: &[&String]) -> String {
    places.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
}

/// Where LVM could not be asked, nobody knows whether a group reaches beyond the prepared disks.
fn refuse_unknown_groups(disks: &[&Disk], fates: &Fates<'_>, inventory: &Inventory) -> Result<()> {
    let Some(warning) = inventory.warnings.iter().find(|warning| warning.source == LVM_SOURCE) else { return Ok(()) };
    let lost = fates.lost_places(disks);
    let is_member = |disk: &&&Disk| disk.signatures.iter().any(|it| it.kind == LVM_MEMBER && lost.contains(&it.device));
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
