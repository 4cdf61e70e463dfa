//! Files and devices that are the same bytes: what a loop device shows is a file too, and the kernel's claims do not know that.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::error::{Error, Kind, Result};

/// A loop device and the file that it shows.
struct Loop {
    device: PathBuf,
    file: PathBuf,
}

/// All loop devices that show a file.
fn loops() -> Vec<Loop> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let shown = blocks.filter_map(|block| {
        let file = fs::read_to_string(block.path().join("loop/backing_file")).ok()?;
        let device = Path::new("/dev").join(block.file_name());
        Some(Loop { device, file: PathBuf::from(file.trim_end_matches('\n')) })
    });
    shown.collect()
}

/// The file that a loop device shows.
pub(super) fn shown_by(device: &Path) -> Option<PathBuf> {
    let number = fs::metadata(device).ok()?.rdev();
    let entry = format!("/sys/dev/block/{}:{}/loop/backing_file", major(number), minor(number));
    Some(PathBuf::from(fs::read_to_string(entry).ok()?.trim_end_matches('\n')))
}

/// Whether both are one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Refuses a file that a loop device shows.
///
/// # Errors
/// `Refused` with that device.
pub(super) fn require_unshown(file: &Path) -> Result<()> {
    match loops().into_iter().find(|it| is_same_file(&it.file, file)) {
        Some(Loop { device, .. }) => Err(shown(file, &device)),
        None => Ok(()),
    }
}

/// Refuses a loop device whose file another one shows too.
///
/// # Errors
/// `Refused` with that device.
pub(super) fn require_shown_once(device: &Path) -> Result<()> {
    let Some(file) = shown_by(device) else { return Ok(()) };
    let number = |path: &Path| fs::metadata(path).map(|it| it.rdev()).ok();
    let own = number(device);
    match loops().into_iter().find(|it| number(&it.device) != own && is_same_file(&it.file, &file)) {
        Some(other) => Err(shown(&file, &other.device)),
        None => Ok(()),
    }
}

fn shown(file: &Path, device: &Path) -> Error {
    let words = format!("opening {}: {} shows this file", file.display(), device.display());
    Error::new(Kind::Refused, words).advise("detach it first: losetup --detach")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_device::LoopDevice;
    use crate::scratch::Scratch;

    #[test]
    fn needs_root_what_a_loop_device_shows_is_nothing_to_write_to_beside_it() {
        let scratch = Scratch::new();
        let (file, free) = (scratch.path("disk"), scratch.path("free"));
        fs::write(&free, "free").unwrap();
        let device = LoopDevice::new(&file, 4 << 20, 512);
        assert!(is_same_file(&shown_by(device.path()).unwrap(), &file) && shown_by(&free).is_none());
        require_unshown(&free).unwrap();
        require_shown_once(device.path()).unwrap();
        let error = require_unshown(&file).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        let words = |of: &LoopDevice| format!("opening {}: {} shows this file", file.display(), of.path().display());
        assert_eq!(error.to_string(), words(&device));
        let second = LoopDevice::over(&file);
        assert_eq!(require_shown_once(device.path()).unwrap_err().to_string(), words(&second));
        assert_eq!(require_shown_once(second.path()).unwrap_err().to_string(), words(&device));
    }
}
