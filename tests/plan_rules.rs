//! What a plan refuses, what it names as lost, and that the same inputs give the same bytes.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use bedplate::error::{Error, Kind};
use bedplate::inventory::{
    self, Array, FirmwareMode, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, Use, VolumeGroup,
};
use bedplate::plan::{self, Expectation, Plan, Stage, Step};
use bedplate::request::{self, Request, SideCar};
use bedplate::units::Bytes;

const NAME: &str = "01-single-disk-lvm";

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

fn wanted(name: &str) -> Request {
    request::parse(&read(&format!("provision/{name}.json"))).unwrap().request
}

/// The machine of a fixture, its disks looked at and found empty.
fn machine(name: &str) -> Inventory {
    let mut machine = inventory::from_json(&read(&format!("hardware/{name}.json"))).unwrap();
    for disk in &mut machine.disks {
        disk.has_data = Some(false);
    }
    machine
}

fn side_car(name: &str) -> SideCar {
    SideCar::parse(&read(&format!("image-meta/{name}.yaml"))).unwrap()
}

fn make(machine: &Inventory) -> Result<Plan, Error> {
    plan::make(&wanted(NAME), machine, Some(&side_car(NAME)), None)
}

fn group(name: &str, places: &[&str]) -> VolumeGroup {
    let place = |device: &&str| PhysicalVolume { device: (*device).to_owned(), uuid: format!("pv of {device}") };
    VolumeGroup {
        name: name.to_owned(),
        uuid: format!("uuid of {name}"),
        physical_volumes: places.iter().map(place).collect(),
        logical_volumes: vec![LogicalVolume { name: "root".to_owned(), size: Bytes::mib(2048), is_active: true }],
    }
}

fn with_partition(machine: &mut Inventory) {
    let disk = &mut machine.disks[0];
    disk.table = Some("gpt".to_owned());
    disk.has_data = Some(true);
    let device = "/dev/sda1".to_owned();
    disk.partitions.push(Partition { number: 1, device, start: Bytes::mib(1), size: Bytes::mib(100) });
}

#[test]
fn same_inputs_give_the_same_bytes_and_another_disk_another_plan() {
    let machine = machine(NAME);
    let first = serde_json::to_string(&make(&machine).unwrap()).unwrap();
    assert_eq!(first, serde_json::to_string(&make(&machine).unwrap()).unwrap());
    let mut other = machine.clone();
    other.disks[0].serial = Some("another".to_owned());
    assert_ne!(make(&machine).unwrap().digest, make(&other).unwrap().digest);
}

#[test]
fn seed_decides_all_identifiers() {
    let plan = |seed| plan::make(&wanted(NAME), &machine(NAME), None, Some(seed)).unwrap();
    assert_eq!(plan("a"), plan("a"));
    assert_ne!(plan("a").expectations, plan("b").expectations);
    assert_eq!(plan("a").layout, plan("b").layout);
}

#[test]
fn saved_plan_is_refused_once_it_was_edited() {
    let text = serde_json::to_string(&make(&machine(NAME)).unwrap()).unwrap();
    assert_eq!(Plan::parse(text.as_bytes()).unwrap(), make(&machine(NAME)).unwrap());
    let error = Plan::parse(text.replace("/dev/sda", "/dev/sdb").as_bytes()).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(Plan::parse(b"{}").unwrap_err().kind(), Kind::Request);
}

#[test]
fn only_the_approved_plan_is_carried_out() {
    let plan = make(&machine(NAME)).unwrap();
    plan.require_digest(&plan.digest).unwrap();
    assert_eq!(plan.require_digest("sha256:00").unwrap_err().kind(), Kind::Refused);
}

#[test]
fn mounted_disk_is_refused() {
    let mut machine = machine(NAME);
    let (device, path) = ("/dev/sda1".to_owned(), "/srv".to_owned());
    machine.disks[0].uses.push(Use::Mount { device, path });
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(error.to_string(), "disk /dev/sda is in use: /dev/sda1 is mounted on /srv");
}

