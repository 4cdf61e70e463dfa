//! File systems that an image brought: grown to their device, and given an identity of their own.

use std::path::Path;

use log::info;

use super::arguments;
use crate::error::Result;
use crate::sys::blkid;
use crate::sys::command::{Call, Tool};
use crate::sys::mount::{Access, Mounts};

/// e2fsck(8): 1 says that errors were corrected; 2, also in sum, that the system should be rebooted, which it says of the
/// root file system of the running system alone. Neither is a failure; 4 (uncorrected) and what is above is.
const CORRECTED: [i32; 3] = [1, 2, 3];

/// The tools that adopting calls.
pub fn required_tools(format: &str) -> &'static [Tool] {
    match format {
        "ext2" | "ext3" | "ext4" => &[Tool::E2fsck, Tool::Resize2fs, Tool::Tune2fs],
        "xfs" => &[Tool::XfsAdmin, Tool::XfsGrowfs],
        "btrfs" => &[Tool::Btrfs, Tool::Btrfstune],
        _ => &[],
    }
}

/// Grows the file system that an image brought to its device, and makes it one of its own: two disks with the same
/// image must not be mistaken for each other. `scratch` is where it may be mounted for that.
pub fn adopt(device: &str, format: &str, label: Option<&str>, uuid: &str, scratch: &Path) -> Result<()> {
    match format {
        "ext2" | "ext3" | "ext4" => adopt_ext(device, label, uuid),
        "xfs" => adopt_xfs(device, label, uuid, scratch),
        "btrfs" => adopt_btrfs(device, label, uuid, scratch),
        other => {
            // As upstream: it is written and stays as it is.
            info!("{device}: file system {other} is neither grown nor given a new UUID");
            Ok(())
        }
    }
}

fn adopt_ext(device: &str, label: Option<&str>, uuid: &str) -> Result<()> {
    Call::new(Tool::E2fsck, arguments::correct_ext(device)).allow(&CORRECTED).run()?;
    // Before it grows: a new UUID changes every checksum, and there are fewer of them now. It asks where that is much.
    Call::new(Tool::Tune2fs, arguments::identify_ext(device, label, uuid)).input("y\n").run()?;
    Call::new(Tool::Resize2fs, arguments::grow_ext(device)).run()?;
    // Growing may leave what only a check corrects (LP#1459665).
    Call::new(Tool::E2fsck, arguments::check_ext(device)).allow(&CORRECTED).run()?;
    Ok(())
}

fn adopt_xfs(device: &str, label: Option<&str>, uuid: &str, scratch: &Path) -> Result<()> {
    // An image of a running system has a log to be replayed, before which xfs_admin changes nothing.
    while_mounted(device, "xfs", scratch, || Ok(()))?;
    Call::new(Tool::XfsAdmin, arguments::identify_xfs(device, label, uuid)).run()?;
    // xfs grows only while it is mounted.
    while_mounted(device, "xfs", scratch, || Call::new(Tool::XfsGrowfs, [scratch.as_os_str()]).run().map(drop))
}

fn adopt_btrfs(device: &str, label: Option<&str>, uuid: &str, scratch: &Path) -> Result<()> {
    // As with xfs: what is still in the log of fsync would be checked with the old UUID.
    while_mounted(device, "btrfs", scratch, || Ok(()))?;
    // btrfstune takes no UUID that is there already, be it of the very file system.
    if blkid::probe([device])?.get("UUID").is_none_or(|found| found != uuid) {
        Call::new(Tool::Btrfstune, arguments::identify_btrfs(device, uuid)).run()?;
    }
    if let Some(label) = label {
        Call::new(Tool::Btrfs, arguments::label_btrfs(device, label)).run()?;
    }
    let folder = scratch.to_string_lossy();
    while_mounted(device, "btrfs", scratch, || Call::new(Tool::Btrfs, arguments::grow_btrfs(&folder)).run().map(drop))
}

