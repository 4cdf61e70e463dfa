//! Volumes become partitions, arrays, physical volumes and file systems, in upstream's order.

use crate::error::{Error, Kind, Result};
use crate::inventory::FirmwareMode;
use crate::layout::boot_disk;
use crate::layout::findings::Findings;
use crate::layout::journals::Journals;
use crate::layout::matching::Match;
use crate::layout::model::{BIOS_BOOT, CEPH_OSD, EFI_SYSTEM, FileSystem, LaidDisk, Layout, Lv, Md, Pv, Vg};
use crate::layout::placement::{Placer, Wanted};
use crate::request::{ConfigDriveSpec, DiskSpec, LvSpec, Mount, Request, VgSpec, VolumeKind, VolumeSpec, file_systems};
use crate::units::Mib;

/// GRUB's core image on BIOS machines.
const BIOS_GRUB_SIZE: Mib = Mib::new(24);
/// The second partition of every disk.
const EFI_SIZE: Mib = Mib::new(200);
/// The partition for the config drive.
const CONFIG_DRIVE_SIZE: Mib = Mib::new(20);
/// Builds the storage part of a layout.
pub struct Builder<'a> {
    request: &'a Request,
    firmware: FirmwareMode,
    /// The operating system needs arrays that GRUB 1 can read.
    needs_old_metadata: bool,
    /// Device nodes of the disks.
    disks: Vec<String>,
    findings: &'a mut Findings,
    layout: Layout,
    has_boot: bool,
    journals: Journals,
}

