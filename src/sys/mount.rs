//! Mounts.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context as _, Kind, Result};

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

    /// Unmounts everything, the last first. All are tried; never lazily, which would hide what is still busy.
    ///
    /// # Errors
    /// `Medium` with the first that could not be unmounted; those stay known.
    pub fn unmount_all(&mut self) -> Result<()> {
        let mut first = Ok(());
        let mut left = Vec::new();
        while let Some(path) = self.paths.pop() {
            let done =
                umount2(&path, MntFlags::empty()).context(Kind::Medium, || format!("unmounting {}", path.display()));
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
