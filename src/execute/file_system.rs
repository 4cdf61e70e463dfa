//! File systems: made, grown, given an identity.

use std::path::Path;

use log::info;

use super::require_device;
use crate::error::{Error, Result};
use crate::sys::command::{Call, Tool};
use crate::sys::mount::{Access, Mounts};

/// e2fsck's "errors were corrected", no failure (e2fsck(8)).
const E2FSCK_CORRECTED: i32 = 1;

/// Makes a file system or swap with this UUID.
pub fn make(device: &str, kind: &str, label: Option<&str>, uuid: &str) -> Result<()> {
    require_device(device)?;
    Call::new(tool(kind)?, arguments(device, kind, label, uuid)).run()?;
    Ok(())
}

fn tool(kind: &str) -> Result<Tool> {
    Ok(match kind {
        "ext2" => Tool::MkfsExt2,
        "ext3" => Tool::MkfsExt3,
        "ext4" => Tool::MkfsExt4,
        "xfs" => Tool::MkfsXfs,
        "btrfs" => Tool::MkfsBtrfs,
        "vfat" => Tool::MkfsVfat,
        "swap" => Tool::Mkswap,
        other => return Err(Error::bug(format!("a plan asks for file system {other}"))),
    })
}

/// The tool that a step with this file system calls; for the check that everything is installed.
pub fn required_tool(kind: &str) -> Result<Tool> {
    tool(kind)
}

fn arguments<'a>(device: &'a str, kind: &str, label: Option<&'a str>, uuid: &'a str) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let label_option = if kind == "vfat" { "-n" } else { "-L" };
    let mut arguments = match kind {
        "xfs" => owned(&["-f", "-q", "-m", &format!("uuid={uuid}")]),
        "btrfs" => owned(&["-f", "-q", "-U", uuid]),
        "vfat" => owned(&["-i", &uuid.replace('-', "")]),
        "swap" => owned(&["-f", "-U", uuid]),
        _ => owned(&["-F", "-q", "-U", uuid]),
    };
    if let Some(label) = label {
        arguments.extend(owned(&[label_option, label]));
    }
    arguments.push(device.to_owned());
    arguments
}

/// Grows the file system that an image brought to its device, and makes it one of its own: two disks with the same
/// image must not be mistaken for each other.
pub fn adopt(device: &str, format: &str, label: Option<&str>, uuid: &str, scratch: &Path) -> Result<()> {
    match format {
        "ext2" | "ext3" | "ext4" => adopt_ext(device, label, uuid),
        "xfs" => adopt_xfs(device, label, uuid, scratch),
        other => {
            // As upstream: it is written and stays as it is.
            info!("{device}: file system {other} is neither grown nor given a new UUID");
            Ok(())
        }
    }
}

fn adopt_ext(device: &str, label: Option<&str>, uuid: &str) -> Result<()> {
    Call::new(Tool::E2fsck, ["-f", "-y", device]).allow(&[E2FSCK_CORRECTED]).run()?;
    // Before it grows: a new UUID changes every checksum, and there are fewer of them now.
    let label = label.map(|label| ["-L", label]);
    let options = ["-U", uuid].into_iter().chain(label.into_iter().flatten()).chain([device]);
    Call::new(Tool::Tune2fs, options).input("y\n").run()?;
    Call::new(Tool::Resize2fs, [device]).run()?;
    // Growing may leave what only a check corrects (LP#1459665).
    Call::new(Tool::E2fsck, ["-f", "-p", device]).allow(&[E2FSCK_CORRECTED]).run()?;
    Ok(())
}

fn adopt_xfs(device: &str, label: Option<&str>, uuid: &str, scratch: &Path) -> Result<()> {
    let label = label.map(|label| ["-L", label]);
    let options = ["-U", uuid].into_iter().chain(label.into_iter().flatten()).chain([device]);
    Call::new(Tool::XfsAdmin, options).run()?;
    // xfs grows only while it is mounted.
    let mut mounts = Mounts::default();
    mounts.mount(Path::new(device), scratch, "xfs", Access::ReadWrite)?;
    let grown = Call::new(Tool::XfsGrowfs, [scratch.as_os_str()]).run();
    let unmounted = mounts.unmount_all();
    grown?;
    unmounted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mkfs_arguments_carry_identity_and_label() {
        let line = |kind| arguments("/dev/x", kind, Some("data"), "0000-1111").join(" ");
        assert_eq!(line("ext4"), "-F -q -U 0000-1111 -L data /dev/x");
        assert_eq!(line("xfs"), "-f -q -m uuid=0000-1111 -L data /dev/x");
        assert_eq!(line("swap"), "-f -U 0000-1111 -L data /dev/x");
        assert_eq!(line("vfat"), "-i 00001111 -n data /dev/x");
    }
}
