//! Whether the cases have in them what the properties are about.

use std::collections::BTreeSet;

use bedplate::inventory::{FirmwareMode, Inventory};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::placed::{disks, volumes};
use super::support::generate::{Case, cases, is_touched, spaces};

/// What there must be, in alphabetical order.
const EXPECTED: [&str; 48] = [
    "1 disks",
    "100 TiB",
    "2 disks",
    "60 disks",
    "BIOS",
    "UEFI",
    "below 2 GiB",
    "boot on nowhere in a disk",
    "bootable",
    "ceph of type partition",
    "cephjournal of type partition",
    "cephjournal of type raid",
    "disk cciss",
    "disk mapper",
    "disk md",
    "disk nvme",
    "disk sd",
    "disk vd",
    "disk with nothing",
    "disk without extra",
    "foreign group",
    "kept partition",
    "kept pv",
    "kept raid",
    "lv on / in a group",
    "lv on elsewhere in a group",
    "lv on none in a group",
    "lv on swap in a group",
    "lvm_meta_pool on nowhere in a disk",
    "no whole mebibytes",
    "old array md0",
    "old group os",
    "partition on / in a disk",
    "partition on /boot in a disk",
    "partition on elsewhere in a disk",
    "partition on none in a disk",
    "partition on swap in a disk",
    "pv on nowhere in a disk",
    "raid on / in a disk",
    "raid on /boot in a disk",
    "raid on elsewhere in a disk",
    "raid on none in a disk",
    "raid on swap in a disk",
    "sectors of 4096",
    "sectors of 512",
    "size below zero",
    "size of zero",
    "unknown firmware",
];

/// What a case shows.
fn seen(case: &Case, found: &mut BTreeSet<String>) {
    let count = disks(&case.keeping).len();
    found.extend([1, 2, 60].iter().filter(|it| **it == count).map(|it| format!("{it} disks")));
    for disk in disks(&case.keeping) {
        let name = disk["name"].as_str().unwrap();
        let kinds = ["cciss", "mapper", "md", "nvme", "sd", "vd"];
        found.extend(kinds.iter().filter(|kind| name.starts_with(**kind)).map(|kind| format!("disk {kind}")));
        found.extend(disk["extra"][0].is_null().then(|| "disk without extra".to_owned()));
        found.extend((!is_touched(disk)).then(|| "disk with nothing".to_owned()));
        found.extend((disk["bootable"] == true).then(|| "bootable".to_owned()));
        volumes(disk).for_each(|it| volume(it, "disk", found));
    }
    let groups = spaces(&case.keeping).as_array().unwrap().iter().filter(|it| it["type"] == "vg");
    groups.for_each(|group| group["volumes"].as_array().unwrap().iter().for_each(|it| volume(it, "group", found)));
    machine(&case.machine, found);
}

fn volume(it: &Value, place: &str, found: &mut BTreeSet<String>) {
    let kind = it["type"].as_str().unwrap();
    let mount = match it["mount"].as_str() {
        Some(mount @ ("/" | "/boot" | "swap" | "none")) => mount,
        Some(_) => "elsewhere",
        None => "nowhere",
    };
    found.insert(format!("{kind} on {mount} in a {place}"));
    let magic = it["name"].as_str().filter(|name| name.starts_with("ceph"));
    found.extend(magic.map(|name| format!("{name} of type {kind}")));
    found.extend((it["keep_data"] == true).then(|| format!("kept {kind}")));
    let size = it["size"].as_i64().unwrap();
    found.extend((size < 0).then(|| "size below zero".to_owned()));
    found.extend((size == 0).then(|| "size of zero".to_owned()));
}

fn machine(machine: &Inventory, found: &mut BTreeSet<String>) {
    found.insert(match machine.firmware.mode {
        FirmwareMode::Bios => "BIOS".to_owned(),
        FirmwareMode::Uefi => "UEFI".to_owned(),
        FirmwareMode::Unknown => "unknown firmware".to_owned(),
    });
    for disk in &machine.disks {
        found.insert(format!("sectors of {}", disk.sector_size.get()));
        found.extend((disk.size.get() < 2 << 30).then(|| "below 2 GiB".to_owned()));
        found.extend((disk.size.get() == 100 << 40).then(|| "100 TiB".to_owned()));
        found.extend((disk.size.get() % (1 << 20) != 0).then(|| "no whole mebibytes".to_owned()));
    }
    let has_group = |start: &str| machine.volume_groups.iter().any(|it| it.name.starts_with(start));
    found.extend(has_group("os").then(|| "old group os".to_owned()));
    found.extend(has_group("foreign").then(|| "foreign group".to_owned()));
    found.extend(machine.arrays.iter().any(|it| it.device == "/dev/md0").then(|| "old array md0".to_owned()));
}

#[test]
fn cases_have_in_them_what_the_properties_are_about() {
    let mut found = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    let strategy = cases();
    for _ in 0..400 {
        seen(&strategy.new_tree(&mut runner).unwrap().current(), &mut found);
    }
    assert_eq!(found, EXPECTED.map(str::to_owned).into());
}
