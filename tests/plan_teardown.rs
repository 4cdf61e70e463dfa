//! In which order a plan takes down what stands on the named disks, what it refuses, and what it tells of leftovers.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use bedplate::error::{Error, Kind};
use bedplate::inventory::{
    self, Array, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, Trace, Use, VolumeGroup,
};
use bedplate::plan::{self, Plan, Step};
use bedplate::request;
use bedplate::units::Bytes;

const NAME: &str = "01-single-disk-lvm";

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

/// A machine with one disk of four partitions.
fn machine() -> Inventory {
    let mut machine = inventory::from_json(&read(&format!("hardware/{NAME}.json"))).unwrap();
    let disk = &mut machine.disks[0];
    disk.table = Some("gpt".to_owned());
    disk.has_data = Some(true);
    for number in 1..=4 {
        let (device, start) = (format!("/dev/sda{number}"), Bytes::mib(100 * u64::from(number)));
        disk.partitions.push(Partition { number, device, start, size: Bytes::mib(100) });
    }
    machine
}

fn make(machine: &Inventory) -> Result<Plan, Error> {
    plan::make(&request::parse(&read(&format!("provision/{NAME}.json"))).unwrap().request, machine, None, None)
}

fn group(name: &str, places: &[&str], volume: &str) -> VolumeGroup {
    let place = |device: &&str| PhysicalVolume { device: (*device).to_owned(), uuid: format!("pv of {device}") };
    VolumeGroup {
        name: name.to_owned(),
        uuid: format!("{name}-uuid"),
        physical_volumes: places.iter().map(place).collect(),
        logical_volumes: vec![LogicalVolume { name: volume.to_owned(), size: Bytes::mib(64), is_active: true }],
    }
}

fn array(device: &str, members: &[&str]) -> Array {
    Array {
        device: device.to_owned(),
        level: None,
        uuid: None,
        is_active: false,
        members: members.iter().map(|&it| it.to_owned()).collect(),
        is_firmware: false,
    }
}

/// What is closed, in order.
fn closings(plan: &Plan) -> Vec<&str> {
    let closed = plan.steps.iter().filter_map(|step| match step {
        Step::DeactivateVolumeGroup { name, .. } => Some(name.as_str()),
        Step::StopArray { device, .. } => Some(device.as_str()),
        _ => None,
    });
    closed.collect()
}

#[test]
fn stacks_are_closed_from_above_however_deep_they_are() {
    let mut machine = machine();
    // LVM on an array on volumes of LVM on an array, in an order that says nothing.
    machine.volume_groups.push(group("top", &["/dev/md9"], "data"));
    machine.arrays.push(array("/dev/md9", &["/dev/mapper/my--low-one", "/dev/my-low/two"]));
    let mut low = group("my-low", &["/dev/md5", "/dev/sda3"], "one");
    low.logical_volumes.push(LogicalVolume { name: "two".to_owned(), size: Bytes::mib(64), is_active: true });
    machine.volume_groups.push(low);
    machine.arrays.push(array("/dev/md5", &["/dev/sda1", "/dev/sda2"]));
    let plan = make(&machine).unwrap();
    assert_eq!(closings(&plan), ["top", "/dev/md9", "my-low", "/dev/md5"]);
    let lost: Vec<_> = plan.destroys.iter().map(|loss| format!("{}: {}", loss.device, loss.what)).collect();
    assert_eq!(
        lost[1..],
        [
            "/dev/sda1: array /dev/md5 of /dev/sda1, /dev/sda2",
            "/dev/md5: VG my-low with 2 LVs (one 64 MiB, two 64 MiB)",
            "/dev/mapper/my--low-one: array /dev/md9 of /dev/mapper/my--low-one, /dev/my-low/two",
            "/dev/md9: VG top with 1 LV (data 64 MiB)",
        ]
    );
    let erased = plan.steps.iter().position(|step| matches!(step, Step::EraseDisk { .. }));
    assert_eq!(erased, Some(4), "everything is closed before anything is erased");
}

#[test]
fn what_lies_partly_on_a_volume_of_the_disk_is_refused() {
    let mut machine = machine();
    machine.volume_groups.push(group("low", &["/dev/sda1"], "one"));
    machine.arrays.push(array("/dev/md9", &["/dev/low/one", "/dev/sdz1"]));
    let error = make(&machine).unwrap_err();
    let expected =
        "array /dev/md9 lies on /dev/low/one, which the request prepares anew, and on /dev/sdz1, which it does not";
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Refused, expected));
    assert_eq!(error.advice(), Some("free the disks if it is not needed: mdadm --stop /dev/md9"));
}

