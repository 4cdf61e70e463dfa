//! From a draw to a machine that has what the document names, with leftovers, and other things beside it.

use bedplate::inventory::{
    Array, Disk, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, Use, VolumeGroup,
};
use bedplate::units::{Bytes, SectorSize};

use serde_json::json;

use super::draw::{By, Drawn, DrawnDisk, Foreign, Leftover, Node, Spare};

const MAX_MIB: u64 = 100 << 20;

/// The by-id link of a disk, without `/dev/`.
pub fn link(at: usize) -> String {
    format!("disk/by-id/ata-NAMED{at}")
}

/// Its by-path link.
pub fn path_link(at: usize) -> String {
    format!("disk/by-path/pci-0000:00:1f.2-ata-{at}")
}

/// The document's name for a disk; the machine's where it is needed to find it.
pub fn doc_name(at: usize, disk: &DrawnDisk) -> String {
    let is_needed = matches!(disk.by, By::Shared | By::Name | By::StaleExtra);
    if disk.is_renamed && !is_needed { name(disk.node, at + 500) } else { name(disk.node, at) }
}

fn name(node: Node, index: usize) -> String {
    match node {
        Node::Sd => format!("sd{}", letters(index)),
        Node::Vd => format!("vd{}", letters(index)),
        Node::Nvme => format!("nvme{index}n1"),
        Node::Cciss => format!("cciss/c{}d{}", index / 16, index % 16),
        Node::Multipath => format!("mapper/36001405aaaa{index:021}"),
        Node::FirmwareRaid => format!("md{}", 126 + index),
    }
}

/// a, b, .., z, aa, ab, ..
fn letters(index: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(index % 26).unwrap());
    if index < 26 { letter.to_string() } else { format!("{}{letter}", letters(index / 26 - 1)) }
}

/// The node of a partition, by the rules of kernel and kpartx.
pub fn partition_node(disk: &str, number: u32) -> String {
    let is_digit = disk.ends_with(|last: char| last.is_ascii_digit());
    match disk.starts_with("/dev/mapper/") {
        true => format!("{disk}-part{number}"),
        false if is_digit => format!("{disk}p{number}"),
        false => format!("{disk}{number}"),
    }
}

/// The machine before it is provisioned for the first time. `needs` are the mebibytes that each disk must have.
pub fn machine(drawn: &Drawn, needs: &[u64], is_touched: &[bool]) -> Inventory {
    let mut machine = Inventory::default();
    machine.firmware.mode = drawn.firmware;
    for (at, (disk, need)) in drawn.disks.iter().zip(needs).enumerate() {
        machine.disks.push(named(at, disk, *need));
        if disk.node == Node::FirmwareRaid {
            back(&mut machine, at);
        }
        // What is on a disk that stays untouched must not reach onto others.
        let number = if is_touched[at] { 0 } else { at + 1 };
        leave(&mut machine, at, disk.leftover, number);
    }
    for (at, foreign) in drawn.foreign.iter().enumerate() {
        add_foreign(&mut machine, at, *foreign);
    }
    machine
}

/// Whole mebibytes of a disk that must have `need`.
pub fn mebibytes(disk: &DrawnDisk, need: u64) -> u64 {
    match disk.spare {
        Spare::Mib(spare) => (need + spare).clamp(1024, MAX_MIB),
        Spare::UpTo100Tib => MAX_MIB,
    }
}

fn named(at: usize, disk: &DrawnDisk, need: u64) -> Disk {
    let mib = mebibytes(disk, need);
    // 100 TiB are the end of what is tried.
    let odd = if mib == MAX_MIB { 0 } else { disk.odd_sectors * disk.sector_size.get() };
    let mut value = bare(&name(disk.node, at), (mib << 20) + odd % (1 << 20), disk.sector_size);
    value.links = vec![format!("/dev/{}", link(at)), format!("/dev/{}", path_link(at))];
    if disk.by == By::Shared {
        value.links.push("/dev/disk/by-id/wwn-0xshared".to_owned());
    }
    if disk.by == By::Name || disk.by == By::StaleExtra {
        value.links.remove(0);
    }
    if disk.node == Node::Multipath {
        value.links.push(value.device.clone());
        value.dm_uuid = Some(format!("mpath-{}", value.name));
    }
    value.serial = Some(format!("SERIAL{at}"));
    value.wwn = Some(format!("0x5000{at:012}"));
    value.has_data = (disk.leftover != Leftover::Unseen).then_some(disk.leftover != Leftover::Blank);
    value
}

fn bare(name: &str, size: u64, sector_size: SectorSize) -> Disk {
    let value = json!({
        "name": name, "device": format!("/dev/{name}"), "size": size, "sector_size": sector_size, "major": 8,
        "minor": 0, "model": "Example Disk", "is_rotational": false, "has_data": false,
    });
    serde_json::from_value(value).unwrap()
}

/// The two disks and the container behind a firmware RAID volume.
fn back(machine: &mut Inventory, at: usize) {
    let (volume, container) = (machine.disks.last().unwrap().device.clone(), format!("/dev/md{}", 800 + at));
    let members: Vec<_> = (0..2).map(|side| format!("sd{}", letters(5000 + 2 * at + side))).collect();
    for member in &members {
        let mut disk = bare(member, 2000 << 30, SectorSize::B512);
        disk.has_data = Some(true);
        disk.signatures.push(signature(&disk.device, "isw_raid_member"));
        for by in [&volume, &container] {
            let by = by.trim_start_matches("/dev/").to_owned();
            disk.uses.push(Use::Holder { device: disk.device.clone(), name: by.clone(), by, uuid: None });
        }
        machine.disks.push(disk);
    }
    let members: Vec<_> = members.iter().map(|member| format!("/dev/{member}")).collect();
    for (device, level) in [(container, "container"), (volume, "raid1")] {
        machine.arrays.push(array(&device, level, members.clone(), true));
    }
}

