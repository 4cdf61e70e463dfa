//! Layouts of real documents, compared whole with what Fuel made of them.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use bedplate::inventory;
use bedplate::layout;
use bedplate::request::{self, SideCar};
use serde_json::Value;

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

/// The layout of a fixture and the warnings that came with it.
fn lay_out(name: &str) -> (Value, Vec<String>) {
    let request = request::parse(&read(&format!("provision/{name}.json"))).unwrap().request;
    let machine = inventory::from_json(&read(&format!("hardware/{name}.json"))).unwrap();
    let side_car = (name != "10-plain-partitions-labels-raw-image")
        .then(|| SideCar::parse(&read(&format!("image-meta/{name}.yaml"))).unwrap());
    let resolved = layout::resolve(&request, &machine, side_car.as_ref()).unwrap();
    (serde_json::to_value(&resolved.layout).unwrap(), resolved.warnings)
}

/// What upstream made, without the key that this project does not have; images in one order.
fn expected(name: &str) -> Value {
    let document: Value = serde_json::from_slice(&read(&format!("expected/{name}.json"))).unwrap();
    let mut layout = document.get("layout").or(document.get("layout_if_allowed")).unwrap().clone();
    for file_system in layout["filesystems"].as_array_mut().unwrap() {
        file_system.as_object_mut().unwrap().remove("mkfs_safe");
    }
    sort_images(&mut layout);
    layout
}

fn sort_images(layout: &mut Value) {
    layout["images"].as_array_mut().unwrap().sort_by_key(|image| image["target"].to_string());
}

fn compare(name: &str, warnings: &[&str]) {
    let (mut layout, told) = lay_out(name);
    sort_images(&mut layout);
    let expected = expected(name);
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&layout[key], value, "{name}: {key}");
    }
    assert_eq!(layout, expected, "{name}");
    assert_eq!(told, warnings, "{name}");
}

#[test]
fn single_disk_with_lvm() {
    compare("01-single-disk-lvm", &[]);
}

#[test]
fn three_disks_have_one_boot_and_boot_code_each() {
    compare("02-controller-three-disks-raid-boot", &[]);
}

#[test]
fn ceph_journals_are_split_and_capped() {
    let unused =
        "$.ks_meta.pm_data.ks_spaces[4].volumes[3]: 3 journals of 10240 MiB leave 30720 MiB of 61440 MiB unused";
    compare("03-ceph-osd-with-journal-ssd", &[unused]);
}

#[test]
fn kept_data_is_elevated_from_partition_to_file_system() {
    compare("04-keep-data-reinstall", &[]);
}

#[test]
fn nvme_disks_with_one_link_are_told_apart_by_name() {
    let warning = |name: &str| {
        format!(
            "disk {name}: nvme0n1 and nvme1n1 each have one of its links \
             (/dev/disk/by-id/wwn-0x65cd2e4080864356494e000000010000); chosen by its kernel name"
        )
    };
    compare("05-nvme-plus-sata", &[&warning("nvme0n1"), &warning("nvme1n1")]);
}

#[test]
fn virtio_disks_with_a_group_without_volumes() {
    compare("06-bonded-admin-six-nics", &[]);
}

#[test]
fn centos_6_has_an_old_array_and_grub_1() {
    compare("07-centos65-md-root-grub1", &[]);
}

#[test]
fn multipath_partitions_are_named_as_kpartx_does() {
    compare("08-fc-multipath", &[]);
}

#[test]
fn boot_goes_to_the_firmware_raid_that_carries_the_system() {
    compare("09-fake-raid-os-on-md", &[]);
}

#[test]
fn labels_are_cut_and_raw_images_have_no_size() {
    compare("10-plain-partitions-labels-raw-image", &[]);
}

#[test]
fn nvme_alone_may_carry_boot() {
    compare("11-nvme-only", &[]);
}
