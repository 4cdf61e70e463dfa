//! Layouts of documents that no Fuel made, each compared whole with what the format's rules give when they are followed
//! by hand (tests/fixtures/further/README.md shows how).

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use bedplate::inventory;
use bedplate::layout;
use bedplate::request;
use serde_json::Value;

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/further").join(path)).unwrap()
}

/// Compares all of a layout, and returns the warnings that came with it.
fn compare(name: &str) -> Vec<String> {
    let request = request::parse(&read(&format!("provision/{name}.json"))).unwrap().request;
    let machine = inventory::from_json(&read(&format!("hardware/{name}.json"))).unwrap();
    let resolved = layout::resolve(&request, &machine, None).unwrap();
    let mut expected: Value = serde_json::from_slice(&read(&format!("expected/{name}.json"))).unwrap();
    let mut expected = expected["layout"].take();
    let mut layout = serde_json::to_value(&resolved.layout).unwrap();
    for layout in [&mut layout, &mut expected] {
        layout["images"].as_array_mut().unwrap().sort_by_key(|image| image["target"].to_string());
    }
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&layout[key], value, "{name}: {key}");
    }
    assert_eq!(layout, expected, "{name}");
    resolved.warnings
}

#[test]
fn swap_on_a_partition_and_swap_on_an_array_are_two_and_a_journal_of_type_raid_uses_up_its_share() {
    let unused = "$.ks_meta.pm_data.ks_spaces[1].volumes[8]: 1 journals of 3000 MiB leave 3001 MiB of 6001 MiB unused";
    assert_eq!(compare("12-controller-md-swap-and-logs"), [unused]);
}

#[test]
fn boot_goes_to_the_bootable_disk_and_a_disk_without_links_is_found_by_its_name() {
    let warnings = compare("13-uefi-nvme-and-sata-by-name");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("disk sda: ") && warnings[0].contains("kernel name alone"), "{warnings:?}");
}

#[test]
fn five_journals_lie_on_two_devices_and_a_group_goes_around_a_disk_where_its_part_is_empty() {
    let unused = [
        "$.ks_meta.pm_data.ks_spaces[1].volumes[7]: 3 journals of 10240 MiB leave 19280 MiB of 50000 MiB unused",
        "$.ks_meta.pm_data.ks_spaces[3].volumes[5]: 2 journals of 2333 MiB leave 2335 MiB of 7001 MiB unused",
    ];
    assert_eq!(compare("14-firmware-raid-ceph-kept"), unused);
}
