//! The extents that a plan counts on are those that LVM makes.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::Command;

use bedplate::execute::arguments;
use bedplate::inventory;
use bedplate::layout;
use bedplate::request;
use bedplate::units::Mib;
use serde_json::{Value, json};

mod support;
use support::loop_device::LoopDevice;
use support::scratch::Scratch;

const DOCUMENT: &[u8] = include_bytes!("fixtures/provision/01-single-disk-lvm.json");
const MACHINE: &[u8] = include_bytes!("fixtures/hardware/01-single-disk-lvm.json");

/// Whether a volume of this many MiB fits a group on one physical volume, both sizes in MiB.
fn fits(pv: u64, lvm_meta_size: u64, volume: u64) -> bool {
    let mut document: Value = serde_json::from_slice(DOCUMENT).unwrap();
    let spaces = &mut document["ks_meta"]["pm_data"]["ks_spaces"];
    for item in spaces[0]["volumes"].as_array_mut().unwrap() {
        if item["vg"] == "vm" {
            item["size"] = json!(pv);
            item["lvm_meta_size"] = json!(lvm_meta_size);
        }
    }
    let group = spaces.as_array_mut().unwrap().iter_mut().find(|item| item["id"] == "vm").unwrap();
    group["volumes"][0]["size"] = json!(volume);
    // It is made in a single extent as well.
    group["volumes"][0]["file_system"] = json!("ext2");
    let request = request::parse(document.to_string().as_bytes()).unwrap().request;
    layout::resolve(&request, &inventory::from_json(MACHINE).unwrap(), None).is_ok()
}

fn lvm<A: AsRef<OsStr> + Debug>(arguments: &[A]) -> String {
    let output = Command::new("/usr/sbin/lvm").args(arguments).output().expect("lvm (package lvm2)");
    assert!(output.status.success(), "lvm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn needs_root_extents_are_counted_as_lvm_makes_them() {
    let folder = Scratch::new();
    for (pv, lvm_meta_size) in [(100, 10), (101, 12), (103, 64), (127, 64), (500, 208), (4099, 64), (70_003, 66)] {
        let device = LoopDevice::new(&folder.path(&format!("{pv}.img")), pv << 20, 512);
        let path = device.path().to_str().unwrap().to_owned();
        let metadata = Mib::new((lvm_meta_size - 8) / 2);
        let group = format!("bedplate-test-{}", std::process::id());
        lvm(&arguments::create_physical_volume(&path, metadata, 2));
        lvm(&arguments::create_group(&group, &[path]));
        let extents = lvm(&["vgs", "--noheadings", "--options", "vg_extent_count", &group]);
        lvm(&["vgremove", "--force", &group]);
        let capacity = extents.parse::<u64>().unwrap() * 4;
        assert!(fits(pv, lvm_meta_size, capacity), "{pv} MiB with {lvm_meta_size}: {capacity} MiB must fit");
        assert!(!fits(pv, lvm_meta_size, capacity + 1), "{pv} MiB with {lvm_meta_size}: {} MiB must not", capacity + 1);
    }
}
