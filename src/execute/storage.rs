//! md arrays and LVM, through mdadm and lvm2.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::inventory::{self, Array};
use crate::layout::LVM_EXTENT;
use crate::sys::command::{Call, Tool};
use crate::sys::udev;
use crate::units::Mib;

/// How long a device node may take to appear after its tool has ended.
const NODE_DEADLINE: Duration = Duration::from_secs(30);

/// LVM would move the data behind the optimal I/O size of a RAID, and the extents that the plan counted on would be
/// missing; partitions of whole MiB with a MiB between them are not aligned to it anyway.
const EXACT_ALIGNMENT: &str =
    "devices{data_alignment_detection=0 data_alignment_offset_detection=0 md_chunk_alignment=0}";

pub fn deactivate_group(name: &str, uuid: &str) -> Result<()> {
    // By UUID: a group of the same name may lie on a disk that is none of ours.
    let select = format!("vg_uuid={uuid}");
    Call::new(Tool::Lvm, ["vgchange", "--activate", "n", "--select", &select])
        .run()
        .map_err(|error| error.within(format!("deactivating volume group {name}")))?;
    Ok(())
}

pub fn stop_array(device: &str) -> Result<()> {
    Call::new(Tool::Mdadm, ["--stop", device]).run()?;
    Ok(())
}

pub fn activate_group(name: &str) -> Result<()> {
    Call::new(Tool::Lvm, ["vgchange", "--activate", "y", name]).run()?;
    Ok(())
}

/// Assembles an array under its planned name; whoever assembled it before under another name is overruled.
pub fn assemble_array(device: &str, members: &[String]) -> Result<()> {
    let inventory = inventory::collect(Path::new("/"));
    let is_it = |array: &&Array| !array.members.is_empty() && array.members.iter().all(|it| members.contains(it));
    if let Some(array) = inventory.arrays.iter().find(is_it) {
        if array.device == device && array.is_active {
            return Ok(());
        }
        stop_array(&array.device)?;
    }
    let members = members.iter().map(String::as_str);
    Call::new(Tool::Mdadm, ["--assemble", "--run", device].into_iter().chain(members)).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}

/// Gives an array a member; it is filled while the machine goes on.
pub fn add_member(device: &str, member: &str) -> Result<()> {
    Call::new(Tool::Mdadm, ["--manage", device, "--add", member]).run()?;
    Ok(())
}

pub fn create_array(device: &str, level: &str, metadata: &str, uuid: &str, members: &[String]) -> Result<()> {
    let count = format!("--raid-devices={}", members.len());
    let (level, metadata, uuid) =
        (format!("--level={level}"), format!("--metadata={metadata}"), format!("--uuid={uuid}"));
    // --run: nobody answers questions here; --force: an array of one member is what a one-disk node asks for.
    let options = ["--create", device, "--run", "--force", &metadata, &level, &uuid, &count];
    Call::new(Tool::Mdadm, options.into_iter().chain(members.iter().map(String::as_str))).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}

pub fn create_physical_volume(device: &str, metadata_size: Mib, copies: u32) -> Result<()> {
    let metadata_size = format!("{}m", metadata_size.get());
    let copies = copies.to_string();
    let options = ["pvcreate", "--yes", "--metadatacopies", &copies, "--metadatasize", &metadata_size];
    Call::new(Tool::Lvm, options.into_iter().chain(["--config", EXACT_ALIGNMENT, device])).run()?;
    Ok(())
}

pub fn create_group(name: &str, physical_volumes: &[String]) -> Result<()> {
    let volumes = physical_volumes.iter().map(String::as_str);
    let extent = format!("{}m", LVM_EXTENT.get());
    Call::new(Tool::Lvm, ["vgcreate", "--yes", "--physicalextentsize", &extent, name].into_iter().chain(volumes))
        .run()?;
    Ok(())
}

pub fn create_volume(group: &str, name: &str, size: Mib, device: &str) -> Result<()> {
    let size = format!("{}m", size.get());
    // Signatures of what lay there before are wiped without a question (LP#1412464).
    let options = ["lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--size", &size, "--name", name, group];
    Call::new(Tool::Lvm, options).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}
