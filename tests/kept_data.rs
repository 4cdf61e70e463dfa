//! What is kept stays, what differs stops the plan, and new disks beside kept ones are prepared.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use bedplate::error::{Error, Kind};
use bedplate::inventory::{self, Array, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, VolumeGroup};
use bedplate::layout::Layout;
use bedplate::plan::{self, Plan, Step};
use bedplate::request::{self, Request};
use bedplate::units::Bytes;
use serde_json::{Value, json};

const NAME: &str = "04-keep-data-reinstall";
const VOLUMES: &str = "/ks_meta/pm_data/ks_spaces";

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&read(&format!("provision/{name}.json"))).unwrap()
}

fn request(document: &Value) -> Request {
    request::parse(document.to_string().as_bytes()).unwrap().request
}

fn make(document: &Value, machine: &Inventory) -> Result<Plan, Error> {
    plan::make(&request(document), machine, None, None)
}

/// The machine as a run of the document left it, which flagged nothing then.
fn installed(name: &str, document: &Value) -> Inventory {
    let mut machine = inventory::from_json(&read(&format!("hardware/{name}.json"))).unwrap();
    let mut first = document.clone();
    for volume in first.pointer_mut(VOLUMES).unwrap().as_array_mut().unwrap().iter_mut() {
        for volume in volume["volumes"].as_array_mut().unwrap() {
            volume.as_object_mut().unwrap().remove("keep_data");
        }
    }
    let layout = make(&first, &machine).unwrap().layout;
    for (disk, laid) in machine.disks.iter_mut().zip(&layout.disks) {
        disk.table = Some("gpt".to_owned());
        disk.has_data = Some(true);
        for it in &laid.partitions {
            let (number, device) = (it.number, it.device.clone());
            let (start, size) = (it.start_mib.bytes().unwrap(), it.size_mib.bytes().unwrap());
            disk.partitions.push(Partition { number, device: device.clone(), start, size });
            let kind = content(&layout, &device).map(str::to_owned);
            let array = layout.mds.iter().find(|md| md.devices.contains(&device));
            let uuid = Some(format!("uuid-of-{}", array.map_or(&device, |md| &md.name)));
            disk.signatures.extend(kind.map(|kind| Signature { device, kind, label: None, uuid }));
        }
    }
    machine.volume_groups = layout.vgs.iter().map(|vg| group(&layout, &vg.name, &vg.pvs)).collect();
    machine.arrays = layout.mds.iter().map(|md| array(&md.name, &md.devices)).collect();
    machine
}

fn content<'a>(layout: &'a Layout, device: &str) -> Option<&'a str> {
    if layout.pvs.iter().any(|pv| pv.name == device) {
        return Some("LVM2_member");
    }
    if layout.mds.iter().any(|md| md.devices.iter().any(|member| member == device)) {
        return Some("linux_raid_member");
    }
    layout.filesystems.iter().find(|it| it.device == device).map(|it| it.kind.as_str())
}

fn group(layout: &Layout, name: &str, places: &[String]) -> VolumeGroup {
    let volumes = layout.lvs.iter().filter(|lv| lv.vg == name);
    let size = |mib: u64| Bytes::mib(mib.next_multiple_of(4));
    VolumeGroup {
        name: name.to_owned(),
        uuid: format!("uuid of {name}"),
        physical_volumes: places.iter().map(|it| PhysicalVolume { device: it.clone(), uuid: it.clone() }).collect(),
        logical_volumes: volumes
            .map(|lv| LogicalVolume { name: lv.name.clone(), size: size(lv.size_mib.get()), is_active: false })
            .collect(),
    }
}

fn array(device: &str, members: &[String]) -> Array {
    Array {
        device: device.to_owned(),
        level: Some("raid1".to_owned()),
        uuid: None,
        is_active: true,
        members: members.to_vec(),
        is_firmware: false,
    }
}

fn ids(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(Step::id).collect()
}

/// Makes a disk one that came out of its box.
fn replace(machine: &mut Inventory, index: usize) {
    let disk = &mut machine.disks[index];
    (disk.table, disk.has_data) = (None, Some(false));
    disk.partitions.clear();
    disk.signatures.clear();
}

