//! Mounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context as _, Error, Kind, Result};

/// How long a file system may be busy before that is an error.
const BUSY: Duration = Duration::from_secs(2);

/// How a file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    ReadWrite,
    /// Read only, without replaying a journal where that can be told.
    ReadOnly,
}

/// Mounts made by this run, undone in reverse order.
#[derive(Debug, Default)]
pub struct Mounts {
    paths: Vec<PathBuf>,
}

impl Mounts {
    /// Mounts a device of this file system type; the folder is made when it is missing.
    ///
    /// # Errors
    /// `Medium` when the kernel refuses.
    pub fn mount(&mut self, device: &Path, at: &Path, kind: &str, access: Access) -> Result<()> {
        let (flags, data) = match (access, kind) {
            (Access::ReadWrite, _) => (MsFlags::empty(), None),
            // Even a read-only mount replays the journal, unless it is told not to (ext4(5), xfs(5)).
            (Access::ReadOnly, "ext3" | "ext4") => (MsFlags::MS_RDONLY, Some("noload")),
            (Access::ReadOnly, "xfs") => (MsFlags::MS_RDONLY, Some("norecovery")),
            (Access::ReadOnly, _) => (MsFlags::MS_RDONLY, None),
        };
        self.add(Some(device), at, Some(kind), flags, data)
    }

    /// Makes a folder of this system visible at another place.
    ///
    /// # Errors
    /// `Medium` when the kernel refuses.
    pub fn bind(&mut self, what: &Path, at: &Path) -> Result<()> {
        self.add(Some(what), at, None, MsFlags::MS_BIND, None)
    }

    /// Mounts a file system that has no device (`proc`, `sysfs`, `tmpfs`).
    ///
    /// # Errors
    /// `Medium` when the kernel refuses.
    pub fn mount_virtual(&mut self, kind: &str, at: &Path) -> Result<()> {
        self.add(Some(Path::new(kind)), at, Some(kind), MsFlags::empty(), None)
    }

    fn add(
        &mut self,
        source: Option<&Path>,
        at: &Path,
        kind: Option<&str>,
        flags: MsFlags,
        data: Option<&str>,
    ) -> Result<()> {
        let what = || {
            let source = source.map_or_else(String::new, |source| source.display().to_string());
            format!("mounting {source} on {}", at.display())
        };
        fs::create_dir_all(at).context(Kind::Medium, what)?;
        mount(source, at, kind, flags, data).context(Kind::Medium, what)?;
        self.paths.push(at.to_owned());
        Ok(())
    }

    /// Unmounts everything after what was done there.
    ///
    /// # Errors
    /// That of what was done, which says in its advice what stays mounted; else as [`Mounts::unmount_all`].
    pub fn unmount_after<T>(&mut self, done: Result<T>) -> Result<T> {
        match (done, self.unmount_all()) {
            (done, Ok(())) => done,
            (Ok(_), Err(error)) => Err(error),
            (Err(first), Err(second)) => {
                warn!("after the failure: {second}");
                let left = format!("unmount by hand what stayed mounted ({second})");
                let advice = first.advice().map_or_else(|| left.clone(), |advice| format!("{advice}; {left}"));
                Err(first.advise(advice))
            }
        }
    }

    /// Unmounts everything, the last first. All are tried; never lazily, which would hide what is still busy.
    ///
    /// # Errors
    /// `Medium` with the first that could not be unmounted; those stay known.
    pub fn unmount_all(&mut self) -> Result<()> {
        let mut first = Ok(());
        let mut left = Vec::new();
        while let Some(path) = self.paths.pop() {
            let done = unmount(&path).context(Kind::Medium, || format!("unmounting {}", path.display()));
            if done.is_err() {
                left.push(path);
                if first.is_ok() {
                    first = done;
                }
            }
        }
        left.reverse();
        self.paths = left;
        first
    }
}

/// Unmounts. Whoever looks at all file systems (udev, a monitor, a process that was just forked) keeps one busy for a moment,
/// and the kernel has no way to wait for that.
fn unmount(path: &Path) -> nix::Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        match umount2(path, MntFlags::empty()) {
            Err(Errno::EBUSY) if Instant::now() < deadline => thread::sleep(BUSY / 20),
            outcome => return outcome,
        }
    }
}

