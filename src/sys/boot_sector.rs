//! The first sector of a disk as a BIOS sees it: boot code, the table of an MBR, the boot signature.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::block::{self, AlignedBuffer, Geometry};
use crate::error::{Context as _, Error, Kind, Result};
use crate::units::{Bytes, widen};

/// Bytes that a BIOS loads, whatever the sectors of the disk are.
const LENGTH: usize = 512;

/// Boot code, and behind it the disk's signature: all that lies before the table of an MBR.
const CODE_LENGTH: usize = 446;

/// Where 55AA stands, without which a BIOS does not start from a disk.
const SIGNATURE_OFFSET: usize = 510;

/// 55AA.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// The first 512 bytes of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSector([u8; LENGTH]);

impl BootSector {
    /// Reads it from a device.
    ///
    /// # Errors
    /// `Medium` when it cannot be read.
    pub fn read(device: &Path) -> Result<Self> {
        let mut bytes = [0; LENGTH];
        File::open(device)
            .and_then(|file| file.read_exact_at(&mut bytes, 0))
            .context(Kind::Medium, || format!("reading the first sector of {}", device.display()))?;
        Ok(Self(bytes))
    }

    /// Whether a BIOS would take it for one to start from.
    #[must_use]
    pub fn has_signature(&self) -> bool {
        self.0[SIGNATURE_OFFSET..] == SIGNATURE
    }

    /// The same without boot code and signature; the table between them stays.
    #[must_use]
    fn erased(&self) -> Self {
        let mut bytes = self.0;
        bytes[..CODE_LENGTH].fill(0);
        bytes[SIGNATURE_OFFSET..].fill(0);
        Self(bytes)
    }
}

/// Who else may use a disk whose boot sector is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    Exclusive,
    /// Whoever uses it: the installed system that runs from it.
    Shared,
}

/// Erases boot code and boot signature of a disk of this size, and compares the medium with what it is to be.
///
/// # Errors
/// `Refused` when somebody uses it, or it is not the disk that was looked at; `Medium` when it cannot be written, or reads
/// back differently.
pub fn erase(device: &Path, size: Bytes, claim: Claim) -> Result<()> {
    let erasing = || format!("erasing the boot sector of {}", device.display());
    let file = match claim {
        Claim::Exclusive => block::open_exclusive(device)?,
        Claim::Shared => OpenOptions::new().read(true).write(true).open(device).context(Kind::Medium, erasing)?,
    };
    // udev does not look at a disk while its node is locked (systemd: Locking Block Device Access).
    let file = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, cause)| Error::caused(Kind::Refused, format!("locking {}", device.display()), cause))?;
    if Geometry::of_device(&file)?.size != size {
        return Err(Error::new(Kind::Refused, format!("disk {} changed while it was opened", device.display())));
    }
    let mut before = [0; LENGTH];
    file.read_exact_at(&mut before, 0).context(Kind::Medium, erasing)?;
    let erased = BootSector(before).erased();
    file.write_all_at(&erased.0[..CODE_LENGTH], 0)
        .and_then(|()| file.write_all_at(&erased.0[SIGNATURE_OFFSET..], widen(SIGNATURE_OFFSET)))
        .context(Kind::Medium, erasing)?;
    block::flush(&file)?;
    compare(device, &erased)
}

/// Asks the medium itself, past the page cache.
fn compare(device: &Path, expected: &BootSector) -> Result<()> {
    let reading = || format!("reading the first sector of {} back", device.display());
    let mut buffer = AlignedBuffer::new(block::ALIGNMENT);
    block::open_direct(device, false)
        .and_then(|file| file.read_exact_at(&mut buffer, 0))
        .context(Kind::Medium, reading)?;
    if buffer[..LENGTH] == expected.0 {
        return Ok(());
    }
    Err(Error::new(Kind::Medium, format!("{}: it is not what was written", reading())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_device::LoopDevice;
    use crate::scratch::Scratch;

    #[test]
    fn table_between_code_and_signature_stays() {
        let mut expected = [0; LENGTH];
        expected[446..510].fill(0xa5);
        let sector = BootSector([0xa5; LENGTH]);
        assert_eq!(sector.erased(), BootSector(expected));
        assert!(!sector.has_signature());
        let mut bytes = [0; LENGTH];
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(BootSector(bytes).has_signature());
        assert!(!BootSector(bytes).erased().has_signature());
    }

    #[test]
    fn needs_root_boot_sector_is_erased_and_every_other_byte_stays() {
        for sector_size in [512, 4096] {
            let scratch = Scratch::new();
            let disk = LoopDevice::new(&scratch.path("disk"), 4 << 20, sector_size);
            disk.fill(0xa5);
            File::options().write(true).open(disk.path()).unwrap().write_all_at(&SIGNATURE, 510).unwrap();
            let old = disk.read();
            assert!(BootSector::read(disk.path()).unwrap().has_signature());

            let held = block::open_exclusive(disk.path()).unwrap();
            let error = erase(disk.path(), Bytes::mib(4), Claim::Exclusive).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            drop(held);
            let error = erase(disk.path(), Bytes::mib(8), Claim::Exclusive).unwrap_err();
            assert_eq!(error.to_string(), format!("disk {} changed while it was opened", disk.path().display()));
            assert!(disk.read() == old, "a disk that is refused is not written to");

            erase(disk.path(), Bytes::mib(4), Claim::Exclusive).unwrap();
            let mut expected = old;
            expected[..446].fill(0);
            expected[510..512].fill(0);
            assert!(disk.read() == expected);
            // Once more, while somebody uses it.
            let _held = block::open_exclusive(disk.path()).unwrap();
            erase(disk.path(), Bytes::mib(4), Claim::Shared).unwrap();
            assert!(disk.read() == expected);
        }
    }
}
