//! Volumes become partitions, arrays, physical volumes and file systems, in upstream's order.

use crate::error::{Error, Kind, Result};
use crate::inventory::FirmwareMode;
use crate::layout::boot_disk;
use crate::layout::matching::Match;
use crate::layout::model::{BIOS_BOOT, CEPH_OSD, EFI_SYSTEM, FileSystem, LaidDisk, Layout, Lv, Md, Pv, Vg};
use crate::layout::placement::{Placer, Wanted};
use crate::request::{DiskSpec, Mount, Request, VolumeKind, VolumeSpec};
use crate::units::Mib;

/// GRUB's core image on BIOS machines.
const BIOS_GRUB_SIZE: Mib = Mib::new(24);
/// The second partition of every disk.
const EFI_SIZE: Mib = Mib::new(200);
/// The partition for the config drive.
const CONFIG_DRIVE_SIZE: Mib = Mib::new(20);
/// The largest Ceph journal.
const MAX_JOURNAL: u64 = 10_240;
/// Upstream cuts every label, whatever the file system would hold.
const LABEL_LENGTH: usize = 12;
/// What a file system is when the document does not say.
const DEFAULT_FILE_SYSTEM: &str = "xfs";
/// What `/boot` is when a `raid` volume does not say.
const DEFAULT_BOOT_FILE_SYSTEM: &str = "ext2";

/// Builds the storage part of a layout.
pub struct Builder<'a> {
    request: &'a Request,
    firmware: FirmwareMode,
    /// Names of arrays that exist outside the disks of the document.
    foreign_arrays: Vec<String>,
    /// The operating system needs arrays that GRUB 1 can read.
    needs_old_metadata: bool,
    layout: Layout,
    has_boot: bool,
    journals: Journals,
    kept_members: Vec<(String, bool)>,
}

/// How Ceph journals are shared out over the journal disks.
struct Journals {
    ratio: u64,
    left: u64,
}

impl Journals {
    fn of(request: &Request) -> Self {
        let count = |name: &str| {
            let volumes = request.disks.iter().flat_map(|disk| &disk.volumes);
            let count =
                volumes.filter(|volume| volume.name.as_deref() == Some(name) && volume.size > Mib::default()).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        let (osds, devices) = (count("ceph"), count("cephjournal"));
        Self { ratio: if devices == 0 { 0 } else { osds.div_ceil(devices) }, left: osds }
    }
}

impl<'a> Builder<'a> {
    /// A builder for this request.
    pub fn new(
        request: &'a Request,
        firmware: FirmwareMode,
        foreign_arrays: Vec<String>,
        needs_old_metadata: bool,
    ) -> Self {
        Self {
            request,
            firmware,
            foreign_arrays,
            needs_old_metadata,
            layout: Layout::default(),
            has_boot: false,
            journals: Journals::of(request),
            kept_members: Vec::new(),
        }
    }

    /// Lays out the disks that have something to hold, then the volume groups.
    ///
    /// # Errors
    /// `Hardware` when a disk is too small, `Request` when the document contradicts itself.
    pub fn build(mut self, matches: &[Match<'_, '_>]) -> Result<Layout> {
        let boot_disks = boot_disk::candidates(&self.request.disks)?;
        for matched in matches {
            let is_boot_disk = boot_disks.contains(&matched.spec.path.as_str());
            self.lay_out_disk(*matched, is_boot_disk)?;
        }
        if !self.has_boot && self.request.disks.iter().any(boot_disk::lists_boot) {
            return Err(Error::new(
                Kind::Request,
                "$.ks_meta.pm_data.ks_spaces: /boot partition has not been created: no disk that lists it is suitable",
            ));
        }
        if self.layout.configdrive_device.is_none() {
            return Err(Error::new(
                Kind::Request,
                "$.ks_meta.pm_data.ks_spaces: expected a volume mounted on / or a physical volume of the group os, for the config drive beside it; found none",
            ));
        }
        self.lay_out_groups()?;
        self.elevate_keep_data();
        Ok(self.layout)
    }