#[test]
fn kept_machine_is_opened_and_compared_before_anything_else() {
    let document = document(NAME);
    let plan = make(&document, &installed(NAME, &document)).unwrap();
    assert_eq!(
        ids(&plan)[..7],
        [
            "activate-vg os",
            "activate-vg vm",
            "check-kept",
            "withdraw-boot-code /dev/sda",
            "withdraw-boot-code /dev/sdb",
            "withdraw-boot-code /dev/sdc",
            "mkfs /dev/mapper/os-swap",
        ]
    );
    let touches = |id: &String| {
        ["erase", "partition ", "create-", "add-member"].iter().any(|start| id.starts_with(start))
            || id.ends_with("vm-nova")
    };
    assert_eq!(ids(&plan).into_iter().filter(touches).collect::<Vec<_>>(), [""; 0]);
    let lost: Vec<_> = plan.destroys.iter().map(|loss| format!("{} by {}", loss.device, loss.step)).collect();
    assert_eq!(
        lost,
        [
            "/dev/sda3 by write-image /dev/sda3",
            "/dev/mapper/os-root by write-image /dev/mapper/os-root",
            "/dev/mapper/os-swap by mkfs /dev/mapper/os-swap",
            "/dev/sda6 by configdrive /dev/sda6",
            "/dev/sda by withdraw-boot-code /dev/sda",
            "/dev/sdb by withdraw-boot-code /dev/sdb",
            "/dev/sdc by withdraw-boot-code /dev/sdc",
        ]
    );
}

#[test]
fn difference_in_place_or_content_stops_with_both_sides() {
    let document = document(NAME);
    let differs = |change: &dyn Fn(&mut Inventory)| {
        let mut machine = installed(NAME, &document);
        change(&mut machine);
        let error = make(&document, &machine).unwrap_err();
        assert_eq!(error.kind(), Kind::Hardware);
        error.to_string()
    };
    let shifted = differs(&|machine| machine.disks[1].partitions[2].start = Bytes::mib(228));
    assert_eq!(
        shifted,
        "disk /dev/sdb is to be kept and is not as the request says: \
         expected 1 at byte 1048576 of 25165824 bytes, 2 at byte 27262976 of 209715200 bytes, \
         3 at byte 238026752 of 1999740338176 bytes; \
         found 1 at byte 1048576 of 25165824 bytes, 2 at byte 27262976 of 209715200 bytes, \
         3 at byte 239075328 of 1999740338176 bytes"
    );
    let is_vm = |it: &&mut Signature| it.device == "/dev/sda5";
    let told = differs(&|machine| machine.disks[0].signatures.iter_mut().find(is_vm).unwrap().kind = "ext4".to_owned());
    assert!(told.contains(" with LVM2_member, 6 at"), "{told}");
    assert!(told.contains(" with ext4, 6 at"), "{told}");
    let told = differs(&|machine| machine.volume_groups[1].logical_volumes[0].size = Bytes::mib(4));
    assert_eq!(
        told,
        "volume group vm lies on disks that are kept: expected /dev/sda5 with nova of 314572800000 bytes; \
         found /dev/sda5 with nova of 4194304 bytes"
    );
    let told = differs(&|machine| machine.volume_groups.truncate(1));
    assert!(told.ends_with("; found no such group"), "{told}");
    let told = differs(&|machine| {
        machine.disks[1].partitions.clear();
        machine.disks[1].signatures.clear();
    });
    assert!(told.ends_with("; found no partitions"), "{told}");
}

#[test]
fn types_and_names_of_partitions_do_not_count() {
    let mut document = document(NAME);
    document.pointer_mut(VOLUMES).unwrap()[1]["volumes"][4]["partition_guid"] =
        json!("11111111-2222-3333-4444-555555555555");
    assert!(make(&document, &installed(NAME, &self::document(NAME))).is_ok());
}

#[test]
fn image_onto_something_kept_is_an_error_of_the_request() {
    let mut document = document(NAME);
    document.pointer_mut(VOLUMES).unwrap()[0]["volumes"][5]["keep_data"] = json!(true);
    let error = request::parse(document.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.kind(), Kind::Request);
    assert_eq!(
        error.to_string(),
        "reading the request: 1 fault: $.ks_meta.image_data[\"/\"]: the image would overwrite \
         $.ks_meta.pm_data.ks_spaces[3].volumes[0], which is to be kept (keep_data)"
    );
}

#[test]
fn new_disk_beside_kept_ones_is_prepared() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    replace(&mut machine, 2);
    let plan = make(&document, &machine).unwrap();
    let about: Vec<_> =
        ids(&plan).into_iter().filter(|id| id.ends_with(" /dev/sdc") || id.starts_with("erase")).collect();
    assert_eq!(about, ["erase /dev/sdc", "partition /dev/sdc"]);
    assert!(plan.layout.skip_partitioning);
    let warning = "/dev/sdc3 is to be kept, and the disk of /dev/sdc3 is empty: a new disk, which is prepared";
    assert!(plan.warnings.iter().any(|it| it == warning), "{:?}", plan.warnings);
}

