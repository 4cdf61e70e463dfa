//! GRUB: its configuration written by us, its code installed by the image's own grub-install.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::{guard, target};
use crate::boot::{self, GrubMenu, GrubRoot, KernelNames, RootDevice, Storage};
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{BootStorage, DiskIdentity, Step};
use crate::sys::block;
use crate::sys::claim::DiskLock;
use crate::sys::command::{Call, Tool};

/// Seconds that the menu is shown (upstream's `grub_timeout`).
const TIMEOUT: u32 = 10;
/// Where distributions keep the settings of GRUB.
const SETTINGS: [&str; 2] = ["etc/default/grub", "etc/sysconfig/grub"];
/// Where distributions keep the configuration, by the folder that must be there.
const CONFIGURATIONS: [(&str, &str); 2] = [("boot/grub2", "boot/grub2/grub.cfg"), ("boot/grub", "boot/grub/grub.cfg")];
/// What distributions call the installer.
const INSTALLERS: [&str; 4] =
    ["usr/sbin/grub-install", "usr/sbin/grub2-install", "sbin/grub-install", "sbin/grub2-install"];

/// Carries out a `ConfigureGrub` step.
pub fn configure(target: &Path, step: &Step) -> Result<()> {
    let Step::ConfigureGrub {
        kernel_params,
        root,
        boot_uuid,
        boot_format,
        boot_storage,
        boot_folder,
        kernel_regexp,
        ..
    } = step
    else {
        return Err(Error::bug("configuring GRUB without its step"));
    };
    let names = kernels(target)?;
    let wanted = KernelNames::of_upstream(kernel_regexp.as_deref());
    let kernel = boot::choose_kernel(&names, wanted).ok_or_else(|| {
        Error::new(Kind::Image, format!("no kernel in /boot of the installed system: found {}", names.join(", ")))
    })?;
    let root = match root.strip_prefix("UUID=") {
        Some(uuid) => RootDevice::Uuid(uuid.to_owned()),
        None => RootDevice::Path(root.clone()),
    };
    let storage = match boot_storage {
        BootStorage::Partition => Storage::Partition,
        BootStorage::Lvm => Storage::Lvm,
        BootStorage::Md => Storage::Md,
    };
    let menu = GrubMenu {
        title: "GNU/Linux".to_owned(),
        timeout: TIMEOUT,
        root: GrubRoot { uuid: boot_uuid.clone(), format: boot_format.clone(), storage, folder: boot_folder.clone() },
        kernel,
        kernel_line: boot::kernel_line(&root, kernel_params),
    };
    let place = CONFIGURATIONS.iter().find(|(folder, _)| target.join(folder).is_dir());
    let place = place.map_or(CONFIGURATIONS[1].1, |(_, file)| file);
    target::write(target, place, &boot::grub_cfg(&menu), 0o600)?;
    // For the day when a new kernel makes the distribution write its own configuration.
    let settings = SETTINGS.iter().find(|name| target.join(name).is_file()).unwrap_or(&SETTINGS[0]);
    let existing = target::read_if_there(target, settings)?.unwrap_or_default();
    target::write(target, settings, &boot::default_grub(&existing, kernel_params, TIMEOUT), 0o644)
}

/// Names of the files in /boot.
fn kernels(target: &Path) -> Result<Vec<String>> {
    let folder = target::inside(target, "boot")?;
    let what = || "reading /boot of the installed system";
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context(Kind::Image, what)? {
        names.push(entry.context(Kind::Image, what)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Puts the stub back that hands over to the next boot device.
pub fn withdraw(disk: &DiskIdentity) -> Result<()> {
    guard::check_identity(disk)?;
    let what = || format!("withdrawing the boot code of {}", disk.device);
    let lock = DiskLock::take(Path::new(&disk.device))?;
    let mut file = fs::File::options().write(true).open(&disk.device).context(Kind::Medium, what)?;
    file.write_all(&boot::handover_stub()).context(Kind::Medium, what)?;
    block::flush(&file).map_err(|error| error.within(what()))?;
    drop(file);
    lock.release()
}

/// Carries out an `InstallBootCode` step.
pub fn install(target: &Path, disks: &[DiskIdentity]) -> Result<()> {
    let installer = INSTALLERS.iter().find(|name| target.join(name).is_file()).ok_or_else(|| {
        Error::new(Kind::Image, format!("the image has no GRUB 2: none of /{} is there", INSTALLERS.join(", /")))
    })?;
    for disk in disks {
        guard::check_identity(disk)?;
        let arguments = [target.as_os_str(), installer.as_ref(), "--target=i386-pc".as_ref(), disk.device.as_ref()];
        let lock = DiskLock::take(Path::new(&disk.device))?;
        Call::new(Tool::Chroot, arguments)
            .run()
            .map_err(|error| error.within(format!("installing boot code on {}", disk.device)))?;
        lock.release()?;
    }
    Ok(())
}