/// Mounts, acts and unmounts.
fn while_mounted(device: &str, kind: &str, scratch: &Path, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut mounts = Mounts::default();
    mounts.mount(Path::new(device), scratch, kind, Access::ReadWrite)?;
    let acted = act();
    mounts.unmount_after(acted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::error::Kind;
    use crate::loop_device::LoopDevice;
    use crate::scratch::Scratch;

    const UUID: &str = "21111111-2222-4333-8444-555555555555";

    /// The kernel mounts no second xfs or btrfs of one UUID, and all tests here give the same.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// A loop device of 700 MiB.
    struct Loop {
        device: String,
        scratch: Scratch,
        _attached: LoopDevice,
        _turn: MutexGuard<'static, ()>,
    }

    impl Loop {
        fn new() -> Self {
            let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            let scratch = Scratch::new();
            std::fs::create_dir(scratch.path("mount")).unwrap();
            let attached = LoopDevice::new(&scratch.path("disk"), 700 << 20, 512);
            let device = attached.path().to_str().unwrap().to_owned();
            Self { device, scratch, _attached: attached, _turn: turn }
        }

        fn mounted<T>(&self, kind: &str, look: impl FnOnce(&Path) -> T) -> T {
            let at = self.scratch.path("mount");
            let mut seen = None;
            while_mounted(&self.device, kind, &at, || {
                seen = Some(look(&at));
                Ok(())
            })
            .unwrap();
            seen.unwrap()
        }

        fn found(&self) -> BTreeMap<String, String> {
            blkid::probe([self.device.as_str()]).unwrap()
        }
    }

    fn run(tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(arguments).output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a file system of 350 MiB with a file in it, on a device of twice the size.
    fn made(kind: &str) -> Loop {
        let disk = Loop::new();
        let device = disk.device.as_str();
        match kind {
            "xfs" => run("mkfs.xfs", &["-q", "-d", "size=350m", device]),
            "btrfs" => run("mkfs.btrfs", &["-q", "-b", "350m", device]),
            ext => run(&format!("mkfs.{ext}"), &["-q", "-F", device, "350m"]),
        };
        disk.mounted(kind, |at| std::fs::write(at.join("file"), "content").unwrap());
        disk
    }

    #[test]
    fn needs_root_image_s_file_system_fills_its_device_under_its_own_name() {
        for kind in ["ext2", "ext3", "ext4", "xfs", "btrfs"] {
            let disk = made(kind);
            let before = disk.found()["UUID"].clone();
            adopt(&disk.device, kind, Some("my-root"), UUID, &disk.scratch.path("grow")).unwrap();
            let found = disk.found();
            assert_eq!((found["UUID"].as_str(), found["LABEL"].as_str()), (UUID, "my-root"), "{kind}");
            assert_ne!(before, UUID);
            let (size, content) = disk.mounted(kind, |at| {
                let size = nix::sys::statvfs::statvfs(at).map(|it| it.blocks() * it.fragment_size()).unwrap();
                (size, std::fs::read_to_string(at.join("file")).unwrap())
            });
            assert!(size > 600 << 20, "{kind}: {size}");
            assert_eq!(content, "content");
            // Once more, as a run that is repeated does, and without a label: that of the image stays.
            adopt(&disk.device, kind, None, UUID, &disk.scratch.path("grow")).unwrap();
            assert_eq!(disk.found()["LABEL"], "my-root", "{kind}");
        }
    }

    #[test]
    fn needs_root_corrected_errors_are_no_failure_and_uncorrected_ones_are() {
        let disk = made("ext4");
        run("debugfs", &["-w", "-R", "set_super_value free_inodes_count 3", &disk.device]);
        run("debugfs", &["-w", "-R", "clri file", &disk.device]);
        let status = Command::new("e2fsck").args(["-f", "-n", &disk.device]).output().unwrap().status;
        assert_eq!(status.code(), Some(4), "there is something to correct");
        adopt(&disk.device, "ext4", None, UUID, &disk.scratch.path("grow")).unwrap();
        assert_eq!(disk.found()["UUID"], UUID);

        run("dd", &["if=/dev/zero", &format!("of={}", disk.device), "bs=1M", "count=700", "conv=fsync", "status=none"]);
        let error = adopt(&disk.device, "ext4", None, UUID, &disk.scratch.path("grow")).unwrap_err();
        assert_eq!(error.kind(), Kind::Tool);
        assert!(error.to_string().contains("exit status 8"), "{error}");
    }

    #[test]
    fn needs_root_log_that_was_not_replayed_is_no_hindrance() {
        let disk = made("xfs");
        let mount = disk.scratch.path("mount");
        let mut mounts = Mounts::default();
        mounts.mount(Path::new(&disk.device), &mount, "xfs", Access::ReadWrite).unwrap();
        std::fs::write(mount.join("late"), "late").unwrap();
        run("sync", &[]);
        // The power fails: what is in the log stays there.
        run("xfs_io", &["-x", "-c", "shutdown -f", mount.to_str().unwrap()]);
        mounts.unmount_all().unwrap();
        adopt(&disk.device, "xfs", Some("root"), UUID, &disk.scratch.path("grow")).unwrap();
        assert_eq!(disk.found()["UUID"], UUID);
        assert_eq!(disk.mounted("xfs", |at| std::fs::read_to_string(at.join("late")).unwrap()), "late");
    }
}
