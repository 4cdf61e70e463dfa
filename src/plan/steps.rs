//! A layout becomes steps, and with each step what must be true afterwards.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::inventory::Disk;
use crate::layout::{FileSystem, Image, LaidDisk, LaidPartition, Layout, device_size};
use crate::plan::{BootStorage, DiskIdentity, Expectation, Identities, Step, TablePartition, TargetMount};
use crate::request::{NicName, SideCar, shown_uri};
use crate::units::{Bytes, Mib};

/// Label of the config drive; cloud-init looks for it.
const CONFIG_DRIVE_LABEL: &str = "cidata";
/// File systems that an image may bring.
const ADOPTED: [&str; 4] = ["ext2", "ext3", "ext4", "xfs"];
/// File systems that this program makes.
const MADE: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap"];

/// Devices of the disks on which something is kept.
pub fn kept_disks(layout: &Layout) -> BTreeSet<String> {
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    let file_systems = layout.filesystems.iter().filter(|it| it.keep_data).map(|it| it.device.as_str());
    let volumes = layout.lvs.iter().filter(|it| it.keep_data).map(|it| it.device.as_str());
    kept.extend(file_systems.chain(volumes));
    for volume in layout.lvs.iter().filter(|it| kept.contains(it.device.as_str())).collect::<Vec<_>>() {
        kept.extend(
            layout.vgs.iter().filter(|vg| vg.name == volume.vg).flat_map(|vg| vg.pvs.iter().map(String::as_str)),
        );
    }
    kept.extend(layout.vgs.iter().filter(|vg| vg.keep_data).flat_map(|vg| vg.pvs.iter().map(String::as_str)));
    for array in &layout.mds {
        if kept.contains(array.name.as_str()) {
            kept.extend(array.devices.iter().map(String::as_str));
        }
    }
    let holds_kept =
        |disk: &&LaidDisk| disk.partitions.iter().any(|it| it.keep_data || kept.contains(it.device.as_str()));
    layout.disks.iter().filter(holds_kept).map(|disk| disk.device.clone()).collect()
}

/// The steps in order, and the expectations.
pub fn order(
    layout: &Layout,
    disks: &[&Disk],
    kept: &BTreeSet<String>,
    closings: Vec<Step>,
    side_car: Option<&SideCar>,
    nic_names: &[NicName],
    identities: &Identities,
) -> Result<(Vec<Step>, Vec<Expectation>)> {
    let mut order = Order { layout, disks, kept, identities, steps: closings, expectations: Vec::new() };
    order.prepare_disks()?;
    order.stack_arrays_and_groups()?;
    order.make_file_systems()?;
    order.write_images(side_car)?;
    order.write_config_drive()?;
    order.make_bootable(nic_names)?;
    Ok((order.steps, order.expectations))
}

struct Order<'a> {
    layout: &'a Layout,
    disks: &'a [&'a Disk],
    kept: &'a BTreeSet<String>,
    identities: &'a Identities,
    steps: Vec<Step>,
    expectations: Vec<Expectation>,
}

