//! A real block device over a file. Needs root.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device; it is detached when dropped.
pub struct LoopDevice {
    device: PathBuf,
    size: u64,
}

impl LoopDevice {
    /// Makes `file` with this size and attaches it.
    pub fn new(file: &Path, size: u64, sector_size: u32) -> Self {
        std::fs::File::create(file).unwrap().set_len(size).unwrap();
        Self::attach(file, sector_size)
    }

    /// Attaches a file that is there, maybe once more.
    pub fn over(file: &Path) -> Self {
        Self::attach(file, 512)
    }

    fn attach(file: &Path, sector_size: u32) -> Self {
        let size = std::fs::metadata(file).unwrap().len();
        let sector_size = sector_size.to_string();
        let attached = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector_size])
            .arg(file)
            .output()
            .expect("losetup starts");
        assert!(attached.status.success(), "losetup needs root: {}", String::from_utf8_lossy(&attached.stderr));
        let device = PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim());
        Self { device, size }
    }

    pub fn path(&self) -> &Path {
        &self.device
    }

    /// Writes this byte everywhere.
    pub fn fill(&self, byte: u8) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.device).unwrap();
        let bytes = vec![byte; usize::try_from(self.size).unwrap()];
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_all().unwrap();
    }

    /// Everything that is on it.
    pub fn read(&self) -> Vec<u8> {
        std::fs::read(&self.device).unwrap()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.device).status();
        // A panic while panicking would hide the first.
        if !std::thread::panicking() {
            assert!(detached.unwrap().success());
        }
    }
}