    fn lay_out_disk(&mut self, matched: Match<'_, '_>, is_boot_disk: bool) -> Result<()> {
        let Match { spec, disk } = matched;
        let mut placer = Placer::new(disk);
        placer.place(Wanted {
            size: BIOS_GRUB_SIZE,
            type_guid: Some(BIOS_BOOT),
            flags: &["bios_grub"],
            role: "bios_grub".to_owned(),
            ..Wanted::default()
        })?;
        self.place_efi(&mut placer)?;
        for volume in spec.volumes.iter().filter(|volume| volume.size > Mib::default()) {
            self.place_volume(&mut placer, volume, is_boot_disk)?;
        }
        if self.layout.configdrive_device.is_none() && holds_system(spec) {
            let role = "configdrive".to_owned();
            self.layout.configdrive_device =
                Some(placer.place(Wanted { size: CONFIG_DRIVE_SIZE, role, ..Wanted::default() })?);
        }
        self.layout.disks.push(LaidDisk {
            ks_name: spec.name.clone(),
            device: disk.device.clone(),
            label: "gpt".to_owned(),
            disk_size_mib: disk.size.floor_mib(),
            install_bootloader: true,
            partitions: placer.finish(),
        });
        Ok(())
    }

    fn place_efi(&mut self, placer: &mut Placer<'_>) -> Result<()> {
        if self.firmware != FirmwareMode::Uefi {
            let role = "reserved for EFI".to_owned();
            placer.place(Wanted { size: EFI_SIZE, role, ..Wanted::default() })?;
            return Ok(());
        }
        let role = "efi system partition".to_owned();
        let device = placer.place(Wanted { size: EFI_SIZE, type_guid: Some(EFI_SYSTEM), role, ..Wanted::default() })?;
        let mount = "/boot/efi";
        if !self.layout.filesystems.iter().any(|it| it.mount.as_deref() == Some(mount)) {
            self.add_file_system(device, &Mount::Path(mount.to_owned()), "vfat", None, false);
        }
        Ok(())
    }

    fn place_volume(&mut self, placer: &mut Placer<'_>, volume: &VolumeSpec, is_boot_disk: bool) -> Result<()> {
        if volume.name.as_deref() == Some("cephjournal") {
            return self.place_journals(placer, volume);
        }
        let keep_data = volume.keep_data;
        match &volume.kind {
            VolumeKind::Boot | VolumeKind::LvmMetaPool => Ok(()),
            VolumeKind::Pv { vg, lvm_meta_size } => {
                let role = format!("pv of vg {vg}");
                let device = placer.place(Wanted { size: volume.size, role, keep_data, ..Wanted::default() })?;
                self.add_physical_volume(device, vg, *lvm_meta_size);
                Ok(())
            }
            VolumeKind::Partition { mount, file_system, label, type_guid } => {
                if is_boot(mount) && (self.has_boot || !is_boot_disk) {
                    return Ok(());
                }
                self.has_boot |= is_boot(mount);
                let has_file_system = *mount != Mount::None || file_system.is_some();
                let kind = file_system.as_deref().unwrap_or(DEFAULT_FILE_SYSTEM);
                let role = if has_file_system {
                    file_system_role(kind, mount)
                } else {
                    bare_role(volume, type_guid.as_deref())
                };
                let device = placer.place(Wanted {
                    size: volume.size,
                    type_guid: type_guid.as_deref(),
                    is_type_explicit: type_guid.is_some(),
                    role,
                    keep_data,
                    ..Wanted::default()
                })?;
                if has_file_system {
                    self.add_file_system(device, mount, kind, label.as_deref(), keep_data);
                }
                Ok(())
            }
            VolumeKind::Raid { mount, file_system, label, .. } => {
                self.place_raid(placer, volume, mount, file_system.as_deref(), label.as_deref(), is_boot_disk)
            }
        }
    }

    fn place_raid(
        &mut self,
        placer: &mut Placer<'_>,
        volume: &VolumeSpec,
        mount: &Mount,
        file_system: Option<&str>,
        label: Option<&str>,
        is_boot_disk: bool,
    ) -> Result<()> {
        let keep_data = volume.keep_data;
        if *mount == Mount::None {
            placer.place(Wanted { size: volume.size, role: "raw".to_owned(), keep_data, ..Wanted::default() })?;
            return Ok(());
        }
        if is_boot(mount) {
            // Not an array since Fuel 6.1 (LP#1340414): GRUB 1 reads metadata 0.90 alone, which has a limit of 28 members.
            if self.has_boot || !is_boot_disk {
                return Ok(());
            }
            self.has_boot = true;
            let kind = file_system.unwrap_or(DEFAULT_BOOT_FILE_SYSTEM);
            let role = file_system_role(kind, mount);
            let device = placer.place(Wanted { size: volume.size, role, keep_data, ..Wanted::default() })?;
            self.add_file_system(device, mount, kind, label, keep_data);
            return Ok(());
        }
        let mounted = mount_text(mount);
        let existing = self.layout.filesystems.iter().position(|it| it.mount.as_deref() == mounted).and_then(|index| {
            let device = self.layout.filesystems[index].device.clone();
            self.layout.mds.iter().position(|md| md.name == device)
        });
        let index = match existing {
            Some(index) => index,
            None => {
                let name = self.next_array_name()?;
                let metadata = if self.needs_old_metadata { "0.90" } else { "default" };
                self.layout.mds.push(Md {
                    name: name.clone(),
                    level: "mirror".to_owned(),
                    metadata: metadata.to_owned(),
                    devices: Vec::new(),
                    spares: Vec::new(),
                });
                self.add_file_system(name, mount, file_system.unwrap_or(DEFAULT_FILE_SYSTEM), label, false);
                self.layout.mds.len() - 1
            }
        };
        let role = format!("member of {}", self.layout.mds[index].name);
        let device = placer.place(Wanted { size: volume.size, role, keep_data, ..Wanted::default() })?;
        self.layout.mds[index].devices.push(device);
        self.kept_members.push((self.layout.mds[index].name.clone(), keep_data));
        Ok(())
    }