#[test]
fn two_groups_of_one_name_are_closed_by_their_uuids() {
    let mut machine = machine();
    let mut other = group("data", &["/dev/sda2"], "b");
    other.uuid = "another".to_owned();
    machine.volume_groups.extend([group("data", &["/dev/sda1"], "a"), other]);
    let plan = make(&machine).unwrap();
    let uuids = plan.steps.iter().filter_map(|step| match step {
        Step::DeactivateVolumeGroup { uuid, .. } => Some(uuid.as_str()),
        _ => None,
    });
    assert_eq!(uuids.collect::<Vec<_>>(), ["data-uuid", "another"]);
}

#[test]
fn holder_that_the_plan_cannot_close_is_refused_with_the_command_that_does() {
    let refused = |by: &str, name: &str, uuid: Option<&str>| {
        let mut machine = machine();
        machine.volume_groups.push(group("os", &["/dev/sda1"], "root"));
        let (device, uuid) = ("/dev/sda1".to_owned(), uuid.map(str::to_owned));
        machine.disks[0].uses.push(Use::Holder { device, by: by.to_owned(), name: name.to_owned(), uuid });
        make(&machine).map_err(|error| error.advice().unwrap_or_default().to_owned())
    };
    let command = |by, name, uuid| refused(by, name, uuid).unwrap_err().replace("if it is not needed: ", "");
    assert_eq!(command("dm-3", "home", Some("CRYPT-LUKS2-0f-home")), "cryptsetup close home");
    assert_eq!(command("dm-3", "mpatha", Some("mpath-3600")), "multipath -f mpatha");
    assert_eq!(command("bcache0", "bcache0", None), "echo 1 > /sys/block/bcache0/bcache/stop");
    assert_eq!(command("dm-3", "other", None), "dmsetup remove other");
    // A name is anybody's: of what is called as a volume of the group its UUID tells whether it is one.
    assert_eq!(command("dm-3", "os-root", Some("CRYPT-PLAIN-os-root")), "cryptsetup close os-root");
    assert_eq!(command("dm-3", "os-root", Some("LVM-foreign")), "dmsetup remove os-root");
    assert_eq!(closings(&refused("dm-3", "os-root", Some("LVM-osuuidvolume")).unwrap()), ["os"]);
}

#[test]
fn member_of_a_firmware_raid_is_left_alone() {
    let mut machine = machine();
    let (device, kind) = ("/dev/sda".to_owned(), "isw_raid_member".to_owned());
    machine.disks[0].signatures.push(Signature { device, kind, label: None, uuid: None });
    let error = make(&machine).unwrap_err();
    let expected = "disk /dev/sda is a member of an Intel firmware RAID";
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Refused, expected));
    assert!(error.advice().unwrap().ends_with("wipefs --all --types isw_raid_member /dev/sda"), "{error:?}");
}

#[test]
fn leftovers_are_told_with_their_places_and_what_has_a_name_is_told_once() {
    let mut machine = machine();
    let trace = |device: &str, kind: &str, offset: u64| Trace {
        device: device.to_owned(),
        kind: kind.to_owned(),
        offset: Bytes::new(offset),
    };
    let (device, kind) = ("/dev/sda1".to_owned(), "btrfs".to_owned());
    machine.disks[0].signatures.push(Signature { device, kind, label: None, uuid: None });
    machine.disks[0].traces.extend([
        trace("/dev/sda", "zfs_member", 135_168),
        trace("/dev/sda1", "btrfs", 65_600),
        trace("/dev/sda1", "btrfs", 67_108_928),
        trace("/dev/sda1", "linux_raid_member", 4096),
    ]);
    let plan = make(&machine).unwrap();
    let lost: Vec<_> = plan.destroys.iter().map(|loss| format!("{}: {}", loss.device, loss.what)).collect();
    assert_eq!(
        lost,
        [
            "/dev/sda: partition table GPT with 4 partitions",
            "/dev/sda1: btrfs",
            "/dev/sda: member of a ZFS pool, left over, at byte 135168",
            "/dev/sda1: member of an md array that does not run, left over, at byte 4096",
        ]
    );
    assert!(plan.destroys.iter().all(|loss| loss.step == "erase /dev/sda"));
}
