//! The installed system while it is worked on: mounts and files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::boot;
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{Plan, Step, TargetMount};
use crate::request::NicName;
use crate::sys::mount::{Access, Mounts};

/// What tools in the installed system need of the running one.
const BOUND: [&str; 3] = ["dev", "proc", "sys"];

/// Mounts the file systems below `target`, then what tools inside need.
pub fn mount(mounts: &mut Mounts, target: &Path, file_systems: &[TargetMount]) -> Result<()> {
    for it in file_systems {
        mounts.mount(Path::new(&it.device), &inside(target, &it.path)?, &it.kind, Access::ReadWrite)?;
    }
    for folder in BOUND {
        mounts.bind(&Path::new("/").join(folder), &inside(target, folder)?)?;
    }
    // LVM's tools in there ask udev's database, and must not see the sockets of this system.
    mounts.mount_virtual("tmpfs", &inside(target, "run")?)?;
    if Path::new("/run/udev").is_dir() {
        mounts.bind(Path::new("/run/udev"), &inside(target, "run/udev")?)?;
    }
    Ok(())
}

/// Writes fstab, the arrays that the initial RAM disk must know, and the names of network interfaces.
pub fn write_files(target: &Path, fstab: &[String], arrays: &[String], nic_names: &[NicName]) -> Result<()> {
    let text: String = fstab.iter().map(|line| format!("{line}\n")).collect();
    write(target, "etc/fstab", &text, 0o644)?;
    if !arrays.is_empty() {
        // Debian's place first; what is in there already stays.
        let name = if inside(target, "etc/mdadm")?.is_dir() { "etc/mdadm/mdadm.conf" } else { "etc/mdadm.conf" };
        let mut text = read_if_there(target, name)?.unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.extend(arrays.iter().map(|line| format!("{line}\n")));
        write(target, name, &text, 0o644)?;
    }
    if !nic_names.is_empty() {
        write(target, boot::NIC_RULES_FILE, &boot::nic_rules(nic_names), 0o644)?;
        write(target, boot::NIC_GENERATOR_FILE, boot::nic_generator_off(), 0o644)?;
    }
    Ok(())
}

/// Writes files for root alone into the installed system of a plan, all of its file systems mounted.
///
/// # Errors
/// `Medium` when it cannot be mounted or written, `Image` when a link leads elsewhere.
pub fn leave(plan: &Plan, target: &Path, files: &[(String, String)]) -> Result<()> {
    let file_systems = plan.steps.iter().find_map(|step| match step {
        Step::MountTarget { mounts } => Some(mounts),
        _ => None,
    });
    let mut mounts = Mounts::default();
    let written = file_systems.into_iter().flatten().try_for_each(|it| {
        mounts.mount(Path::new(&it.device), &inside(target, &it.path)?, &it.kind, Access::ReadWrite)
    });
    let written = written.and_then(|()| files.iter().try_for_each(|(name, text)| write(target, name, text, 0o600)));
    mounts.unmount_after(written)
}

/// The path of a file of the installed system.
///
/// # Errors
/// `Image` when a folder on the way is a link: an image must not make this program write outside of it.
pub fn inside(target: &Path, path: &str) -> Result<PathBuf> {
    let mut whole = target.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            return Err(Error::bug(format!("the path {path} leads out of the installed system")));
        }
        whole.push(part);
        if whole.is_symlink() {
            return Err(Error::new(
                Kind::Image,
                format!(
                    "/{} in the installed system is a symbolic link where a plain path is expected",
                    path.trim_matches('/')
                ),
            ));
        }
    }
    Ok(whole)
}

/// A file's text, if the file is there.
pub fn read_if_there(target: &Path, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(inside(target, name)?) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::caused(Kind::Image, format!("reading /{name} of the installed system"), cause)),
    }
}

/// Writes a file of the installed system whole or not at all.
pub fn write(target: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let what = || format!("writing /{name} of the installed system");
    let path = inside(target, name)?;
    let temporary = inside(target, &format!("{name}.bedplate-new"))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context(Kind::Medium, what)?;
    }
    fs::write(&temporary, text).context(Kind::Medium, what)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).context(Kind::Medium, what)?;
    fs::rename(&temporary, &path).context(Kind::Medium, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_an_image_do_not_lead_out_of_it() {
        let target = std::env::temp_dir().join(format!("bedplate-target-{}", std::process::id()));
        fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink("/etc", target.join("etc")).unwrap();
        let error = write(&target, "etc/fstab", "x", 0o644).unwrap_err();
        assert_eq!(error.kind(), Kind::Image);
        assert!(inside(&target, "../etc").is_err());
        fs::remove_dir_all(&target).unwrap();
    }

    #[test]
    fn arrays_are_added_to_what_the_image_brings() {
        let target = std::env::temp_dir().join(format!("bedplate-files-{}", std::process::id()));
        fs::create_dir_all(target.join("etc/mdadm")).unwrap();
        fs::write(target.join("etc/mdadm/mdadm.conf"), "HOMEHOST <system>").unwrap();
        write_files(&target, &["UUID=1 / ext4 defaults 0 0".into()], &["ARRAY /dev/md0 UUID=a:b:c:d".into()], &[])
            .unwrap();
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert_eq!(read("etc/fstab"), "UUID=1 / ext4 defaults 0 0\n");
        assert_eq!(read("etc/mdadm/mdadm.conf"), "HOMEHOST <system>\nARRAY /dev/md0 UUID=a:b:c:d\n");
        fs::remove_dir_all(&target).unwrap();
    }
}