    /// The next free array name. Arrays on disks outside the document keep theirs.
    fn next_array_name(&self) -> Result<String> {
        (0..=511)
            .map(|number| format!("/dev/md{number}"))
            .find(|name| !self.foreign_arrays.contains(name) && self.layout.mds.iter().all(|md| md.name != *name))
            .ok_or_else(|| Error::new(Kind::Request, "all array names from /dev/md0 to /dev/md511 are taken"))
    }

    fn place_journals(&mut self, placer: &mut Placer<'_>, volume: &VolumeSpec) -> Result<()> {
        let VolumeKind::Partition { type_guid, .. } = &volume.kind else { return Ok(()) };
        if self.journals.ratio == 0 {
            return Ok(());
        }
        let size = Mib::new((volume.size.get() / self.journals.ratio).min(MAX_JOURNAL));
        let count = self.journals.ratio.min(self.journals.left);
        if size == Mib::default() {
            return Err(Error::new(
                Kind::Request,
                format!("a Ceph journal volume of {} does not hold {} journals", volume.size, self.journals.ratio),
            ));
        }
        for _ in 0..count {
            placer.place(Wanted {
                size,
                type_guid: type_guid.as_deref(),
                is_type_explicit: type_guid.is_some(),
                role: "ceph journal".to_owned(),
                keep_data: volume.keep_data,
                ..Wanted::default()
            })?;
        }
        self.journals.left -= count;
        Ok(())
    }

    fn add_physical_volume(&mut self, device: String, vg: &str, lvm_meta_size: Mib) {
        match self.layout.vgs.iter_mut().find(|it| it.name == vg) {
            Some(group) => group.pvs.push(device.clone()),
            None => self.layout.vgs.push(Vg { name: vg.to_owned(), pvs: vec![device.clone()], keep_data: false }),
        }
        // Upstream's formula: two copies, 8 MiB left for rounding.
        let metadatasize_mib = Mib::new(lvm_meta_size.get().saturating_sub(8) / 2);
        self.layout.pvs.push(Pv { name: device, metadatasize_mib, metadatacopies: 2 });
    }

    fn lay_out_groups(&mut self) -> Result<()> {
        for group in &self.request.volume_groups {
            for volume in group.volumes.iter().filter(|volume| volume.size > Mib::default()) {
                if !self.layout.vgs.iter().any(|it| it.name == group.name) {
                    return Err(Error::new(
                        Kind::Request,
                        format!(
                            "{}: volume group {} has volumes and no physical volume on any disk",
                            group.path, group.name
                        ),
                    ));
                }
                let device = mapper_device(&group.name, &volume.name);
                self.layout.lvs.push(Lv {
                    name: volume.name.clone(),
                    vg: group.name.clone(),
                    size_mib: volume.size,
                    device: device.clone(),
                    keep_data: false,
                });
                if volume.mount != Mount::None {
                    let kind = volume.file_system.as_deref().unwrap_or(DEFAULT_FILE_SYSTEM);
                    self.add_file_system(device, &volume.mount, kind, volume.label.as_deref(), false);
                }
            }
        }
        Ok(())
    }

    fn add_file_system(&mut self, device: String, mount: &Mount, kind: &str, label: Option<&str>, keep_data: bool) {
        let label = label.unwrap_or_default();
        self.layout.filesystems.push(FileSystem {
            device,
            mount: mount_text(mount).map(str::to_owned),
            kind: kind.to_owned(),
            label_requested: label.to_owned(),
            label_effective: label.chars().take(LABEL_LENGTH).collect(),
            keep_data,
            from_image: false,
            mkfs: false,
        });
    }