#[test]
fn empty_disks_alone_are_not_what_is_to_be_kept() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    (0..3).for_each(|index| replace(&mut machine, index));
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert_eq!(error.to_string(), "all that is to be kept lies on empty disks: /dev/sdb3, /dev/sdc3, volume group vm");
}

#[test]
fn disk_with_data_and_without_the_partitions_is_no_new_disk() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    replace(&mut machine, 2);
    machine.disks[2].has_data = Some(true);
    assert_eq!(make(&document, &machine).unwrap_err().kind(), Kind::Hardware);
}

#[test]
fn table_behind_an_erased_boot_signature_is_made_whole_first() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    machine.disks[0].lacks_protective_mbr = true;
    // Without partitions there are no groups to be seen.
    machine.volume_groups.clear();
    let plan = make(&document, &machine).unwrap();
    assert_eq!(ids(&plan)[..4], ["restore-table /dev/sda", "activate-vg os", "activate-vg vm", "check-kept"]);
}

/// Fixture 07 with a mirror for /srv over both disks in place of the volume group.
fn mirrored() -> Value {
    let mut document = document("07-centos65-md-root-grub1");
    for disk in 0..2 {
        let volumes = document.pointer_mut(VOLUMES).unwrap()[disk]["volumes"].as_array_mut().unwrap();
        let pv = volumes.iter_mut().find(|it| it["type"] == "pv").unwrap();
        *pv = json!({"type": "raid", "mount": "/srv", "file_system": "xfs", "size": 4096, "keep_data": true});
    }
    document.pointer_mut(VOLUMES).unwrap().as_array_mut().unwrap().truncate(2);
    document["profile"] = json!("centos7_x86_64");
    document["ks_meta"]["image_data"]["/boot"]["format"] = json!("ext2");
    document
}

#[test]
fn kept_array_is_assembled_and_never_made() {
    let document = mirrored();
    let plan = make(&document, &installed("07-centos65-md-root-grub1", &document)).unwrap();
    let arrays: Vec<_> = ids(&plan).into_iter().filter(|id| id.contains("/dev/md") && !id.contains("image")).collect();
    assert_eq!(arrays, ["assemble-array /dev/md0", "assemble-array /dev/md1"]);
    let file_system = plan.layout.filesystems.iter().find(|it| it.device == "/dev/md1").unwrap();
    assert!(file_system.keep_data && !file_system.mkfs);
}

#[test]
fn member_of_a_kept_array_on_a_new_disk_joins_it() {
    let document = mirrored();
    let mut machine = installed("07-centos65-md-root-grub1", &document);
    replace(&mut machine, 1);
    machine.arrays.iter_mut().for_each(|array| array.members.truncate(1));
    let plan = make(&document, &machine).unwrap();
    let about: Vec<_> = ids(&plan)
        .into_iter()
        .filter(|id| ["assemble", "add-", "erase", "create-", "stop-"].iter().any(|start| id.starts_with(start)))
        .collect();
    assert_eq!(
        about,
        [
            "assemble-array /dev/md1",
            "stop-array /dev/md0",
            "erase /dev/sdb",
            "erase-partition /dev/sda4",
            "create-array /dev/md0",
            "add-member /dev/sdb4",
        ]
    );
    let step = plan.steps.iter().find(|step| step.id() == "assemble-array /dev/md1").unwrap();
    assert_eq!(*step, Step::AssembleArray { device: "/dev/md1".to_owned(), members: vec!["/dev/sda5".to_owned()] });
}

#[test]
fn kept_group_cannot_do_without_a_part() {
    let mut document = document("02-controller-three-disks-raid-boot");
    for disk in 0..3 {
        for volume in document.pointer_mut(VOLUMES).unwrap()[disk]["volumes"].as_array_mut().unwrap() {
            if volume["vg"] == "image" {
                volume["keep_data"] = json!(true);
            }
        }
    }
    let mut machine = installed("02-controller-three-disks-raid-boot", &document);
    replace(&mut machine, 1);
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert_eq!(error.to_string(), "volume group image is to be kept, and the disk of /dev/sdb3 is empty");
}