#[test]
fn swap_and_unknown_holders_are_refused() {
    let swap = Use::Swap { device: "/dev/sda1".to_owned() };
    let (device, by, name) = ("/dev/sda1".to_owned(), "dm-3".to_owned(), "crypt-home".to_owned());
    for usage in [swap, Use::Holder { device, by, name, uuid: None }] {
        let mut machine = machine(NAME);
        machine.disks[0].uses.push(usage);
        assert_eq!(make(&machine).unwrap_err().kind(), Kind::Refused);
    }
}

#[test]
fn group_on_the_disk_is_named_as_lost_and_ended_first() {
    let mut machine = machine(NAME);
    with_partition(&mut machine);
    machine.volume_groups.push(group("os", &["/dev/sda1"]));
    let (device, by, name) = ("/dev/sda1".to_owned(), "dm-0".to_owned(), "os-root".to_owned());
    machine.disks[0].uses.push(Use::Holder { device: device.clone(), by, name, uuid: None });
    machine.disks[0].signatures.push(Signature { device, kind: "LVM2_member".to_owned(), label: None, uuid: None });
    let plan = make(&machine).unwrap();
    assert_eq!(plan.steps[0], Step::DeactivateVolumeGroup { name: "os".to_owned(), uuid: "uuid of os".to_owned() });
    let lost: Vec<_> = plan.destroys.iter().map(|loss| format!("{}: {}", loss.device, loss.what)).collect();
    assert_eq!(lost, ["/dev/sda: partition table GPT with 1 partition", "/dev/sda1: VG os with 1 LV (root 2 GiB)",]);
}

#[test]
fn group_that_reaches_beyond_the_named_disks_is_refused() {
    let mut machine = machine(NAME);
    with_partition(&mut machine);
    machine.volume_groups.push(group("data", &["/dev/sda1", "/dev/sdz1"]));
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.to_string(),
        "volume group data lies on /dev/sda1, which the request prepares anew, and on /dev/sdz1, which it does not"
    );
    let advice =
        "free the disks if it is not needed: vgremove --select vg_uuid=uuid of data, or vgrename uuid of data NEWNAME";
    assert_eq!(error.advice(), Some(advice));
}