impl<'a> Builder<'a> {
    /// A builder for this request.
    pub fn new(
        request: &'a Request,
        firmware: FirmwareMode,
        needs_old_metadata: bool,
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            request,
            firmware,
            needs_old_metadata,
            disks: Vec::new(),
            findings,
            layout: Layout::default(),
            has_boot: false,
            journals: Journals::of(request),
        }
    }

    /// Lays out the disks that have something to hold, then the volume groups. Faults go to the findings: `Hardware` when
    /// a disk is too small, `Request` when the document contradicts itself.
    pub fn build(mut self, matches: &[Match<'_, '_>]) -> Layout {
        let boot_disks = self.findings.keep(boot_disk::candidates(&self.request.disks));
        self.disks = matches.iter().map(|it| it.disk.device.clone()).collect();
        let mut is_filled = true;
        for matched in matches {
            let is_boot_disk = boot_disks.iter().flatten().any(|path| *path == matched.spec.path);
            is_filled &= self.lay_out_disk(*matched, is_boot_disk);
        }
        // What was not placed would be missed once more.
        if !is_filled {
            return self.layout;
        }
        let spaces = "$.ks_meta.pm_data.ks_spaces";
        if !self.has_boot && boot_disks.is_some() && self.request.disks.iter().any(boot_disk::lists_boot) {
            let what = "/boot partition has not been created: no disk that lists it is suitable";
            self.findings.fault(Error::new(Kind::Request, format!("{spaces}: {what}")));
        }
        if !matches.iter().any(|it| holds_system(it.spec)) {
            let what = "expected a volume mounted on / or a physical volume of the group os, for the config drive beside it; found none";
            self.findings.fault(Error::new(Kind::Request, format!("{spaces}: {what}")));
        }
        self.lay_out_groups();
        self.layout
    }

    /// Places everything on one disk; says whether it all has a place.
    fn lay_out_disk(&mut self, matched: Match<'_, '_>, is_boot_disk: bool) -> bool {
        let Match { spec, disk, .. } = matched;
        let mut placer = Placer::new(disk);
        let filled = self.fill_disk(&mut placer, spec, is_boot_disk);
        let is_filled = self.findings.keep(filled).is_some();
        self.layout.disks.push(LaidDisk {
            ks_name: spec.name.clone(),
            device: disk.device.clone(),
            label: "gpt".to_owned(),
            disk_size_mib: disk.size.floor_mib(),
            install_bootloader: true,
            partitions: placer.finish(),
        });
        is_filled
    }

    fn fill_disk(&mut self, placer: &mut Placer<'_>, spec: &DiskSpec, is_boot_disk: bool) -> Result<()> {
        let at_disk = |error: Error| error.within(spec.path.clone());
        let role = "bios_grub".to_owned();
        let flags = &["bios_grub"];
        placer
            .place(Wanted { size: BIOS_GRUB_SIZE, type_guid: Some(BIOS_BOOT), flags, role, ..Wanted::default() })
            .map_err(at_disk)?;
        self.place_efi(placer).map_err(at_disk)?;
        for volume in spec.volumes.iter().filter(|volume| volume.size > Mib::default()) {
            let at_volume = |error: Error| error.within(volume.path.clone());
            self.place_volume(placer, volume, is_boot_disk).map_err(at_volume)?;
        }
        let has_drive = self.request.config_drive != ConfigDriveSpec::Seed;
        if has_drive && self.layout.configdrive_device.is_none() && holds_system(spec) {
            let wanted = Wanted { size: CONFIG_DRIVE_SIZE, role: "configdrive".to_owned(), ..Wanted::default() };
            self.layout.configdrive_device = Some(placer.place(wanted).map_err(at_disk)?);
        }
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
                let kind = file_system.as_deref().unwrap_or(file_systems::DEFAULT);
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
            let kind = file_system.unwrap_or(file_systems::DEFAULT_BOOT);
            let role = file_system_role(kind, mount);
            let device = placer.place(Wanted { size: volume.size, role, keep_data, ..Wanted::default() })?;
            self.add_file_system(device, mount, kind, label, keep_data);
            return Ok(());
        }
        let index = match self.array_for(mount) {
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
                self.add_file_system(name, mount, file_system.unwrap_or(file_systems::DEFAULT), label, false);
                self.layout.mds.len() - 1
            }
        };
        let role = format!("member of {}", self.layout.mds[index].name);
        let device = placer.place(Wanted { size: volume.size, role, keep_data, ..Wanted::default() })?;
        self.layout.mds[index].devices.push(device);
        Ok(())
    }

    /// The array that carries the file system of this mount point already.
    fn array_for(&self, mount: &Mount) -> Option<usize> {
        let mounted = mount_text(mount);
        let carries =
            |md: &Md| self.layout.filesystems.iter().any(|it| it.device == md.name && it.mount.as_deref() == mounted);
        self.layout.mds.iter().position(carries)
    }

    /// The next array name that is free within the layout; another array of that name is refused by the plan.
    fn next_array_name(&self) -> Result<String> {
        let is_free = |name: &String| {
            self.layout.mds.iter().all(|md| md.name != *name) && !self.disks.iter().any(|disk| disk == name)
        };
        (0..=511)
            .map(|number| format!("/dev/md{number}"))
            .find(is_free)
            .ok_or_else(|| Error::new(Kind::Request, "$.ks_meta.pm_data.ks_spaces: more than 512 arrays are asked for"))
    }

    fn place_journals(&mut self, placer: &mut Placer<'_>, volume: &VolumeSpec) -> Result<()> {
        let share = self.journals.take(volume, self.findings)?;
        let VolumeKind::Partition { type_guid, .. } = &volume.kind else { return Ok(()) };
        for _ in 0..share.count {
            placer.place(Wanted {
                size: share.size,
                type_guid: type_guid.as_deref(),
                is_type_explicit: type_guid.is_some(),
                role: "ceph journal".to_owned(),
                keep_data: volume.keep_data,
                ..Wanted::default()
            })?;
        }
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

    fn lay_out_groups(&mut self) {
        let request = self.request;
        for group in &request.volume_groups {
            for volume in group.volumes.iter().filter(|volume| volume.size > Mib::default()) {
                if !self.layout.vgs.iter().any(|it| it.name == group.name) {
                    let what = "has volumes and no physical volume on any disk";
                    let message = format!("{}: volume group {} {what}", group.path, group.name);
                    self.findings.fault(Error::new(Kind::Request, message));
                    break;
                }
                self.lay_out_volume(group, volume);
            }
        }
    }

    fn lay_out_volume(&mut self, group: &VgSpec, volume: &LvSpec) {
        let device = mapper_device(&group.name, &volume.name);
        self.layout.lvs.push(Lv {
            name: volume.name.clone(),
            vg: group.name.clone(),
            size_mib: volume.size,
            device: device.clone(),
            keep_data: false,
        });
        if volume.mount != Mount::None {
            let kind = volume.file_system.as_deref().unwrap_or(file_systems::DEFAULT);
            self.add_file_system(device, &volume.mount, kind, volume.label.as_deref(), false);
        }
    }

    fn add_file_system(&mut self, device: String, mount: &Mount, kind: &str, label: Option<&str>, keep_data: bool) {
        let label = label.unwrap_or_default();
        self.layout.filesystems.push(FileSystem {
            device,
            mount: mount_text(mount).map(str::to_owned),
            kind: kind.to_owned(),
            label_requested: label.to_owned(),
            label_effective: file_systems::written_label(label),
            keep_data,
            from_image: false,
            mkfs: false,
        });
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
