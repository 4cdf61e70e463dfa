//! The fixtures' plans, and their machines as they are before and after one was carried out.

use std::path::Path;

use bedplate::inventory::{self, Array, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, VolumeGroup};
use bedplate::layout::{LaidPartition, Layout};
use bedplate::plan::{self, Plan};
use bedplate::request::{self, SideCar};
use bedplate::units::Bytes;
use serde_json::Value;

/// Every document of the fixtures.
pub const NAMES: [&str; 11] = [
    "01-single-disk-lvm",
    "02-controller-three-disks-raid-boot",
    "03-ceph-osd-with-journal-ssd",
    KEPT,
    "05-nvme-plus-sata",
    "06-bonded-admin-six-nics",
    "07-centos65-md-root-grub1",
    "08-fc-multipath",
    "09-fake-raid-os-on-md",
    "10-plain-partitions-labels-raw-image",
    "11-nvme-only",
];

/// The one that keeps data of an earlier installation.
pub const KEPT: &str = "04-keep-data-reinstall";

/// A file of the fixtures.
pub fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The machine of a fixture: its disks looked at and found empty, but installed where data is to be kept.
pub fn machine(name: &str) -> Inventory {
    let mut machine = inventory::from_json(&read(&format!("hardware/{name}.json"))).unwrap();
    for (index, disk) in machine.disks.iter_mut().enumerate() {
        disk.has_data = Some(false);
        disk.model = Some("ST1000NX0313".to_owned());
        disk.serial = Some(format!("S47{index:05}"));
    }
    if name == KEPT {
        install(&mut machine, &expected_layout(name));
    }
    machine
}

/// What Fuel made of the document.
fn expected_layout(name: &str) -> Layout {
    let document: Value = serde_json::from_slice(&read(&format!("expected/{name}.json"))).unwrap();
    serde_json::from_value(document["layout"].clone()).unwrap()
}

/// The plan of a fixture on this machine.
pub fn plan(name: &str, machine: &Inventory) -> Plan {
    let request = request::parse(&read(&format!("provision/{name}.json"))).unwrap().request;
    let has_side_car = name != "10-plain-partitions-labels-raw-image";
    let side_car = has_side_car.then(|| SideCar::parse(&read(&format!("image-meta/{name}.yaml"))).unwrap());
    plan::make(&request, machine, side_car.as_ref(), None).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Puts on the machine what a run with this layout leaves there; groups are not active, as in a bootstrap.
pub fn install(machine: &mut Inventory, layout: &Layout) {
    for laid in &layout.disks {
        let disk = machine.disks.iter_mut().find(|disk| disk.device == laid.device).unwrap();
        disk.table = Some("gpt".to_owned());
        disk.has_data = Some(true);
        disk.partitions = laid.partitions.iter().map(partition).collect();
        disk.signatures = laid.partitions.iter().filter_map(|it| signature(it, layout)).collect();
    }
    machine.arrays.extend(layout.mds.iter().map(|md| Array {
        device: md.name.clone(),
        level: Some(md.level.clone()),
        uuid: None,
        is_active: true,
        members: md.devices.clone(),
        is_firmware: false,
    }));
    machine.volume_groups.extend(layout.vgs.iter().map(|vg| {
        let volumes = layout.lvs.iter().filter(|lv| lv.vg == vg.name);
        let volume = |name: &str, size| LogicalVolume { name: name.to_owned(), size, is_active: false };
        group(&vg.name, &vg.pvs, volumes.map(|lv| volume(&lv.name, lv.size_mib.bytes().unwrap())).collect())
    }));
}

/// A volume group on these devices.
pub fn group(name: &str, places: &[String], logical_volumes: Vec<LogicalVolume>) -> VolumeGroup {
    let place = |device: &String| PhysicalVolume { device: device.clone(), uuid: format!("uuid of {device}") };
    VolumeGroup {
        name: name.to_owned(),
        uuid: format!("uuid of {name}"),
        physical_volumes: places.iter().map(place).collect(),
        logical_volumes,
    }
}

fn partition(it: &LaidPartition) -> Partition {
    let bytes = |size: bedplate::units::Mib| -> Bytes { size.bytes().unwrap() };
    Partition { number: it.number, device: it.device.clone(), start: bytes(it.start_mib), size: bytes(it.size_mib) }
}

fn signature(it: &LaidPartition, layout: &Layout) -> Option<Signature> {
    let file_system = layout.filesystems.iter().find(|fs| fs.device == it.device);
    let is_volume = layout.pvs.iter().any(|pv| pv.name == it.device);
    let kind = match (file_system, it.role.as_str()) {
        (Some(fs), _) => fs.kind.as_str(),
        (None, _) if is_volume => "LVM2_member",
        (None, "ceph osd data") => "xfs",
        (None, "configdrive") => "iso9660",
        _ => return None,
    };
    let label = file_system.map(|fs| fs.label_effective.clone()).filter(|label| !label.is_empty());
    Some(Signature { device: it.device.clone(), kind: kind.to_owned(), label, uuid: None })
}