#[test]
fn foreign_group_with_a_planned_name_is_refused_and_others_stay() {
    let mut machine = machine(NAME);
    machine.volume_groups.push(group("backup", &["/dev/sdz1"]));
    let plan = make(&machine).unwrap();
    assert!(plan.destroys.is_empty() && !plan.steps.iter().any(|step| step.id().contains("backup")));
    machine.volume_groups.push(group("os", &["/dev/sdz2"]));
    assert_eq!(make(&machine).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn array_that_reaches_beyond_the_named_disks_is_refused() {
    let mut machine = machine(NAME);
    with_partition(&mut machine);
    let members = vec!["/dev/sda1".to_owned(), "/dev/sdz1".to_owned()];
    let device = "/dev/md7".to_owned();
    machine.arrays.push(Array { device, level: None, uuid: None, is_active: false, members, is_firmware: false });
    assert_eq!(make(&machine).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn disk_that_nobody_looked_at_counts_as_a_loss() {
    let mut machine = machine(NAME);
    assert_eq!(make(&machine).unwrap().destroys, []);
    machine.disks[0].has_data = None;
    assert_eq!(make(&machine).unwrap().destroys.len(), 1);
    machine.disks[0].has_data = Some(true);
    assert_eq!(make(&machine).unwrap().destroys[0].what, "data without a known signature");
}

#[test]
fn too_small_disk_and_too_large_image_are_errors_before_anything_is_done() {
    let mut machine = machine(NAME);
    machine.disks[0].size = Bytes::mib(59_000);
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert_eq!(
        error.to_string(),
        "$.ks_meta.pm_data.ks_spaces[0].volumes[3]: disk /dev/sda is too small: partition 4 (pv of vg os, 59456 MiB) would end at 62792925184 bytes, usable are 61865967104 bytes"
    );
    let mut side_car = side_car(NAME);
    side_car.images[1].raw_size = Some(201 << 20);
    let error = plan::make(&wanted(NAME), &self::machine(NAME), Some(&side_car), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Image);
}

#[test]
fn archive_is_unpacked_to_file_systems_that_are_made_once_all_images_are_written() {
    let with = |images: serde_json::Value| {
        let mut document: serde_json::Value = serde_json::from_slice(&read(&format!("provision/{NAME}.json"))).unwrap();
        document["ks_meta"]["image_data"] = images;
        let request = request::parse(document.to_string().as_bytes()).unwrap().request;
        plan::make(&request, &machine(NAME), None, None).unwrap()
    };
    let archive = serde_json::json!({"uri": "http://m/root.tar.zst", "format": "tar", "container": "zstd"});
    let image = serde_json::json!({"uri": "http://m/boot.img.gz", "format": "ext2", "container": "gzip"});
    let ids = |plan: &Plan| -> Vec<String> {
        let about = ["mkfs ", "write-image ", "unpack-image ", "configdrive ", "mount-target"];
        plan.steps.iter().map(Step::id).filter(|id| about.iter().any(|it| id.starts_with(it))).collect()
    };
    let places = |plan: &Plan| -> Vec<String> {
        let mounts = plan.steps.iter().find_map(|step| match step {
            Step::WriteImage { format, mounts, .. } if format == "tar" => Some(mounts),
            _ => None,
        });
        mounts.unwrap().iter().map(|it| format!("{} {} {}", it.device, it.kind, it.path)).collect()
    };
    let plan = with(serde_json::json!({"/": archive}));
    let root = plan.layout.filesystems.iter().find(|it| it.mount.as_deref() == Some("/")).unwrap();
    assert!(root.mkfs && !root.from_image);
    assert_eq!(
        ids(&plan),
        [
            "mkfs /dev/sda3",
            "mkfs /dev/mapper/os-root",
            "mkfs /dev/mapper/os-swap",
            "mkfs /dev/mapper/vm-nova",
            "unpack-image /dev/mapper/os-root",
            "configdrive /dev/sda6",
            "mount-target"
        ]
    );
    assert_eq!(
        places(&plan),
        ["/dev/mapper/os-root ext4 /", "/dev/sda3 ext2 /boot", "/dev/mapper/vm-nova xfs /var/lib/nova"]
    );
    assert!(plan.text(false).contains("unpack archive to /dev/mapper/os-root"), "{}", plan.text(false));
    assert!(plan.text(false).contains("archive http://m/root.tar.zst\n"));

    // What an image brings is not mixed with what the archive has for it.
    let plan = with(serde_json::json!({"/": archive, "/boot": image}));
    assert_eq!(ids(&plan)[3..5], ["write-image /dev/sda3", "unpack-image /dev/mapper/os-root"]);
    assert_eq!(places(&plan), ["/dev/mapper/os-root ext4 /", "/dev/mapper/vm-nova xfs /var/lib/nova"]);
}

#[test]
fn boot_code_is_the_last_thing_written() {
    let plan = make(&machine(NAME)).unwrap();
    let ids: Vec<_> = plan.steps.iter().map(Step::id).collect();
    assert_eq!(ids[ids.len() - 2..], ["boot-code", "unmount-target"]);
}

#[test]
fn efi_machines_get_a_real_efi_system_partition() {
    let mut machine = machine(NAME);
    machine.firmware.mode = FirmwareMode::Uefi;
    let plan = make(&machine).unwrap();
    let partition = &plan.layout.disks[0].partitions[1];
    assert_eq!(
        (partition.role.as_str(), partition.type_guid.as_str()),
        ("efi system partition", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    );
    assert_eq!(plan.layout.target_mount_order, ["/", "/boot", "/boot/efi", "/var/lib/nova"]);
}

#[test]
fn stages_together_have_all_steps_and_expectations() {
    let whole = make(&machine(NAME)).unwrap();
    let stages = [Stage::Partition, Stage::CopyImage, Stage::ConfigDrive, Stage::BootLoader];
    let parts: Vec<_> = stages.iter().map(|&stage| whole.clone().stage(stage).unwrap()).collect();
    let is_wait = |step: &Step| matches!(step, Step::ActivateVolumeGroup { .. });
    let steps: Vec<_> = parts.iter().flat_map(|part| &part.steps).filter(|step| !is_wait(step)).cloned().collect();
    assert_eq!(steps, whole.steps);
    let expectations: usize = parts.iter().map(|part| part.expectations.len()).sum();
    assert_eq!(expectations, whole.expectations.len());
}

#[test]
fn foreign_array_with_a_planned_name_is_refused() {
    let name = "07-centos65-md-root-grub1";
    let mut machine = machine(name);
    let members = vec!["/dev/sdy1".to_owned(), "/dev/sdz1".to_owned()];
    let device = "/dev/md0".to_owned();
    machine.arrays.push(Array { device, level: None, uuid: None, is_active: false, members, is_firmware: false });
    let error = plan::make(&wanted(name), &machine, None, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.to_string(),
        "array /dev/md0 is to be made, and one of that name lies on /dev/sdy1, /dev/sdz1, which the request does not name"
    );
    assert_eq!(error.advice(), Some("free the name if it is not needed: mdadm --stop /dev/md0"));
}

#[test]
fn foreign_file_system_with_a_planned_uuid_is_refused() {
    let mut machine = machine(NAME);
    let planned = make(&machine).unwrap();
    let uuid = planned.expectations.iter().find_map(|it| match it {
        Expectation::FileSystem { uuid, kind, .. } if kind == "ext4" => Some(uuid.clone()),
        _ => None,
    });
    let mut clone = machine.disks[0].clone();
    (clone.name, clone.device) = ("sdz".to_owned(), "/dev/sdz".to_owned());
    clone.links.clear();
    let (device, kind) = ("/dev/sdz1".to_owned(), "ext4".to_owned());
    clone.signatures.push(Signature { device, kind, label: None, uuid: uuid.clone() });
    machine.disks.push(clone);
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "ext4 on /dev/sdz1, which the request does not name, has the UUID {} that is to be given to another",
            uuid.unwrap()
        )
    );
    assert!(error.advice().unwrap().contains("wipefs --all /dev/sdz1"));
    assert!(plan::make(&wanted(NAME), &machine, Some(&side_car(NAME)), Some("other")).is_ok());
}

#[test]
fn missing_part_of_a_group_does_not_protect_the_rest() {
    let mut machine = machine(NAME);
    with_partition(&mut machine);
    machine.volume_groups.push(group("data", &["/dev/sda1", "[unknown]"]));
    assert_eq!(make(&machine).unwrap().steps[0].id(), "deactivate-vg data");
}

#[test]
fn expectation_of_a_disk_is_checked_before_anything_is_planned() {
    let mut document: serde_json::Value = serde_json::from_slice(&read(&format!("provision/{NAME}.json"))).unwrap();
    document["ks_meta"]["pm_data"]["ks_spaces"][0]["expect"] = serde_json::json!({"serial": "S1"});
    let request = request::parse(document.to_string().as_bytes()).unwrap().request;
    let error = plan::make(&request, &machine(NAME), None, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert_eq!(
        error.to_string(),
        "$.ks_meta.pm_data.ks_spaces[0].expect.serial: expected serial number \"S1\", found none on /dev/sda"
    );
    let mut machine = machine(NAME);
    machine.disks[0].serial = Some("S1".to_owned());
    assert!(plan::make(&request, &machine, None, None).is_ok());
}

#[test]
fn all_disks_that_are_missing_are_told_at_once() {
    let name = "02-controller-three-disks-raid-boot";
    let mut machine = machine(name);
    machine.disks.truncate(1);
    let error = plan::make(&wanted(name), &machine, None, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    let told = error.to_string();
    assert!(told.starts_with("2 faults: $.ks_meta.pm_data.ks_spaces[1]: no disk matches "), "{told}");
    assert!(told.contains("; $.ks_meta.pm_data.ks_spaces[2]: no disk matches "), "{told}");
}

/// A second disk that the request does not name, with a signature on its first partition.
fn with_foreign_disk(machine: &mut Inventory, kind: &str, uuid: &str) {
    let mut disk = machine.disks[0].clone();
    (disk.name, disk.device) = ("sdz".to_owned(), "/dev/sdz".to_owned());
    disk.links.clear();
    let (device, kind) = ("/dev/sdz1".to_owned(), kind.to_owned());
    disk.signatures = vec![Signature { device, kind, label: None, uuid: Some(uuid.to_owned()) }];
    machine.disks.push(disk);
}

fn with_signature(machine: &mut Inventory, kind: &str, uuid: &str) {
    with_partition(machine);
    let (device, kind) = ("/dev/sda1".to_owned(), kind.to_owned());
    machine.disks[0].signatures.push(Signature { device, kind, label: None, uuid: Some(uuid.to_owned()) });
}

#[test]
fn array_that_does_not_run_and_reaches_beyond_the_named_disks_is_refused() {
    for (kind, words) in
        [("linux_raid_member", "array that does not run u1"), ("btrfs", "btrfs u1"), ("zfs_member", "ZFS pool u1")]
    {
        let mut machine = machine(NAME);
        with_foreign_disk(&mut machine, kind, "u1");
        with_signature(&mut machine, kind, "u1");
        let error = make(&machine).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(
            error.to_string(),
            format!("{words} lies on /dev/sda1, which the request prepares anew, and on /dev/sdz1, which it does not")
        );
    }
}

#[test]
fn missing_part_of_a_foreign_group_is_found_by_its_uuid_behind_a_hidden_table() {
    let mut machine = machine(NAME);
    with_signature(&mut machine, "LVM2_member", "pv of [unknown]");
    machine.disks[0].lacks_protective_mbr = true;
    machine.volume_groups.push(group("data", &["/dev/sdz1", "[unknown]"]));
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.to_string(),
        "volume group data lies on /dev/sda1, which the request prepares anew, and on /dev/sdz1, which it does not"
    );
}

#[test]
fn missing_part_that_an_idle_array_may_hold_protects_the_group() {
    let mut machine = machine(NAME);
    with_foreign_disk(&mut machine, "linux_raid_member", "u1");
    with_partition(&mut machine);
    machine.volume_groups.push(group("data", &["/dev/sda1", "[unknown]"]));
    let error = make(&machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().starts_with("volume group data lies on /dev/sda1, and a part of it lies nobody knows"));
}

#[test]
fn group_on_an_array_of_the_disk_is_told_as_lost() {
    let mut machine = machine(NAME);
    with_partition(&mut machine);
    let device = "/dev/md5".to_owned();
    let members = vec!["/dev/sda1".to_owned()];
    machine.arrays.push(Array { device, level: None, uuid: None, is_active: true, members, is_firmware: false });
    machine.volume_groups.push(group("data", &["/dev/md5"]));
    let lost: Vec<_> =
        make(&machine).unwrap().destroys.iter().map(|loss| format!("{}: {}", loss.device, loss.what)).collect();
    assert_eq!(
        lost,
        [
            "/dev/sda: partition table GPT with 1 partition",
            "/dev/sda1: array /dev/md5 of /dev/sda1",
            "/dev/md5: VG data with 1 LV (root 2 GiB)",
        ]
    );
}

#[test]
fn expectation_of_a_disk_on_which_nothing_is_wanted_is_checked_too() {
    let name = "02-controller-three-disks-raid-boot";
    let mut document: serde_json::Value = serde_json::from_slice(&read(&format!("provision/{name}.json"))).unwrap();
    let disk = &mut document["ks_meta"]["pm_data"]["ks_spaces"][2];
    disk["expect"] = serde_json::json!({"serial": "S1"});
    for volume in disk["volumes"].as_array_mut().unwrap() {
        volume["size"] = 0.into();
    }
    document["ks_meta"]["pm_data"]["ks_spaces"][7]["volumes"][0]["size"] = 1_000_000.into();
    let request = request::parse(document.to_string().as_bytes()).unwrap().request;
    let error = plan::make(&request, &machine(name), None, None).unwrap_err();
    assert!(error.to_string().contains("[2].expect.serial: expected serial number \"S1\""), "{error}");
}