/// A path as `/proc` writes it: the kernel makes three octal digits of blanks, line ends and backslashes.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(value) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(value);
            rest = &tail[3..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Mount points below `folder` in a mount table of `/proc/self/mountinfo`, the last mounted first.
fn below(folder: &Path, table: &str) -> Vec<PathBuf> {
    // proc_pid_mountinfo(5): the mount point is the fifth field.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut found: Vec<_> = points.filter(|point| point != folder && point.starts_with(folder)).collect();
    found.reverse();
    found
}

/// Unmounts everything below a folder of this program's own: what a run that was killed has left there. To be called with
/// the lock of runs held, so that nobody uses it.
///
/// # Errors
/// `Refused` when one of them is busy: somebody works there after all.
pub fn unmount_leftovers(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("looking for what an earlier run has left mounted below {}", folder.display());
    let table = fs::read_to_string("/proc/self/mountinfo").context(Kind::Refused, what)?;
    let points = below(folder, &table);
    for point in &points {
        unmount(point).map_err(|cause| {
            let message = format!("unmounting {}, which an earlier run has left", point.display());
            let advice = format!("see who uses it: fuser --verbose --mount {}", point.display());
            Error::caused(Kind::Refused, message, cause).advise(advice)
        })?;
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_lies_below_a_folder_is_found_from_the_last_mount_to_the_first() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     30 22 0:30 / /run/bedplate rw - tmpfs tmpfs rw\n\
                     31 22 8:2 / /run/bedplate/target rw - ext4 /dev/sda2 rw\n\
                     32 31 8:3 / /run/bedplate/target/my\\040data rw - ext4 /dev/sda3 rw\n\
                     33 22 8:4 / /run/bedplate-other rw - ext4 /dev/sda4 rw\n";
        let expected = ["/run/bedplate/target/my data", "/run/bedplate/target"].map(PathBuf::from);
        assert_eq!(below(Path::new("/run/bedplate"), table), expected);
    }

    #[test]
    fn needs_root_leftovers_of_a_killed_run_are_unmounted_and_busy_ones_refused() {
        let scratch = Scratch::new();
        let (outer, inner) = (scratch.path("target"), scratch.path("target/var"));
        let mut mounts = Mounts::default();
        mounts.mount_virtual("tmpfs", &outer).unwrap();
        mounts.mount_virtual("tmpfs", &inner).unwrap();
        let file = fs::File::create(inner.join("open")).unwrap();
        let error = unmount_leftovers(scratch.folder()).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().starts_with(&format!("unmounting {}, which", inner.display())), "{error}");
        drop(file);
        assert_eq!(unmount_leftovers(scratch.folder()).unwrap(), [inner, outer]);
        assert!(unmount_leftovers(scratch.folder()).unwrap().is_empty());
    }

    #[test]
    fn needs_root_what_stays_mounted_after_a_failure_is_told_beside_it() {
        let scratch = Scratch::new();
        let at = scratch.path("busy");
        let mut mounts = Mounts::default();
        mounts.mount_virtual("tmpfs", &at).unwrap();
        // Busy without an open file, which another test's child process might hold for a moment.
        let mut inner = Mounts::default();
        inner.mount_virtual("tmpfs", &at.join("inner")).unwrap();
        let still = format!("unmounting {}: EBUSY: Device or resource busy", at.display());

        let failed = || Err::<(), _>(Error::new(Kind::Image, "the archive is truncated"));
        let error = mounts.unmount_after(failed()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Image, "the archive is truncated"));
        assert_eq!(error.advice(), Some(format!("unmount by hand what stayed mounted ({still})").as_str()));
        let advised = failed().map_err(|error| error.advise("pack it anew"));
        let error = mounts.unmount_after(advised).unwrap_err();
        let both = format!("pack it anew; unmount by hand what stayed mounted ({still})");
        assert_eq!(error.advice(), Some(both.as_str()));
        let error = mounts.unmount_after(Ok(())).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Medium, still));

        inner.unmount_all().unwrap();
        let error = mounts.unmount_after(failed()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.advice()), ("the archive is truncated", None));
        assert_eq!(mounts.unmount_after(Ok(5)).unwrap(), 5);
    }
}