fn array(device: &str, level: &str, members: Vec<String>, is_firmware: bool) -> Array {
    let (device, level, uuid) = (device.to_owned(), Some(level.to_owned()), Some(format!("uuid of {device}")));
    Array { device, level, uuid, is_active: true, members, is_firmware }
}

fn signature(device: &str, kind: &str) -> Signature {
    Signature { device: device.to_owned(), kind: kind.to_owned(), label: None, uuid: None }
}

/// Puts on a disk what an earlier life of the machine left there; nothing that reaches onto other disks when `apart`.
fn leave(machine: &mut Inventory, at: usize, leftover: Leftover, apart: usize) {
    let index = machine.disks.iter().position(|disk| disk.serial == Some(format!("SERIAL{at}"))).unwrap();
    let device = machine.disks[index].device.clone();
    match leftover {
        Leftover::Blank | Leftover::Unseen => {}
        Leftover::WholeDisk => machine.disks[index].signatures.push(signature(&device, "ext4")),
        Leftover::Partitions(count) => {
            let kinds = ["ext4", "ntfs", "swap", "ceph_bluestore"];
            for (number, kind) in (1..=count).zip(kinds.iter().cycle()) {
                let node = split(&mut machine.disks[index], number);
                machine.disks[index].signatures.push(signature(&node, kind));
            }
        }
        Leftover::Group(which) => {
            let node = split(&mut machine.disks[index], 1);
            let name = if apart > 0 { format!("apart{apart}") } else { ["os", "vm", "old"][which].to_owned() };
            join(machine, index, &name, node);
        }
        Leftover::Array(which) => {
            let node = split(&mut machine.disks[index], 1);
            let number = if apart > 0 { 300 + apart } else { [0, 1, 99][which] };
            enlist(machine, index, &format!("/dev/md{number}"), node);
        }
        Leftover::GroupOnArray => {
            let node = split(&mut machine.disks[index], 1);
            let array = format!("/dev/md{}", 400 + at);
            enlist(machine, index, &array, node);
            join(machine, index, &format!("nested{at}"), array);
        }
    }
}

/// Adds a partition to whatever table is on the disk.
fn split(disk: &mut Disk, number: u32) -> String {
    disk.table = Some(if number > 4 { "gpt" } else { "dos" }.to_owned());
    let device = partition_node(&disk.device, number);
    let (start, size) = (Bytes::mib(u64::from(number) * 10), Bytes::mib(9));
    disk.partitions.push(Partition { number, device: device.clone(), start, size });
    device
}

/// Makes a device a physical volume of this group.
fn join(machine: &mut Inventory, disk: usize, group: &str, device: String) {
    let by = format!("dm-{}", machine.volume_groups.len());
    let below = &mut machine.disks[disk];
    // What lies on an array is no part of the disks below it.
    if below.partitions.iter().any(|it| it.device == device) {
        below.signatures.push(signature(&device, "LVM2_member"));
        let name = format!("{}-data", group.replace('-', "--"));
        below.uses.push(Use::Holder { device: device.clone(), by, name, uuid: None });
    }
    let physical = PhysicalVolume { uuid: format!("pv of {device}"), device };
    if let Some(group) = machine.volume_groups.iter_mut().find(|it| it.name == group) {
        group.physical_volumes.push(physical);
        return;
    }
    let volume = LogicalVolume { name: "data".to_owned(), size: Bytes::mib(8), is_active: true };
    machine.volume_groups.push(VolumeGroup {
        name: group.to_owned(),
        uuid: format!("uuid of {group}"),
        physical_volumes: vec![physical],
        logical_volumes: vec![volume],
    });
}

/// Makes a device a member of this array.
fn enlist(machine: &mut Inventory, disk: usize, device: &str, member: String) {
    machine.disks[disk].signatures.push(signature(&member, "linux_raid_member"));
    let by = device.trim_start_matches("/dev/").to_owned();
    machine.disks[disk].uses.push(Use::Holder { device: member.clone(), name: by.clone(), by, uuid: None });
    match machine.arrays.iter_mut().find(|it| it.device == device) {
        Some(array) => array.members.push(member),
        None => machine.arrays.push(array(device, "raid1", vec![member], false)),
    }
}

fn add_foreign(machine: &mut Inventory, at: usize, foreign: Foreign) {
    let mut disk = bare(&format!("sd{}", letters(4000 + at)), 4 << 40, SectorSize::B512);
    disk.links = vec![format!("/dev/disk/by-id/ata-FOREIGN{at}")];
    disk.serial = Some(format!("FOREIGN{at}"));
    if matches!(foreign, Foreign::Empty) {
        return machine.disks.push(disk);
    }
    disk.has_data = Some(true);
    let node = split(&mut disk, 1);
    machine.disks.push(disk);
    let index = machine.disks.len() - 1;
    match foreign {
        Foreign::WithGroup => join(machine, index, &format!("foreign{at}"), node),
        Foreign::WithArray => enlist(machine, index, &format!("/dev/md{}", 900 + at), node),
        Foreign::WithFileSystem | Foreign::Empty => {
            let path = "/srv".to_owned();
            machine.disks[index].signatures.push(signature(&node, "xfs"));
            machine.disks[index].uses.push(Use::Mount { device: node, path });
        }
    }
}