impl Order<'_> {
    fn prepare_disks(&mut self) -> Result<()> {
        let pairs: Vec<_> = self.layout.disks.iter().zip(self.disks.iter().copied()).collect();
        let prepared = || pairs.iter().filter(|(laid, _)| !self.kept.contains(&laid.device));
        let mut tables = Vec::new();
        let mut steps = Vec::new();
        let kept = pairs.iter().filter(|(laid, _)| self.kept.contains(&laid.device));
        steps.extend(kept.map(|(_, disk)| Step::WithdrawBootCode { disk: identify(disk) }));
        for (_, disk) in prepared() {
            let partitions = disk.partitions.iter().map(|it| it.device.clone()).collect();
            steps.push(Step::EraseDisk { disk: identify(disk), partitions });
        }
        for (laid, disk) in prepared() {
            let guid = self.identities.uuid(&format!("disk {}", laid.device));
            let partitions = laid.partitions.iter().map(|it| self.table_partition(it)).collect::<Result<Vec<_>>>()?;
            tables.push(Expectation::Table {
                device: laid.device.clone(),
                guid: guid.clone(),
                partitions: partitions.clone(),
            });
            steps.push(Step::WriteTable { disk: identify(disk), guid, partitions });
        }
        self.steps.append(&mut steps);
        self.expectations.append(&mut tables);
        Ok(())
    }

    fn table_partition(&self, it: &LaidPartition) -> Result<TablePartition> {
        Ok(TablePartition {
            number: it.number,
            device: it.device.clone(),
            start: bytes(it.start_mib)?,
            size: bytes(it.size_mib)?,
            type_guid: it.type_guid.clone(),
            guid: self.identities.uuid(&format!("partition {}", it.device)),
            name: it.role.chars().take(36).collect(),
        })
    }

    /// Whether the device lies, through whatever it is built on, on a disk that is kept.
    fn is_kept_place(&self, device: &str) -> bool {
        let disks = self.layout.disks.iter().filter(|disk| self.kept.contains(&disk.device));
        disks.flat_map(|disk| &disk.partitions).any(|it| it.device == device)
    }

    /// Whether all, none, or (an error) only some of the places are on kept disks.
    fn are_kept_places(&self, what: &str, places: &[String]) -> Result<bool> {
        let kept = places.iter().filter(|place| self.is_kept_place(place)).count();
        if kept != 0 && kept != places.len() {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{what} lies on disks that are kept and on disks that are prepared anew ({})",
                    places.join(", ")
                ),
            )
            .advise("keep or renew all disks of it"));
        }
        Ok(kept != 0)
    }

    fn stack_arrays_and_groups(&mut self) -> Result<()> {
        for md in &self.layout.mds {
            let (device, members) = (md.name.clone(), md.devices.clone());
            if self.are_kept_places(&format!("array {device}"), &members)? {
                self.steps.push(Step::AssembleArray { device: device.clone(), members: members.clone() });
                self.expectations.push(Expectation::Array { device, level: md.level.clone(), uuid: None, members });
                continue;
            }
            let uuid = self.identities.uuid(&format!("array {device}"));
            let (level, metadata) = (md.level.clone(), md.metadata.clone());
            self.expectations.push(Expectation::Array {
                device: device.clone(),
                level: level.clone(),
                uuid: Some(uuid.clone()),
                members: members.clone(),
            });
            self.steps.push(Step::CreateArray { device, level, metadata, uuid, members });
        }
        for vg in &self.layout.vgs {
            let is_kept = self.are_kept_places(&format!("volume group {}", vg.name), &vg.pvs)?;
            let name = vg.name.clone();
            self.expectations.push(Expectation::VolumeGroup { name: name.clone(), physical_volumes: vg.pvs.clone() });
            let volumes: Vec<_> = self.layout.lvs.iter().filter(|lv| lv.vg == vg.name).collect();
            self.expectations.extend(volumes.iter().map(|lv| Expectation::LogicalVolume {
                group: lv.vg.clone(),
                name: lv.name.clone(),
                size: lv.size_mib,
            }));
            if is_kept {
                self.steps.push(Step::ActivateVolumeGroup { name });
                continue;
            }
            let physical = self.layout.pvs.iter().filter(|pv| vg.pvs.contains(&pv.name));
            self.steps.extend(physical.map(|pv| Step::CreatePhysicalVolume {
                device: pv.name.clone(),
                metadata_size: pv.metadatasize_mib,
                metadata_copies: pv.metadatacopies,
            }));
            self.steps.push(Step::CreateVolumeGroup { name, physical_volumes: vg.pvs.clone() });
            self.steps.extend(volumes.iter().map(|lv| Step::CreateLogicalVolume {
                group: lv.vg.clone(),
                name: lv.name.clone(),
                size: lv.size_mib,
                device: lv.device.clone(),
            }));
        }
        Ok(())
    }

    fn make_file_systems(&mut self) -> Result<()> {
        for it in self.layout.filesystems.iter().filter(|it| it.mkfs) {
            if !MADE.contains(&it.kind.as_str()) {
                return Err(Error::new(
                    Kind::Request,
                    format!(
                        "file system {} for {} is not one that can be made: expected one of {}",
                        it.kind,
                        it.device,
                        MADE.join(", ")
                    ),
                ));
            }
            let (label, uuid) = (label(it), self.file_system_uuid(it));
            self.expectations.push(Expectation::FileSystem {
                device: it.device.clone(),
                kind: it.kind.clone(),
                uuid: uuid.clone(),
                label: label.clone(),
            });
            self.steps.push(Step::MakeFileSystem { device: it.device.clone(), kind: it.kind.clone(), label, uuid });
        }
        Ok(())
    }

    fn write_images(&mut self, side_car: Option<&SideCar>) -> Result<()> {
        for image in &self.layout.images {
            let target = self.layout.filesystems.iter().find(|it| it.device == image.target);
            let target = target.ok_or_else(|| Error::bug(format!("image {} has no file system", image.uri)))?;
            check_format(image, target)?;
            let meta = side_car.and_then(|side_car| side_car.image(&image.uri));
            let digest = |algorithm: &str, hex: Option<&String>| hex.map(|hex| format!("{algorithm}:{hex}"));
            let sha256 = meta.and_then(|meta| digest("sha256", meta.raw_sha256.as_ref()));
            let uuid = self.file_system_uuid(target);
            self.expectations.push(Expectation::FileSystem {
                device: image.target.clone(),
                kind: image.format.clone(),
                uuid: uuid.clone(),
                label: label(target),
            });
            self.steps.push(Step::WriteImage {
                source: image.uri.clone(),
                target: image.target.clone(),
                container: image.container.clone(),
                format: image.format.clone(),
                label: label(target),
                uuid,
                size: image.size.map(Bytes::new),
                digests: digest("md5", image.md5.as_ref()).into_iter().chain(sha256).collect(),
                container_size: meta.and_then(|meta| meta.container_size).map(Bytes::new),
                container_digests: meta
                    .and_then(|meta| digest("md5", meta.container_md5.as_ref()))
                    .into_iter()
                    .collect(),
            });
        }
        Ok(())
    }

    fn write_config_drive(&mut self) -> Result<()> {
        let Some(device) = self.layout.configdrive_device.clone() else { return Ok(()) };
        let size = device_size(self.layout, &device);
        let size = bytes(size.ok_or_else(|| Error::bug(format!("config drive {device} is no partition")))?)?;
        let holds = |laid: &LaidDisk| laid.partitions.iter().any(|it| it.device == device);
        let disk = self.layout.disks.iter().zip(self.disks).find(|(laid, _)| holds(laid)).map(|(_, disk)| disk);
        let sector_size = disk.ok_or_else(|| Error::bug(format!("config drive {device} has no disk")))?.sector_size;
        let volume_id = self.identities.volume_id("config drive");
        self.expectations.push(Expectation::FileSystem {
            device: device.clone(),
            kind: "vfat".to_owned(),
            uuid: fat_uuid(volume_id),
            label: Some(CONFIG_DRIVE_LABEL.to_owned()),
        });
        let label = CONFIG_DRIVE_LABEL.to_owned();
        self.steps.push(Step::WriteConfigDrive { device, size, sector_size, label, volume_id });
        Ok(())
    }

    fn make_bootable(&mut self, nic_names: &[NicName]) -> Result<()> {
        let at = |path: &str| self.layout.filesystems.iter().find(|it| it.mount.as_deref() == Some(path));
        let root = at("/").ok_or_else(|| Error::bug("a layout without a root file system"))?;
        let mounts: Vec<_> =
            self.layout.target_mount_order.iter().filter_map(|path| at(path).map(target_mount)).collect();
        let fstab: Vec<_> = self.layout.filesystems.iter().filter_map(|it| self.fstab_line(it)).collect();
        let arrays = self.layout.mds.iter().filter(|md| !md.devices.iter().any(|it| self.is_kept_place(it)));
        let arrays =
            arrays.map(|md| array_line(&md.name, &self.identities.uuid(&format!("array {}", md.name)))).collect();
        self.expectations.push(Expectation::Fstab { mounts: mounts.clone(), lines: fstab.clone() });
        self.steps.push(Step::MountTarget { mounts });
        self.steps.push(Step::WriteSystemFiles { fstab, arrays, nic_names: nic_names.to_vec() });
        let boot = at("/boot").unwrap_or(root);
        self.steps.push(Step::ConfigureGrub {
            kernel_params: self.layout.bootloader.kernel_params.trim().to_owned(),
            root: self.root_parameter(root),
            boot_uuid: self.file_system_uuid(boot),
            boot_format: boot.kind.clone(),
            boot_storage: self.storage(boot),
            boot_folder: if boot.device == root.device { "/boot".to_owned() } else { "/".to_owned() },
            kernel_regexp: self.layout.bootloader.kernel_regexp.clone(),
            initrd_regexp: self.layout.bootloader.initrd_regexp.clone(),
        });
        let disks: Vec<_> =
            self.layout.disks.iter().zip(self.disks).filter(|(laid, _)| laid.install_bootloader).collect();
        self.expectations.extend(disks.iter().map(|(laid, _)| Expectation::BootCode { device: laid.device.clone() }));
        self.steps.push(Step::InstallBootCode { disks: disks.iter().map(|(_, disk)| identify(disk)).collect() });
        self.steps.push(Step::UnmountTarget);
        Ok(())
    }

    /// A volume by its name: older initial RAM disks activate volumes by it and not by UUID (LP#1552346).
    fn root_parameter(&self, root: &FileSystem) -> String {
        let is_volume = self.layout.lvs.iter().any(|lv| lv.device == root.device);
        if is_volume { root.device.clone() } else { format!("UUID={}", self.file_system_uuid(root)) }
    }

    fn storage(&self, it: &FileSystem) -> BootStorage {
        if self.layout.lvs.iter().any(|lv| lv.device == it.device) {
            BootStorage::Lvm
        } else if self.layout.mds.iter().any(|md| md.name == it.device) {
            BootStorage::Md
        } else {
            BootStorage::Partition
        }
    }

    fn fstab_line(&self, it: &FileSystem) -> Option<String> {
        let mount = it.mount.as_deref()?;
        // What is kept keeps a UUID that the plan cannot know; its device is as certain.
        let source = if it.keep_data { it.device.clone() } else { format!("UUID={}", self.file_system_uuid(it)) };
        Some(format!("{source} {mount} {} {} 0 0", it.kind, mount_options(mount, &it.kind)))
    }

    fn file_system_uuid(&self, it: &FileSystem) -> String {
        let what = format!("file system {}", it.device);
        if it.kind == "vfat" { fat_uuid(self.identities.volume_id(&what)) } else { self.identities.uuid(&what) }
    }
}

