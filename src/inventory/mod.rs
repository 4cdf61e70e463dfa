//! What is there: a read-only picture of the machine, a plain value that can be saved and replayed.

mod arrays;
mod block;
mod content;
mod disks;
mod hidden;
mod lvm;
mod machine;
mod model;
pub mod nailgun;
mod network;
mod order;
mod saved;
mod storage;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod udev_db;
mod uses;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub use model::{Cpu, Firmware, FirmwareMode, Interface, Inventory, Memory, System, Warning};
pub use network::boot_interface;
pub use order::natural_key;
pub use saved::from_json;
pub use storage::{
    Array, Disk, LogicalVolume, MultipathPath, Partition, PhysicalVolume, Signature, Trace, Use, VolumeGroup,
    partition_device,
};

/// The disks of this machine as sysfs and udev show them now, without a look at what is on them.
#[must_use]
pub fn disks() -> Vec<Disk> {
    let tree = tree::Tree::new(Path::new("/"));
    let devices = block::Devices::read(&tree);
    let usage = uses::Usage::read(&tree, &devices);
    disks::disks(&tree, &devices, &usage)
}

/// The one of [`disks`] with this device node: for those who recognise a disk again, which is asked for before each thing
/// that is done to it.
#[must_use]
pub fn find_disk(device: &str) -> Option<Disk> {
    let number = std::fs::metadata(device).ok()?.rdev();
    let number = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let folder = std::fs::canonicalize(Path::new("/sys/dev/block").join(number)).ok()?;
    let tree = tree::Tree::new(Path::new("/"));
    let devices = block::Devices::around(&tree, folder.file_name()?.to_str()?);
    let usage = uses::Usage::read(&tree, &devices);
    disks::disks(&tree, &devices, &usage).into_iter().find(|disk| disk.device == device)
}

/// Reads the machine below `root`: `/` for the one this runs on, else a saved tree of `/sys`, `/proc`, `/run` and `/etc`.
///
/// It only reads, and it never fails: what cannot be read is absent from the result, and `warnings` says why. What devices
/// and tools are asked for (addresses, whether a disk holds data, volume groups) is there for the live machine only.
#[must_use]
pub fn collect(root: &Path) -> Inventory {
    let tree = tree::Tree::new(root);
    let devices = block::Devices::read(&tree);
    if !tree.exists("/run/udev/data") {
        tree.warn(
            "/run/udev/data",
            "udev keeps no database: links, serial numbers and file systems of disks are unknown",
        );
    }
    let usage = uses::Usage::read(&tree, &devices);
    let mut disks = disks::disks(&tree, &devices, &usage);
    if tree.is_live() {
        content::look(&tree, &mut disks);
    }
    let volume_groups = lvm::volume_groups(&tree, &disks);
    Inventory {
        firmware: machine::firmware(&tree),
        system: machine::system(&tree),
        cpu: machine::cpu(&tree),
        memory: machine::memory(&tree),
        interfaces: network::interfaces(&tree),
        arrays: arrays::arrays(&tree, &devices),
        disks,
        volume_groups,
        warnings: tree.into_warnings(),
    }
}
