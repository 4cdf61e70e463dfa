//! Where it goes: which disk is which, and every partition, array, volume and file system in exact numbers. Pure.

mod boot_disk;
mod capacity;
mod matching;
mod model;
mod placement;
mod storage;
mod system;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::request::{DiskSpec, Request, SideCar};

pub use capacity::device_size;
pub use model::{
    BIOS_BOOT, BootLoader, EFI_SYSTEM, FileSystem, Image, LINUX_FILESYSTEM, LaidDisk, LaidPartition, Layout, Lv, Md,
    OperatingSystem, Pv, Vg,
};
pub use placement::usable_end;

/// A layout, the disks that it is for, and what a person should know of how it came about.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// The layout.
    pub layout: Layout,
    /// The disks of `layout.disks`, in the same order.
    pub disks: Vec<&'a Disk>,
    /// For example a disk that was recognised by its kernel name alone.
    pub warnings: Vec<String>,
}

/// Finds a place on this machine for everything that the request asks for.
///
/// # Errors
/// `Hardware` when a disk is absent, ambiguous or too small; `Request` when the document contradicts itself or asks for
/// what LVM could not make; `Image` when an image is larger than its target.
pub fn resolve<'a>(request: &Request, inventory: &'a Inventory, side_car: Option<&SideCar>) -> Result<Resolved<'a>> {
    let mut warnings = Vec::new();
    let (untouched, wanted): (Vec<_>, Vec<_>) = request.disks.iter().partition(|spec| storage::is_untouched(spec));
    let mut matches = Vec::new();
    for spec in wanted {
        matches.push(matching::find(spec, inventory, &mut warnings)?);
    }
    refuse_shared_disks(&matches)?;

    let operating_system = system::operating_system(request, side_car);
    let needs_old_metadata = system::is_centos_6(&operating_system);
    let foreign_arrays = foreign_arrays(inventory, &matches);
    let builder = storage::Builder::new(request, inventory.firmware.mode, foreign_arrays, needs_old_metadata);
    let mut layout = builder.build(&matches)?;
    layout.untouched_disks = untouched.iter().map(|spec| spec.name.clone()).collect();
    system::place_images(request, side_car, &mut layout)?;
    layout.bootloader = system::boot_loader(request, &operating_system, &layout);
    layout.operating_system = operating_system;
    layout.fstab = system::fstab(&layout);
    layout.target_mount_order = system::mount_order(&layout);
    capacity::check_groups(&layout)?;
    capacity::check_images(&layout)?;
    Ok(Resolved { layout, disks: matches.iter().map(|it| it.disk).collect(), warnings })
}

/// Two entries of a document must not mean the same disk.
fn refuse_shared_disks(matches: &[matching::Match<'_, '_>]) -> Result<()> {
    for (index, second) in matches.iter().enumerate() {
        let clash = |first: &&matching::Match<'_, '_>| first.disk.device == second.disk.device;
        if let Some(first) = matches[..index].iter().find(clash) {
            let DiskSpec { path, name, .. } = second.spec;
            return Err(Error::new(
                Kind::Hardware,
                format!(
                    "{path}: disk {name} and disk {} ({}) are the same {}",
                    first.spec.name, first.spec.path, second.disk.device
                ),
            ));
        }
    }
    Ok(())
}

/// Arrays that have a member outside the disks that the layout is for.
fn foreign_arrays(inventory: &Inventory, matches: &[matching::Match<'_, '_>]) -> Vec<String> {
    let is_ours = |member: &String| {
        matches
            .iter()
            .any(|it| it.disk.device == *member || it.disk.partitions.iter().any(|part| part.device == *member))
    };
    let arrays = inventory.arrays.iter().filter(|array| !array.members.iter().all(is_ours));
    arrays.map(|array| array.device.clone()).collect()
}
