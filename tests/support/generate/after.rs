//! The machine as it is once a plan was carried out.

use bedplate::inventory::{
    Array, Disk, Inventory, LogicalVolume, Partition, PhysicalVolume, Signature, Use, VolumeGroup,
};
use bedplate::plan::{Plan, Step, TablePartition};
use bedplate::units::Bytes;

/// What the inventory would be after all steps of the plan.
pub fn after(plan: &Plan, before: &Inventory) -> Inventory {
    let mut machine = before.clone();
    plan.steps.iter().for_each(|step| take(&mut machine, step));
    machine
}

fn take(machine: &mut Inventory, step: &Step) {
    match step {
        Step::EraseDisk { disk, .. } => clear(machine, &disk.device),
        Step::WriteTable { disk, partitions, .. } => {
            clear(machine, &disk.device);
            let disk = machine.disks.iter_mut().find(|it| it.device == disk.device).unwrap();
            disk.table = Some("gpt".to_owned());
            disk.has_data = Some(true);
            disk.partitions = partitions.iter().map(partition).collect();
        }
        Step::CreateArray { device, level, uuid, members, .. } => {
            assert_eq!(level, "mirror");
            let digits = uuid.replace('-', "");
            let groups: Vec<_> = (0..4).map(|group| &digits[group * 8..(group + 1) * 8]).collect();
            let by = device.trim_start_matches("/dev/");
            members.iter().for_each(|member| {
                sign(machine, member, "linux_raid_member", Some(uuid), None);
                hold(machine, member, by, by);
            });
            let (device, members, uuid) = (device.clone(), members.clone(), Some(groups.join(":")));
            let level = Some("raid1".to_owned());
            machine.arrays.push(Array { device, level, uuid, is_active: true, members, is_firmware: false });
        }
        Step::ErasePartition { partition, .. } => {
            if let Some(disk) = disk_of(machine, &partition.device) {
                disk.signatures.retain(|it| it.device != partition.device);
                disk.uses.retain(|it| !matches!(it, Use::Holder { device, .. } if *device == partition.device));
            }
            forget(machine, vec![partition.device.clone()]);
        }
        Step::AddArrayMember { device, member } => {
            sign(machine, member, "linux_raid_member", None, None);
            let by = device.trim_start_matches("/dev/").to_owned();
            hold(machine, member, &by, &by);
            machine.arrays.iter_mut().find(|it| it.device == *device).unwrap().members.push(member.clone());
        }
        Step::CreatePhysicalVolume { device, .. } => sign(machine, device, "LVM2_member", None, None),
        Step::CreateVolumeGroup { name, physical_volumes } => {
            let place = |device: &String| PhysicalVolume { device: device.clone(), uuid: format!("new pv {device}") };
            let physical_volumes = physical_volumes.iter().map(place).collect();
            let (name, uuid) = (name.clone(), format!("new vg {name}"));
            machine.volume_groups.push(VolumeGroup { name, uuid, physical_volumes, logical_volumes: vec![] });
        }
        Step::CreateLogicalVolume { group, name, size, device } => {
            let made = machine.volume_groups.iter_mut().find(|it| it.name == *group).unwrap();
            let size = Bytes::mib(size.get().next_multiple_of(4));
            made.logical_volumes.push(LogicalVolume { name: name.clone(), size, is_active: true });
            let (places, number) = (made.physical_volumes.clone(), made.logical_volumes.len());
            let mapped = device.trim_start_matches("/dev/mapper/");
            places.iter().for_each(|place| hold(machine, &place.device, &format!("dm-{group}{number}"), mapped));
        }
        Step::MakeFileSystem { device, kind, label, uuid } => {
            sign(machine, device, kind, Some(uuid), label.as_deref());
        }
        Step::WriteImage { target, format, label, uuid, .. } => {
            sign(machine, target, format, Some(uuid), label.as_deref());
        }
        Step::WriteConfigDrive { device, file_system, form, volume_id, .. } => {
            let uuid = file_system.uuid(*volume_id);
            sign(machine, device, file_system.as_str(), Some(&uuid), Some(form.label()));
        }
        _ => {}
    }
}

