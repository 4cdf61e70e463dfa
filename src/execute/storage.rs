//! md arrays and LVM, through mdadm and lvm2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments;
use crate::error::Result;
use crate::inventory::{self, Array};
use crate::sys::command::{Call, Tool};
use crate::sys::udev;
use crate::units::Mib;

/// How long a device node may take to appear after its tool has ended.
const NODE_DEADLINE: Duration = Duration::from_secs(30);

/// How long somebody may have an array open that is to be stopped.
const BUSY_DEADLINE: Duration = Duration::from_secs(10);
/// How often is tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub fn deactivate_group(name: &str, uuid: &str) -> Result<()> {
    // By UUID: a group of the same name may lie on a disk that is none of ours.
    let select = format!("vg_uuid={uuid}");
    Call::new(Tool::Lvm, ["vgchange", "--activate", "n", "--select", &select])
        .run()
        .map_err(|error| error.within(format!("deactivating volume group {name}")))?;
    Ok(())
}

/// Stops an array, once those who look at it have closed it: udevd does so whenever something happens to it, whether it
/// is locked or not, and the kernel tells nobody when a device becomes free.
pub fn stop_array(device: &str) -> Result<()> {
    let until = Instant::now() + BUSY_DEADLINE;
    loop {
        match Call::new(Tool::Mdadm, ["--stop", device]).run() {
            Err(error) if error.to_string().contains("exclusive access") && Instant::now() < until => {
                std::thread::sleep(LOOK_AGAIN);
            }
            outcome => return outcome.map(drop),
        }
    }
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
    Call::new(Tool::Mdadm, arguments::assemble_array(device, members)).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}

/// Gives an array a member; it is filled while the machine goes on.
pub fn add_member(device: &str, member: &str) -> Result<()> {
    Call::new(Tool::Mdadm, arguments::add_member(device, member)).run()?;
    Ok(())
}

pub fn create_array(device: &str, level: &str, metadata: &str, uuid: &str, members: &[String]) -> Result<()> {
    Call::new(Tool::Mdadm, arguments::create_array(device, level, metadata, uuid, members)).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}

pub fn create_physical_volume(device: &str, metadata_size: Mib, copies: u32) -> Result<()> {
    Call::new(Tool::Lvm, arguments::create_physical_volume(device, metadata_size, copies)).run()?;
    Ok(())
}

pub fn create_group(name: &str, physical_volumes: &[String]) -> Result<()> {
    Call::new(Tool::Lvm, arguments::create_group(name, physical_volumes)).run()?;
    Ok(())
}

pub fn create_volume(group: &str, name: &str, size: Mib, device: &str) -> Result<()> {
    Call::new(Tool::Lvm, arguments::create_volume(group, name, size)).run()?;
    udev::wait_for(&[PathBuf::from(device)], NODE_DEADLINE)
}
