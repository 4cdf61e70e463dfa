//! Steps for what is installed: images, config drive, boot loader.

use super::{Order, bytes, identify, label};
use crate::error::{Error, Kind, Result};
use crate::layout::{FileSystem, LaidDisk, device_size};
use crate::plan::images::Known;
use crate::plan::{BootStorage, Expectation, Step, TargetMount};
use crate::request::{AdminNetwork, ConfigDriveSpec, DriveFileSystem, Request, shown_uri};
use crate::units::{Bytes, SectorSize};

impl Order<'_> {
    pub(super) fn write_images(&mut self, images: &[Known<'_>]) -> Result<()> {
        let first = self.steps.len();
        for (image, known) in self.scene.layout.images.iter().zip(images) {
            let target = self.scene.layout.filesystems.iter().find(|it| it.device == image.target);
            let target =
                target.ok_or_else(|| Error::bug(format!("image {} has no file system", shown_uri(&image.uri))))?;
            let uuid = self.scene.file_system_uuid(target);
            // The file system of an archive is expected where it is made.
            let mounts = if image.is_archive() { self.archive_mounts(target) } else { Vec::new() };
            if !image.is_archive() {
                self.expectations.push(Expectation::FileSystem {
                    device: image.target.clone(),
                    kind: image.format.clone(),
                    uuid: uuid.clone(),
                    label: label(target),
                });
            }
            self.steps.push(Step::WriteImage {
                source: image.uri.clone(),
                target: image.target.clone(),
                container: image.container.clone(),
                format: image.format.clone(),
                label: label(target),
                uuid,
                size: image.size.map(Bytes::new),
                digests: known.digests.clone(),
                container_size: known.container_size,
                container_digests: known.container_digests.clone(),
                mirrors: known.spec.mirrors.clone(),
                minisign_key: known.spec.minisign_key.clone(),
                signature: known.spec.signature.clone(),
                bmap: known.spec.bmap.clone(),
                mounts,
            });
        }
        // Archives when all file systems are there, those higher up first.
        self.steps[first..].sort_by_key(|step| match step {
            Step::WriteImage { mounts, .. } => {
                mounts.first().map(|it| it.path.trim_end_matches('/').split('/').count())
            }
            _ => None,
        });
        Ok(())
    }

    /// Where the files of an archive go: to its own file system and, below it, to those that are made empty and have no image
    /// of their own. What is kept is not mixed with what is new.
    fn archive_mounts(&self, target: &FileSystem) -> Vec<TargetMount> {
        let base = target.mount.as_deref().unwrap_or_default().trim_end_matches('/');
        let layout = self.scene.layout;
        let is_empty = |it: &&FileSystem| it.mkfs && layout.images.iter().all(|image| image.target != it.device);
        let is_below =
            |path: &&String| path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/') && rest != "/");
        let at = |path: &String| layout.filesystems.iter().find(|it| it.mount.as_ref() == Some(path));
        let below = layout.target_mount_order.iter().filter(is_below).filter_map(at).filter(is_empty);
        std::iter::once(target).chain(below).map(target_mount).collect()
    }

    pub(super) fn write_config_drive(&mut self, spec: &ConfigDriveSpec) -> Result<()> {
        let Some(device) = self.scene.layout.configdrive_device.clone() else { return Ok(()) };
        let size = device_size(self.scene.layout, &device);
        let size = bytes(size.ok_or_else(|| Error::bug(format!("config drive {device} is no partition")))?)?;
        let holds = |laid: &LaidDisk| laid.partitions.iter().any(|it| it.device == device);
        let disk =
            self.scene.layout.disks.iter().zip(self.scene.disks).find(|(laid, _)| holds(laid)).map(|(_, disk)| disk);
        let sector_size = disk.ok_or_else(|| Error::bug(format!("config drive {device} has no disk")))?.sector_size;
        let volume_id = self.scene.identities.volume_id("config drive");
        let form = spec.form();
        let (file_system, source, digests) = match spec {
            ConfigDriveSpec::Partition { file_system, .. } => (*file_system, None, Vec::new()),
            // What it is shows when it is there; that all of it arrives is proved while it is written.
            ConfigDriveSpec::Prebuilt { uri, digests } => (DriveFileSystem::Vfat, Some(uri.clone()), digests.clone()),
            ConfigDriveSpec::Seed => return Err(Error::bug("a config drive's partition beside the seed folder")),
        };
        if file_system == DriveFileSystem::Iso9660 && sector_size == SectorSize::B4096 {
            let why = "iso9660 has blocks of 2048 bytes, which its disk's sectors of 4096 cannot carry: expected the form nocloud on vfat";
            return Err(Error::new(Kind::Request, format!("$.bedplate.config_drive.file_system: {why}")));
        }
        if source.is_none() {
            self.expectations.push(Expectation::FileSystem {
                device: device.clone(),
                kind: file_system.as_str().to_owned(),
                uuid: file_system.uuid(volume_id),
                label: Some(form.label().to_owned()),
            });
        }
        self.steps.push(Step::WriteConfigDrive {
            device,
            size,
            sector_size,
            file_system,
            form,
            volume_id,
            source,
            digests,
        });
        Ok(())
    }

    pub(super) fn make_bootable(&mut self, request: &Request) -> Result<()> {
        let at = |path: &str| self.scene.layout.filesystems.iter().find(|it| it.mount.as_deref() == Some(path));
        let root = at("/").ok_or_else(|| Error::bug("a layout without a root file system"))?;
        let mounts: Vec<_> =
            self.scene.layout.target_mount_order.iter().filter_map(|path| at(path).map(target_mount)).collect();
        let fstab: Vec<_> = self.scene.layout.filesystems.iter().filter_map(|it| self.fstab_line(it)).collect();
        let arrays = self.scene.layout.mds.iter();
        let arrays = arrays.filter_map(|md| Some(array_line(&md.name, &self.scene.array_uuid(md)?))).collect();
        self.expectations.push(Expectation::Fstab { mounts: mounts.clone(), lines: fstab.clone() });
        self.steps.push(Step::MountTarget { mounts });
        self.steps.push(Step::WriteSystemFiles {
            fstab,
            arrays,
            nic_names: request.nic_names.clone(),
            admin: AdminNetwork::of(request),
        });
        if request.config_drive == ConfigDriveSpec::Seed {
            self.steps.push(Step::WriteSeed);
        }
        let boot = at("/boot").unwrap_or(root);
        self.steps.push(Step::ConfigureGrub {
            kernel_params: self.scene.layout.bootloader.kernel_params.trim().to_owned(),
            root: self.root_parameter(root),
            boot_uuid: self.scene.file_system_uuid(boot),
            boot_format: boot.kind.clone(),
            boot_storage: self.storage(boot),
            boot_folder: if boot.device == root.device { "/boot".to_owned() } else { "/".to_owned() },
            kernel_regexp: self.scene.layout.bootloader.kernel_regexp.clone(),
            initrd_regexp: self.scene.layout.bootloader.initrd_regexp.clone(),
        });
        let disks: Vec<_> =
            self.scene.layout.disks.iter().zip(self.scene.disks).filter(|(laid, _)| laid.install_bootloader).collect();
        self.expectations.extend(disks.iter().map(|(laid, _)| Expectation::BootCode { device: laid.device.clone() }));
        self.steps.push(Step::InstallBootCode { disks: disks.iter().map(|(_, disk)| identify(disk)).collect() });
        self.steps.push(Step::UnmountTarget);
        Ok(())
    }

    /// A volume by its name: older initial RAM disks activate volumes by it and not by UUID (LP#1552346).
    fn root_parameter(&self, root: &FileSystem) -> String {
        let is_volume = self.scene.layout.lvs.iter().any(|lv| lv.device == root.device);
        if is_volume { root.device.clone() } else { format!("UUID={}", self.scene.file_system_uuid(root)) }
    }

    fn storage(&self, it: &FileSystem) -> BootStorage {
        if self.scene.layout.lvs.iter().any(|lv| lv.device == it.device) {
            BootStorage::Lvm
        } else if self.scene.layout.mds.iter().any(|md| md.name == it.device) {
            BootStorage::Md
        } else {
            BootStorage::Partition
        }
    }

    fn fstab_line(&self, it: &FileSystem) -> Option<String> {
        let mount = it.mount.as_deref()?;
        let uuid = if it.keep_data {
            // A kept volume keeps a UUID that nobody asked for before it is active; its device is as certain.
            self.scene.found(&it.device).and_then(|signature| signature.uuid.clone())
        } else {
            Some(self.scene.file_system_uuid(it))
        };
        let source = uuid.map_or_else(|| it.device.clone(), |uuid| format!("UUID={uuid}"));
        Some(format!("{source} {mount} {} {} 0 0", it.kind, mount_options(mount, &it.kind)))
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

/// A line of mdadm.conf; mdadm writes UUIDs as four groups.
fn array_line(device: &str, uuid: &str) -> String {
    let digits = uuid.replace('-', "");
    let groups: Vec<_> = (0..4).map(|group| &digits[group * 8..(group + 1) * 8]).collect();
    format!("ARRAY {device} UUID={}", groups.join(":"))
}

fn target_mount(it: &FileSystem) -> TargetMount {
    TargetMount { device: it.device.clone(), path: it.mount.clone().unwrap_or_default(), kind: it.kind.clone() }
}
