//! What a document asks to keep stays.

use std::collections::BTreeSet;

use bedplate::error::Kind;
use bedplate::inventory::Inventory;
use bedplate::layout::{LaidDisk, Layout, Vg};
use bedplate::plan::{self as planning, Plan, Step};
use bedplate::request;
use bedplate::units::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::placed::{self, placed};
use super::support::generate::{Case, after, cases, read, replace, spaces};
use super::{config, plan};

/// Everything that must stay as it is, by the document's flags alone.
#[derive(Debug)]
struct Kept {
    /// Disks with something kept on them.
    disks: BTreeSet<String>,
    /// Partitions, arrays, logical volumes, and what lies on them.
    devices: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// A kept physical volume keeps its group, a kept member its array.
fn kept(document: &Value, layout: &Layout) -> Kept {
    let pairs = placed(document, layout);
    let flagged: Vec<_> = pairs.iter().filter(|it| it.volume["keep_data"] == true).collect();
    let mut devices: BTreeSet<String> = flagged.iter().map(|it| it.partition.device.clone()).collect();
    let groups: BTreeSet<String> =
        flagged.iter().filter_map(|it| it.volume["vg"].as_str().map(str::to_owned)).collect();
    for group in layout.vgs.iter().filter(|it| groups.contains(&it.name)) {
        devices.extend(group.pvs.iter().cloned());
    }
    devices.extend(layout.lvs.iter().filter(|it| groups.contains(&it.vg)).map(|it| it.device.clone()));
    for array in &layout.mds {
        if array.devices.iter().any(|member| devices.contains(member)) {
            devices.insert(array.name.clone());
            devices.extend(array.devices.iter().cloned());
        }
    }
    let holds_kept = |disk: &&LaidDisk| disk.partitions.iter().any(|it| devices.contains(&it.device));
    let disks = layout.disks.iter().filter(holds_kept).map(|it| it.device.clone()).collect();
    Kept { disks, devices, groups }
}

/// Steps that would overwrite something kept, or the table that says where it lies.
fn overwriting<'a>(plan: &'a Plan, kept: &Kept) -> Vec<&'a Step> {
    let is_kept = |device: &String| kept.devices.contains(device);
    let overwrites = |step: &&Step| match step {
        Step::EraseDisk { disk, .. } | Step::WriteTable { disk, .. } => kept.disks.contains(&disk.device),
        Step::ErasePartition { partition, .. } => is_kept(&partition.device),
        Step::CreateArray { device, members, .. } => is_kept(device) || members.iter().any(is_kept),
        Step::AddArrayMember { member: device, .. }
        | Step::CreatePhysicalVolume { device, .. }
        | Step::MakeFileSystem { device, .. }
        | Step::WriteConfigDrive { device, .. }
        | Step::WriteImage { target: device, .. } => is_kept(device),
        Step::CreateVolumeGroup { name, physical_volumes } => {
            kept.groups.contains(name) || physical_volumes.iter().any(is_kept)
        }
        Step::CreateLogicalVolume { group, device, .. } => kept.groups.contains(group) || is_kept(device),
        _ => false,
    };
    plan.steps.iter().filter(overwrites).collect()
}

/// Disks that get a table.
fn prepared(plan: &Plan) -> BTreeSet<String> {
    let table = |step: &Step| match step {
        Step::WriteTable { disk, .. } => Some(disk.device.clone()),
        _ => None,
    };
    plan.steps.iter().filter_map(table).collect()
}

/// What is left of it without these disks: an array goes on while it has a member, a group goes with all of its parts.
fn without(kept: &Kept, layout: &Layout, gone: &BTreeSet<String>) -> Kept {
    let lost = layout.disks.iter().filter(|it| gone.contains(&it.device)).flat_map(|it| &it.partitions);
    let lost: BTreeSet<&String> = lost.map(|it| &it.device).collect();
    let groups = layout.vgs.iter().filter(|it| it.pvs.iter().all(|device| lost.contains(device)));
    let groups: BTreeSet<&String> = groups.map(|it| &it.name).collect();
    let arrays = layout.mds.iter().filter(|it| it.devices.iter().all(|device| lost.contains(device)));
    let volumes = layout.lvs.iter().filter(|it| groups.contains(&it.vg)).map(|it| &it.device);
    let upper: BTreeSet<&String> = arrays.map(|it| &it.name).chain(volumes).collect();
    let stays = |device: &&String| !lost.contains(device) && !upper.contains(device);
    Kept {
        disks: kept.disks.difference(gone).cloned().collect(),
        devices: kept.devices.iter().filter(stays).cloned().collect(),
        groups: kept.groups.iter().filter(|name| !groups.contains(name)).cloned().collect(),
    }
}