/// Upstream's options, but none that the file system does not know: xfs refuses to be mounted with `errors=`.
fn mount_options(mount: &str, kind: &str) -> &'static str {
    match (mount, kind) {
        ("/", "ext2" | "ext3" | "ext4") => "defaults,errors=panic",
        // Boot loaders are for root alone.
        (_, "vfat") => "umask=0077",
        _ => "defaults",
    }
}

/// An image must bring the file system that will be mounted, and one whose UUID can be changed.
fn check_format(image: &Image, target: &FileSystem) -> Result<()> {
    if !ADOPTED.contains(&image.format.as_str()) {
        return Err(Error::new(
            Kind::Request,
            format!(
                "$.ks_meta.image_data: image {} holds {}, which cannot be given a UUID of its own: expected one of {}",
                shown_uri(&image.uri),
                image.format,
                ADOPTED.join(", ")
            ),
        ));
    }
    if image.format != target.kind {
        let place = target.mount.as_deref().unwrap_or(&target.device);
        return Err(Error::new(
            Kind::Request,
            format!(
                "$.ks_meta.image_data: the image for {place} holds {}, the volume asks for {}",
                image.format, target.kind
            ),
        ));
    }
    Ok(())
}

/// How blkid and udev write a FAT volume id.
fn fat_uuid(volume_id: u32) -> String {
    format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff)
}

/// A line of mdadm.conf; mdadm writes UUIDs as four groups.
fn array_line(device: &str, uuid: &str) -> String {
    let digits = uuid.replace('-', "");
    let groups: Vec<_> = (0..4).map(|group| &digits[group * 8..(group + 1) * 8]).collect();
    format!("ARRAY {device} UUID={}", groups.join(":"))
}

fn label(it: &FileSystem) -> Option<String> {
    (!it.label_effective.is_empty()).then(|| it.label_effective.clone())
}

fn target_mount(it: &FileSystem) -> TargetMount {
    TargetMount { device: it.device.clone(), path: it.mount.clone().unwrap_or_default(), kind: it.kind.clone() }
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
