//! A layout becomes steps, and with each step what must be true afterwards.

mod storage;
mod system;

pub use storage::place;

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::inventory::{Disk, Inventory, Signature};
use crate::layout::{self, FileSystem, Layout, Md, Vg};
use crate::plan::before::ARRAY_MEMBER;
use crate::plan::images::Known;
use crate::plan::{DiskIdentity, Expectation, Identities, Step};
use crate::request::{DriveFileSystem, EraseMode, Request};
use crate::units::{Bytes, Mib};

/// What the steps are for.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Where everything goes.
    pub layout: &'a Layout,
    /// The disks of the layout, in its order.
    pub disks: &'a [&'a Disk],
    /// How each of them is emptied, where the request says so.
    pub erasures: &'a [Option<EraseMode>],
    /// Devices of the disks whose tables stay.
    pub kept: &'a BTreeSet<String>,
    /// Partitions on them whose group or array is made anew.
    pub renewed: &'a BTreeSet<String>,
    /// The machine.
    pub inventory: &'a Inventory,
    /// Gives everything that is made its identity.
    pub identities: &'a Identities,
}

/// The steps in order, and the expectations.
///
/// What is kept is opened and compared first: nothing is lost yet when it is not what the request says.
pub fn order(
    scene: Scene<'_>,
    closings: Vec<Step>,
    images: &[Known<'_>],
    request: &Request,
) -> Result<(Vec<Step>, Vec<Expectation>)> {
    let mut order = Order { scene, steps: Vec::new(), expectations: Vec::new() };
    order.open_what_stays();
    order.steps.extend(closings);
    order.prepare_disks()?;
    order.make_arrays();
    order.make_groups();
    order.make_file_systems();
    order.write_images(images)?;
    order.write_config_drive(&request.config_drive)?;
    order.make_bootable(request)?;
    Ok((order.steps, order.expectations))
}

/// Steps as they are put in order.
struct Order<'a> {
    scene: Scene<'a>,
    steps: Vec<Step>,
    expectations: Vec<Expectation>,
}

impl Scene<'_> {
    fn is_on_kept_disk(&self, device: &str) -> bool {
        let disks = self.layout.disks.iter().filter(|disk| self.kept.contains(&disk.device));
        disks.flat_map(|disk| &disk.partitions).any(|it| it.device == device)
    }

    /// Whether the array is there and stays; of one that is kept some members may be new.
    fn array_stays(&self, md: &Md) -> bool {
        layout::keeps_array(self.layout, md) || md.devices.iter().all(|it| self.is_on_kept_disk(it))
    }

    /// Whether the group is there and stays.
    fn group_stays(&self, vg: &Vg) -> bool {
        vg.pvs.iter().all(|it| self.is_on_kept_disk(it))
    }

    /// The UUID of an array: the one that it gets, or the one that it has where that is known.
    fn array_uuid(&self, md: &Md) -> Option<String> {
        if !self.array_stays(md) {
            return Some(self.identities.uuid(&format!("array {}", md.name)));
        }
        let known = md.devices.iter().find_map(|member| self.found(member))?;
        let uuid = known.uuid.as_deref().filter(|_| known.kind == ARRAY_MEMBER)?;
        // libblkid writes an array's UUID with hyphens; whatever else stands there is none.
        Uuid::try_parse(uuid).ok().map(|uuid| uuid.hyphenated().to_string())
    }

    /// What was found on a partition of the layout's disks.
    fn found(&self, device: &str) -> Option<&Signature> {
        let on_disk = self.disks.iter().find_map(|disk| disk.signatures.iter().find(|it| it.device == device));
        on_disk.filter(|_| self.is_on_kept_disk(device))
    }

    fn file_system_uuid(&self, it: &FileSystem) -> String {
        let what = format!("file system {}", it.device);
        if it.kind == "vfat" { fat_uuid(self.identities.volume_id(&what)) } else { self.identities.uuid(&what) }
    }
}

/// How blkid and udev write a FAT volume id.
fn fat_uuid(volume_id: u32) -> String {
    DriveFileSystem::Vfat.uuid(volume_id)
}

fn label(it: &FileSystem) -> Option<String> {
    (!it.label_effective.is_empty()).then(|| it.label_effective.clone())
}

/// By what the disk is recognised again.
pub fn identify(disk: &Disk) -> DiskIdentity {
    DiskIdentity {
        device: disk.device.clone(),
        size: disk.size,
        sector_size: disk.sector_size,
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
    }
}

fn bytes(size: Mib) -> Result<Bytes> {
    size.bytes().ok_or_else(|| Error::bug(format!("{size} exceed 2^64 bytes")))
}
