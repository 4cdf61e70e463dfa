//! Every safety rule that is checked while a plan is carried out. What can fail without destroying is done here, first.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::Uid;

use super::{adoption, file_system, sanitize};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::image::{self, Job, Room};
use crate::inventory::{self, Disk, FirmwareMode, Use};
use crate::layout::{self, Layout};
use crate::plan::{DiskIdentity, Expectation, Plan, Step};
use crate::request::EraseMode;
use crate::request::file_systems::ARCHIVE;
use crate::sys::command::Tool;
use crate::sys::lock::RunLock;
use crate::units::{MaxWindow, Mib};

/// Refuses everyone but root.
///
/// # Errors
/// `Refused` with the user's number.
pub fn require_root() -> Result<()> {
    let user = Uid::effective();
    if user.is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, format!("only root may write to disks: this is user {user}"))
        .advise("run it as root, for example with sudo"))
}

/// Keeps other runs out until it is dropped. Taken before the machine is looked at, whose state a run changes.
///
/// # Errors
/// `Refused` when another run holds it.
pub fn lock() -> Result<RunLock> {
    RunLock::take(Path::new("/run/bedplate.lock"))
}

/// Checks everything that can be checked without writing: tools, images, disks.
///
/// # Errors
/// `Refused`, `Tool`, `Image` or `Hardware`, with nothing written.
pub fn prepare(plan: &Plan, http: &http::Client, max_window: MaxWindow) -> Result<()> {
    require_boot_support(plan)?;
    for tool in plan.steps.iter().map(tools).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<BTreeSet<_>>()
    {
        tool.find()?;
    }
    // Waiting for device nodes, and the verification, are no steps.
    for tool in [Tool::Udevadm, Tool::Sfdisk, Tool::Blkid] {
        tool.find()?;
    }
    for step in &plan.steps {
        match step {
            Step::EraseDisk { disk, .. } | Step::WithdrawBootCode { disk } | Step::RestoreTable { disk } => {
                check_disk(disk)?;
            }
            Step::InstallBootCode { disks } => disks.iter().try_for_each(check_disk)?,
            Step::WriteImage { target, format, .. } => {
                let job = super::image::job(&step.id(), step, max_window)?;
                // The size of an archive is not that of its files.
                let room = if format == ARCHIVE { None } else { room(&plan.layout, target) };
                probe_image(&job, format, room, http)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses what could be laid out and not be started.
fn require_boot_support(plan: &Plan) -> Result<()> {
    let installs = plan.steps.iter().any(|step| matches!(step, Step::InstallBootCode { .. }));
    if installs && plan.layout.bootloader.grub_version_by_os == 1 {
        let system = &plan.layout.operating_system;
        return Err(Error::new(
            Kind::Hardware,
            format!(
                "{} {} starts through GRUB 1, which is not installed any more",
                system.name,
                system.major.unwrap_or(0)
            ),
        ));
    }
    if installs && plan.firmware == FirmwareMode::Uefi {
        return Err(Error::new(
            Kind::Hardware,
            "this machine was started through UEFI, and the boot loader is installed for BIOS alone",
        )
        .advise("switch the firmware to legacy (BIOS) boot, for the network too"));
    }
    Ok(())
}

/// The tools that a step calls.
fn tools(step: &Step) -> Result<Vec<Tool>> {
    Ok(match step {
        Step::DeactivateVolumeGroup { .. }
        | Step::ActivateVolumeGroup { .. }
        | Step::CreatePhysicalVolume { .. }
        | Step::CreateVolumeGroup { .. }
        | Step::CreateLogicalVolume { .. } => vec![Tool::Lvm],
        Step::StopArray { .. }
        | Step::AssembleArray { .. }
        | Step::AddArrayMember { .. }
        | Step::CreateArray { .. } => vec![Tool::Mdadm],
        Step::CheckKept { expectations } => {
            let has_volumes = expectations.iter().any(|it| matches!(it, Expectation::LogicalVolume { .. }));
            has_volumes.then_some(Tool::Lvm).into_iter().collect()
        }
        Step::MakeFileSystem { kind, .. } => vec![file_system::required_tool(kind)?],
        Step::WriteImage { format, .. } => adoption::required_tools(format).to_vec(),
        Step::InstallBootCode { .. } => vec![Tool::Chroot],
        Step::EraseDisk { disk, mode: EraseMode::Sanitize, .. } => sanitize::required_tools(disk)?,
        Step::RestoreTable { disk } | Step::EraseDisk { disk, .. } | Step::WriteTable { disk, .. } => {
            disk.device.starts_with("/dev/mapper/").then_some(Tool::Kpartx).into_iter().collect()
        }
        Step::ErasePartition { .. }
        | Step::WithdrawBootCode { .. }
        | Step::WriteConfigDrive { .. }
        | Step::WriteSeed
        | Step::MountTarget { .. }
        | Step::WriteSystemFiles { .. }
        | Step::ConfigureGrub { .. }
        | Step::UnmountTarget => Vec::new(),
    })
}

/// An image must be there with its signature and its map, be packed as the request says, be as long as its metadata says
/// and no longer than its target will be, as far as all this can be told before it is fetched.
fn probe_image(job: &Job, format: &str, room: Option<Room>, http: &http::Client) -> Result<()> {
    let probe = image::probe(job, http)?;
    let checked = match format {
        ARCHIVE => probe.check_archive(job),
        _ => probe.check(job, room.clone()),
    };
    checked.map_err(|error| error.within(format!("image {}", job.source)))?;
    probe.check_map(job, room, http)
}

/// What a device of the layout will hold.
fn room(layout: &Layout, device: &str) -> Option<Room> {
    let size = layout::device_size(layout, device).and_then(Mib::bytes)?;
    Some((size.get(), device.to_owned()))
}

/// A disk must still be the one of the plan, and free.
///
/// # Errors
/// `Refused` when it is another one or in use, `Hardware` when it is gone.
pub fn check_disk(planned: &DiskIdentity) -> Result<()> {
    refuse_uses(&check_identity(planned)?)
}

/// What is mounted or swapped on, the live system's own medium among it, is nobody's to erase.
fn refuse_uses(disk: &Disk) -> Result<()> {
    for usage in &disk.uses {
        let what = match usage {
            Use::Mount { device, path } => format!("{device} is mounted on {path}"),
            Use::Swap { device } => format!("{device} is active swap"),
            // What the plan stacks on a disk, and what it takes down, are holders too; O_EXCL judges them.
            Use::Holder { .. } => continue,
        };
        return Err(Error::new(Kind::Refused, format!("disk {} is in use: {what}", disk.device)));
    }
    Ok(())
}

/// A disk must still be the one of the plan.
///
/// # Errors
/// `Refused` when it is another one, `Hardware` when it is gone.
pub fn check_identity(planned: &DiskIdentity) -> Result<Disk> {
    let Some(found) = inventory::find_disk(&planned.device) else {
        return Err(Error::new(Kind::Hardware, format!("disk {} is gone", planned.device)));
    };
    compare(planned, &found)?;
    Ok(found)
}

fn compare(planned: &DiskIdentity, found: &Disk) -> Result<()> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let differences: Vec<_> = [
        ("serial number", shown(&planned.serial), shown(&found.serial)),
        ("WWN", shown(&planned.wwn), shown(&found.wwn)),
        ("size", planned.size.exact(), found.size.exact()),
        ("sector size", planned.sector_size.get().to_string(), found.sector_size.get().to_string()),
    ]
    .into_iter()
    .filter(|(_, planned, found)| planned != found)
    .map(|(what, planned, found)| format!("{what}: planned {planned}, found {found}"))
    .collect();
    if !differences.is_empty() {
        return Err(Error::new(
            Kind::Refused,
            format!("disk {} is not the one of the plan: {}", planned.device, differences.join("; ")),
        )
        .advise("make the plan again: a disk was exchanged, or the kernel gave another one this name"));
    }
    if found.is_read_only {
        return Err(Error::new(Kind::Refused, format!("disk {} is read-only", planned.device)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, SectorSize};

    fn planned() -> DiskIdentity {
        DiskIdentity {
            device: "/dev/sda".to_owned(),
            size: Bytes::mib(1024),
            sector_size: SectorSize::B512,
            model: Some("Example".to_owned()),
            serial: Some("A1".to_owned()),
            wwn: Some("0x5000".to_owned()),
        }
    }

    fn found(change: impl Fn(&mut Disk)) -> Disk {
        let mut disk = Disk::unknown("sda", Bytes::mib(1024));
        (disk.serial, disk.wwn) = (planned().serial, planned().wwn);
        change(&mut disk);
        disk
    }

    fn fault(change: impl Fn(&mut Disk)) -> String {
        let disk = found(change);
        let error = compare(&planned(), &disk).and_then(|()| refuse_uses(&disk)).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        error.to_string().replace("disk /dev/sda ", "")
    }

    #[test]
    fn disk_of_the_plan_passes_whatever_is_built_on_it() {
        let (device, by, name) = ("/dev/sda1".to_owned(), "md0".to_owned(), "md0".to_owned());
        let holder = Use::Holder { device, by, name, uuid: None };
        let disk = found(|disk| disk.uses.push(holder.clone()));
        compare(&planned(), &disk).and_then(|()| refuse_uses(&disk)).unwrap();
    }

    #[test]
    fn another_disk_under_the_same_name_is_refused_with_both_sides() {
        let other = "is not the one of the plan: ";
        let serial = fault(|disk| disk.serial = Some("B2".to_owned()));
        assert_eq!(serial, format!("{other}serial number: planned A1, found B2"));
        assert_eq!(fault(|disk| disk.wwn = None), format!("{other}WWN: planned 0x5000, found none"));
        let size = fault(|disk| disk.size = Bytes::new(1));
        assert_eq!(size, format!("{other}size: planned 1073741824 bytes, found 1 bytes"));
        let sector = fault(|disk| disk.sector_size = SectorSize::B4096);
        assert_eq!(sector, format!("{other}sector size: planned 512, found 4096"));
    }

    #[test]
    fn disk_in_use_or_without_writing_is_refused() {
        let (device, path) = ("/dev/sda1".to_owned(), "/run/live/medium".to_owned());
        let mount = Use::Mount { device, path };
        assert_eq!(fault(|disk| disk.uses.push(mount.clone())), "is in use: /dev/sda1 is mounted on /run/live/medium");
        let swap = Use::Swap { device: "/dev/sda2".to_owned() };
        assert_eq!(fault(|disk| disk.uses.push(swap.clone())), "is in use: /dev/sda2 is active swap");
        assert_eq!(fault(|disk| disk.is_read_only = true), "is read-only");
    }

    #[test]
    fn disk_that_is_gone_is_told() {
        let mut gone = planned();
        gone.device = "/dev/no-such-disk".to_owned();
        let error = check_disk(&gone).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Hardware, "disk /dev/no-such-disk is gone"));
    }
}