fn partition(it: &TablePartition) -> Partition {
    Partition { number: it.number, device: it.device.clone(), start: it.start, size: it.size }
}

/// Takes everything off a disk, with the groups and arrays that lay on it.
fn clear(machine: &mut Inventory, device: &str) {
    let gone = empty(machine, device);
    forget(machine, gone);
}

/// Takes away the groups and arrays that lay on what is gone.
fn forget(machine: &mut Inventory, mut gone: Vec<String>) {
    let arrays = machine.arrays.iter().filter(|array| array.members.iter().any(|member| gone.contains(member)));
    let arrays: Vec<_> = arrays.map(|array| array.device.clone()).collect();
    machine.arrays.retain(|array| !arrays.contains(&array.device));
    gone.extend(arrays);
    machine.volume_groups.retain(|group| !group.physical_volumes.iter().any(|pv| gone.contains(&pv.device)));
}

/// Puts an empty disk in the place of another: arrays go on without their member, groups wait for their part.
pub fn replace(machine: &mut Inventory, device: &str) {
    let gone = empty(machine, device);
    for array in &mut machine.arrays {
        array.members.retain(|member| !gone.contains(member));
    }
    machine.arrays.retain(|array| !array.members.is_empty());
    for group in &mut machine.volume_groups {
        let lost = group.physical_volumes.iter_mut().filter(|pv| gone.contains(&pv.device));
        let lost = lost.map(|pv| pv.device = "[unknown]".to_owned()).count();
        if lost > 0 {
            group.logical_volumes.iter_mut().for_each(|volume| volume.is_active = false);
            let prefix = format!("{}-", group.name.replace('-', "--"));
            let is_held = |usage: &Use| matches!(usage, Use::Holder { name, .. } if name.starts_with(&prefix));
            machine.disks.iter_mut().for_each(|disk| disk.uses.retain(|usage| !is_held(usage)));
        }
    }
    machine.volume_groups.retain(|group| group.physical_volumes.iter().any(|pv| pv.device != "[unknown]"));
}

/// Takes everything off a disk itself, and says which devices are gone.
fn empty(machine: &mut Inventory, device: &str) -> Vec<String> {
    let disk = machine.disks.iter_mut().find(|it| it.device == device).unwrap_or_else(|| panic!("no disk {device}"));
    disk.signatures.clear();
    disk.uses.clear();
    disk.table = None;
    disk.has_data = Some(false);
    std::iter::once(disk.device.clone()).chain(disk.partitions.drain(..).map(|it| it.device)).collect()
}

fn disk_of<'a>(machine: &'a mut Inventory, device: &str) -> Option<&'a mut Disk> {
    machine.disks.iter_mut().find(|disk| disk.partitions.iter().any(|it| it.device == device))
}

/// Replaces what lies on a partition. What lies on volumes and arrays is no part of an inventory.
fn sign(machine: &mut Inventory, device: &str, kind: &str, uuid: Option<&str>, label: Option<&str>) {
    let Some(disk) = disk_of(machine, device) else { return };
    disk.signatures.retain(|it| it.device != device);
    disk.signatures.push(Signature {
        device: device.to_owned(),
        kind: kind.to_owned(),
        label: label.map(str::to_owned),
        uuid: uuid.map(str::to_owned),
    });
}

fn hold(machine: &mut Inventory, device: &str, by: &str, name: &str) {
    let Some(disk) = disk_of(machine, device) else { panic!("{device} is on no disk") };
    let (device, by, name) = (device.to_owned(), by.to_owned(), name.to_owned());
    disk.uses.push(Use::Holder { device, by, name, uuid: None });
}
