//! Where it goes: which disk is which, and every partition, array, volume and file system in exact numbers. Pure.

mod boot_disk;
mod capacity;
mod described;
mod expect;
mod findings;
mod journals;
mod keep;
mod made;
mod matching;
mod model;
mod placement;
mod storage;
mod system;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::layout::findings::Findings;
use crate::layout::matching::Match;
use crate::request::{DiskSpec, EraseMode, Request, SideCar};

pub use capacity::{LVM_EXTENT, device_size};
pub use described::check_described;
pub use keep::{is_kept_partition, keeps_array, keeps_group, kept_disks, renewed_partitions, rewritten_partitions};
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
    /// How each of them is emptied, where the request says so, in the same order.
    pub erasures: Vec<Option<EraseMode>>,
    /// For example a disk that was recognised by its kernel name alone.
    pub warnings: Vec<String>,
}

/// Finds a place on this machine for everything that the request asks for.
///
/// # Errors
/// `Hardware` when a disk is absent, ambiguous or too small; `Request` when the document contradicts itself or asks for
/// what LVM could not make; `Image` when an image is larger than its target.
pub fn resolve<'a>(request: &Request, inventory: &'a Inventory, side_car: Option<&SideCar>) -> Result<Resolved<'a>> {
    let mut findings = Findings::default();
    let (untouched, wanted): (Vec<_>, Vec<_>) = request.disks.iter().partition(|spec| storage::is_untouched(spec));
    for spec in untouched.iter().filter(|spec| spec.erase.is_some()) {
        let message =
            format!("{}.erase: nothing is wanted on disk {}, which is therefore not touched", spec.path, spec.name);
        findings.fault(Error::new(Kind::Request, message).advise("to empty a disk and no more: bedplate erase"));
    }
    let matches = find_disks(&wanted, inventory, &mut findings)?;
    // What a request expects of a disk holds even when it wants nothing on it.
    find_disks(
        &untouched.iter().copied().filter(|spec| spec.expect.is_some()).collect::<Vec<_>>(),
        inventory,
        &mut findings,
    )?;

    let operating_system = system::operating_system(request, side_car);
    let needs_old_metadata = system::is_centos_6(&operating_system);
    let builder = storage::Builder::new(request, inventory.firmware.mode, needs_old_metadata, &mut findings);
    let mut layout = builder.build(&matches);
    // What follows counts on every partition having its place.
    findings.stop()?;

    let disks: Vec<_> = matches.iter().map(|it| it.disk).collect();
    let erasures = matches.iter().map(|it| it.spec.erase).collect();
    keep::elevate(&mut layout);
    keep::release_new_disks(&mut layout, &matches, &mut findings);
    layout.untouched_disks = untouched.iter().map(|spec| spec.name.clone()).collect();
    system::place_images(request, side_car, &mut layout, &mut findings);
    layout.bootloader = system::boot_loader(request, &operating_system, &layout);
    layout.operating_system = operating_system;
    layout.fstab = system::fstab(&layout);
    layout.target_mount_order = system::mount_order(&layout);
    capacity::check_groups(request, &layout, &mut findings);
    capacity::check_images(&layout, &mut findings);
    made::check(request, &layout, &mut findings);
    findings.stop()?;
    Ok(Resolved { layout, disks, erasures, warnings: findings.into_warnings() })
}

/// The disk of the machine for each of the document's, each as the document expects it and no two the same.
fn find_disks<'s, 'a>(
    wanted: &[&'s DiskSpec],
    inventory: &'a Inventory,
    findings: &mut Findings,
) -> Result<Vec<Match<'s, 'a>>> {
    let mut matches: Vec<Match<'s, 'a>> = Vec::new();
    for spec in wanted {
        let found = matching::find(spec, inventory, findings);
        let Some(found) = findings.keep(found) else { continue };
        if let Some(first) = matches.iter().find(|first| first.disk.device == found.disk.device) {
            findings.fault(Error::new(
                Kind::Hardware,
                format!(
                    "{}: disk {} and disk {} ({}) are the same {}",
                    spec.path, spec.name, first.spec.name, first.spec.path, found.disk.device
                ),
            ));
        }
        expect::check(found, findings);
        matches.push(found);
    }
    findings.stop()?;
    Ok(matches)
}