/// The machine after its first life, some disks without anything kept being others now.
fn aged(case: &Case, replaces: bool) -> (Inventory, Layout) {
    let first = plan(&case.fresh, &case.machine);
    let mut machine = after(&first, &case.machine);
    let kept = kept(&case.keeping, &first.layout);
    let spaces = spaces(&case.keeping);
    for at in case.replaced.iter().filter(|_| replaces) {
        let disk = first.layout.disks.iter().find(|it| spaces[*at]["name"] == it.ks_name.as_str());
        if let Some(disk) = disk.filter(|it| !kept.disks.contains(&it.device)) {
            replace(&mut machine, &disk.device);
        }
    }
    (machine, first.layout)
}

/// The volumes on the disks of a document.
fn disk_volumes(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spaces = document["ks_meta"]["pm_data"]["ks_spaces"].as_array_mut().unwrap();
    let disks = spaces.iter_mut().filter(|it| it["type"] == "disk");
    disks.flat_map(|it| it["volumes"].as_array_mut().unwrap())
}

/// The document with `keep_data` on every volume but those that images go to.
fn keep_all(document: &Value) -> Value {
    let images = &document["ks_meta"]["image_data"];
    let has_root = |it: &Value| it["volumes"].as_array().unwrap().iter().any(|it| it["mount"] == "/");
    let has_root_volume = spaces(document).as_array().unwrap().iter().any(|it| it["type"] == "vg" && has_root(it));
    let mut kept = document.clone();
    for volume in disk_volumes(&mut kept) {
        let gets_image = volume["mount"].as_str().is_some_and(|mount| images.get(mount).is_some());
        if !(gets_image || has_root_volume && volume["vg"] == "os") {
            volume["keep_data"] = json!(true);
        }
    }
    kept
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_that_is_kept_is_overwritten(case in cases()) {
        let (machine, layout) = aged(&case, false);
        let plan = plan(&case.keeping, &machine);
        let kept = kept(&case.keeping, &layout);
        prop_assert_eq!(overwriting(&plan, &kept), Vec::<&Step>::new());
        prop_assert_eq!(plan.layout.skip_partitioning, !kept.devices.is_empty());
        for it in &plan.layout.filesystems {
            prop_assert_eq!(it.keep_data, kept.devices.contains(&it.device), "{}", it.device);
        }
    }

    #[test]
    fn disks_beside_kept_ones_are_prepared_and_nothing_kept_is_overwritten(case in cases()) {
        let (machine, layout) = aged(&case, true);
        let plan = plan(&case.keeping, &machine);
        let kept = kept(&case.keeping, &layout);
        prop_assert_eq!(overwriting(&plan, &kept), Vec::<&Step>::new());
        let others: BTreeSet<_> =
            layout.disks.iter().map(|it| it.device.clone()).filter(|it| !kept.disks.contains(it)).collect();
        prop_assert_eq!(prepared(&plan), others);
    }

    #[test]
    fn machine_that_keeps_everything_is_neither_erased_nor_formatted(case in cases()) {
        let (machine, layout) = aged(&case, false);
        let document = keep_all(&case.fresh);
        let plan = plan(&document, &machine);
        let kept = kept(&document, &layout);
        prop_assert_eq!(overwriting(&plan, &kept), Vec::<&Step>::new());
        let made: Vec<_> = plan.steps.iter().filter_map(|step| match step {
            Step::MakeFileSystem { device, .. } => Some(device.as_str()),
            _ => None,
        }).collect();
        // The group of the root file system, which an image brings, and the EFI system partition are no one's data.
        let is_system = |device: &str| {
            let at = layout.filesystems.iter().find(|it| it.device == device).unwrap();
            device.starts_with("/dev/mapper/os-") || at.mount.as_deref() == Some("/boot/efi")
        };
        prop_assert!(made.iter().all(|device| is_system(device)), "{:?}", made);
    }

    #[test]
    fn kept_disk_with_another_table_than_the_documents_stops_the_plan(
        case in cases(),
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        change in 0usize..4,
    ) {
        let (mut machine, layout) = aged(&case, false);
        let kept: Vec<_> = kept(&case.keeping, &layout).disks.into_iter().collect();
        prop_assume!(!kept.is_empty());
        let device = which.get(&kept);
        let disk = machine.disks.iter_mut().find(|it| it.device == *device).unwrap();
        let at = other.index(disk.partitions.len());
        let it = &mut disk.partitions[at];
        let aligned = |bytes: u64| Bytes::new(bytes + (1 << 20));
        match change {
            0 => it.start = aligned(it.start.get()),
            1 => it.size = aligned(it.size.get()),
            2 => it.number += 100,
            _ => drop(disk.partitions.remove(at)),
        }
        let error = planning::make(&read(&case.keeping), &machine, None, None).unwrap_err();
        prop_assert_eq!(error.kind(), Kind::Hardware, "{}", error);
        prop_assert!(error.to_string().contains(device.as_str()), "{}", error);
    }

    #[test]
    fn image_onto_something_kept_is_a_fault_of_the_document(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let root = layout.filesystems.iter().find(|it| it.mount.as_deref() == Some("/")).unwrap();
        let has_root_volume = layout.lvs.iter().any(|it| it.device == root.device);
        let mut document = case.fresh.clone();
        for volume in disk_volumes(&mut document) {
            if volume["mount"] == "/" || has_root_volume && volume["vg"] == "os" {
                volume["keep_data"] = json!(true);
            }
        }
        let error = request::parse(document.to_string().as_bytes()).unwrap_err();
        prop_assert_eq!(error.kind(), Kind::Request);
        let told = error.to_string();
        prop_assert!(told.contains("$.ks_meta.image_data[\"/\"]: the image would overwrite "), "{}", told);
        prop_assert!(told.ends_with("which is to be kept (keep_data)"), "{}", told);
    }

    #[test]
    fn new_disks_with_the_flags_of_their_neighbours_are_prepared_unless_a_kept_group_lacks_them(case in cases()) {
        let (mut machine, layout) = aged(&case, false);
        let before = kept(&case.keeping, &layout);
        let names = placed::disks(&case.keeping);
        let is_new = |disk: &&LaidDisk| case.replaced.iter().any(|at| names[*at]["name"] == disk.ks_name.as_str());
        let new: Vec<_> = layout.disks.iter().filter(is_new).collect();
        new.iter().for_each(|disk| replace(&mut machine, &disk.device));
        let is_lost = |device: &String| new.iter().any(|disk| disk.partitions.iter().any(|it| it.device == *device));
        let groups = layout.vgs.iter().filter(|it| before.groups.contains(&it.name));
        let is_broken = |group: &Vg| group.pvs.iter().any(is_lost) && !group.pvs.iter().all(is_lost);
        let is_anything_broken = groups.clone().any(is_broken);
        let remains = without(&before, &layout, &new.iter().map(|it| it.device.clone()).collect());
        let planned = planning::make(&read(&case.keeping), &machine, None, None);
        // A name may be another disk's by now: then nobody can tell a new disk from one whose data are elsewhere.
        let warnings = plan(&case.fresh, &case.machine).warnings;
        let is_told_by_name = warnings.iter().any(|it| it.contains("chosen by its kernel name"));
        let is_doubtful = is_told_by_name && remains.devices != before.devices;
        if is_anything_broken || is_doubtful || remains.devices.is_empty() && !before.devices.is_empty() {
            let error = planned.unwrap_err();
            prop_assert_eq!(error.kind(), Kind::Hardware, "{}", error);
            return Ok(());
        }
        let plan = planned.unwrap();
        prop_assert_eq!(overwriting(&plan, &remains), Vec::<&Step>::new());
        let expected: BTreeSet<_> =
            layout.disks.iter().map(|it| it.device.clone()).filter(|it| !remains.disks.contains(it)).collect();
        prop_assert_eq!(prepared(&plan), expected);
    }
}