    /// Carries `keep_data` from what the document flags to what must therefore stay.
    ///
    /// A kept physical volume keeps its group, the group its volumes, a volume its file system. What handed its flag on
    /// loses it, as upstream records it.
    fn elevate_keep_data(&mut self) {
        let Layout { disks, vgs, lvs, filesystems, mds, .. } = &mut self.layout;
        let mut is_kept = |device: &str| {
            let partition = disks.iter_mut().flat_map(|disk| &mut disk.partitions).find(|it| it.device == device);
            partition.is_some_and(|partition| std::mem::take(&mut partition.keep_data))
        };
        for group in vgs.iter_mut() {
            // Not `any`: each physical volume hands its flag on.
            group.keep_data = group.pvs.iter().filter(|device| is_kept(device)).count() > 0;
        }
        for file_system in filesystems.iter_mut() {
            file_system.keep_data = is_kept(&file_system.device);
        }
        for group in vgs.iter_mut().filter(|group| group.keep_data) {
            for volume in lvs.iter_mut().filter(|volume| volume.vg == group.name) {
                group.keep_data = false;
                volume.keep_data = true;
            }
        }
        for volume in lvs.iter_mut().filter(|volume| volume.keep_data) {
            if let Some(file_system) = filesystems.iter_mut().find(|it| it.device == volume.device) {
                volume.keep_data = false;
                file_system.keep_data = true;
            }
        }
        for array in mds.iter() {
            // Upstream made the file system anew although its members were kept.
            let keeps = self.kept_members.iter().any(|(name, is_kept)| *name == array.name && *is_kept);
            if let Some(file_system) = filesystems.iter_mut().find(|it| keeps && it.device == array.name) {
                file_system.keep_data = true;
            }
        }
        let mut partitions = self.layout.disks.iter().flat_map(|disk| &disk.partitions);
        self.layout.skip_partitioning = partitions.any(|it| it.keep_data)
            || self.layout.vgs.iter().any(|it| it.keep_data)
            || self.layout.lvs.iter().any(|it| it.keep_data)
            || self.layout.filesystems.iter().any(|it| it.keep_data);
    }
}

/// Whether nothing is wanted on the disk but reservations and `/boot`.
pub fn is_untouched(spec: &DiskSpec) -> bool {
    spec.volumes.iter().all(|volume| match &volume.kind {
        VolumeKind::Boot | VolumeKind::LvmMetaPool => true,
        VolumeKind::Partition { mount, .. } | VolumeKind::Raid { mount, .. } if is_boot(mount) => true,
        _ => volume.size == Mib::default(),
    })
}

/// Whether the disk carries the root file system (of whatever size) or a part of the group `os`.
fn holds_system(spec: &DiskSpec) -> bool {
    spec.volumes.iter().any(|volume| match &volume.kind {
        VolumeKind::Partition { mount, .. } | VolumeKind::Raid { mount, .. } => *mount == Mount::Path("/".to_owned()),
        VolumeKind::Pv { vg, .. } => vg == "os" && volume.size > Mib::default(),
        VolumeKind::Boot | VolumeKind::LvmMetaPool => false,
    })
}

/// Whether it is `/boot`.
pub fn is_boot(mount: &Mount) -> bool {
    matches!(mount, Mount::Path(path) if path == "/boot")
}

fn mount_text(mount: &Mount) -> Option<&str> {
    match mount {
        Mount::None => None,
        Mount::Swap => Some("swap"),
        Mount::Path(path) => Some(path),
    }
}

fn file_system_role(kind: &str, mount: &Mount) -> String {
    match mount_text(mount) {
        None => format!("fs {kind} (not mounted)"),
        Some(mount) => format!("fs {kind} on {mount}"),
    }
}

fn bare_role(volume: &VolumeSpec, type_guid: Option<&str>) -> String {
    let is_osd = volume.name.as_deref() == Some("ceph") || type_guid == Some(CEPH_OSD);
    if is_osd { "ceph osd data" } else { "raw" }.to_owned()
}

/// The device-mapper node of a logical volume; hyphens in either name are doubled (lvm2's libdevmapper).
fn mapper_device(group: &str, volume: &str) -> String {
    format!("/dev/mapper/{}-{}", group.replace('-', "--"), volume.replace('-', "--"))
}