#[test]
fn kept_file_system_is_mounted_by_the_uuid_that_it_has() {
    let mut document = document("10-plain-partitions-labels-raw-image");
    let volumes = document.pointer_mut(VOLUMES).unwrap()[0]["volumes"].as_array_mut().unwrap();
    let data = volumes.iter_mut().find(|it| it["mount"] == "/srv/data").unwrap();
    data["keep_data"] = json!(true);
    let plan = make(&document, &installed("10-plain-partitions-labels-raw-image", &document)).unwrap();
    let lines = plan.steps.iter().find_map(|step| match step {
        Step::WriteSystemFiles { fstab, .. } => Some(fstab.clone()),
        _ => None,
    });
    let line = "UUID=uuid-of-/dev/sda7 /srv/data xfs defaults 0 0".to_owned();
    assert!(lines.as_ref().unwrap().contains(&line), "{lines:?}");
}

#[test]
fn volumes_that_the_request_does_not_list_stay_in_a_kept_group() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    let extra = LogicalVolume { name: "volume-1".to_owned(), size: Bytes::mib(1024), is_active: false };
    machine.volume_groups[1].logical_volumes.push(extra);
    assert!(make(&document, &machine).is_ok());
}

#[test]
fn group_on_a_partition_that_is_made_anew_is_closed_and_told_and_refused_when_it_reaches_beyond() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    let foreign = |places: &[&str]| VolumeGroup {
        name: "data".to_owned(),
        uuid: "uuid of data".to_owned(),
        physical_volumes: places
            .iter()
            .map(|&it| PhysicalVolume { device: it.to_owned(), uuid: it.to_owned() })
            .collect(),
        logical_volumes: Vec::new(),
    };
    machine.volume_groups.push(foreign(&["/dev/sda3"]));
    let plan = make(&document, &machine).unwrap();
    assert!(ids(&plan).contains(&"deactivate-vg data".to_owned()), "{:?}", ids(&plan));
    assert!(plan.destroys.iter().any(|loss| loss.what.starts_with("part of VG data, ext2")), "{:?}", plan.destroys);
    machine.volume_groups[2] = foreign(&["/dev/sda3", "/dev/sdz1"]);
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.to_string(),
        "volume group data lies on /dev/sda3, which the request prepares anew, and on /dev/sdz1, which it does not"
    );
}

#[test]
fn new_disk_is_none_when_names_alone_tell_the_disks_apart() {
    let mut document = document(NAME);
    let mut machine = installed(NAME, &document);
    replace(&mut machine, 2);
    machine.disks[0].links.clear();
    document.pointer_mut(VOLUMES).unwrap()[0]["id"] = json!("disk/by-path/none");
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert!(error.to_string().ends_with("since /dev/sda was recognised by name alone"), "{error}");
}

#[test]
fn stages_after_the_first_give_the_same_identities_although_the_new_disk_is_new_no_more() {
    let document = document(NAME);
    let before = {
        let mut machine = installed(NAME, &document);
        replace(&mut machine, 2);
        make(&document, &machine).unwrap()
    };
    let after = make(&document, &installed(NAME, &document)).unwrap();
    assert_ne!(before.layout, after.layout);
    assert_eq!(before.seed, after.seed);
}

#[test]
fn members_of_two_arrays_are_not_the_kept_one() {
    let document = mirrored();
    let mut machine = installed("07-centos65-md-root-grub1", &document);
    machine.arrays.clear();
    let other = machine.disks[1].signatures.iter_mut().find(|it| it.device == "/dev/sdb4").unwrap();
    other.uuid = Some("another".to_owned());
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert_eq!(
        error.to_string(),
        "array /dev/md1 lies on disks that are kept: expected one array (raid1) of /dev/sda5, /dev/sdb4; \
         found 2 arrays of /dev/sda5, /dev/sdb4"
    );
}

#[test]
fn kept_array_that_runs_under_another_name_is_stopped_first() {
    let document = mirrored();
    let mut machine = installed("07-centos65-md-root-grub1", &document);
    machine.arrays[1].device = "/dev/md127".to_owned();
    let plan = make(&document, &machine).unwrap();
    assert_eq!(ids(&plan)[..3], ["stop-array /dev/md127", "assemble-array /dev/md0", "assemble-array /dev/md1"]);
}

#[test]
fn kept_disk_has_a_table_of_our_kind() {
    let document = document(NAME);
    let mut machine = installed(NAME, &document);
    machine.disks[1].table = Some("dos".to_owned());
    let error = make(&document, &machine).unwrap_err();
    assert_eq!(error.to_string(), "disk /dev/sdb is to be kept: expected a table gpt, found dos");
}
