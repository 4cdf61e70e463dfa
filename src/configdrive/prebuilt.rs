//! Config drives that somebody else made: taken as they are, once they are what cloud-init will find.

use crate::error::{Error, Kind, Result};
use crate::units::SectorSize;

/// What cloud-init looks for, in any case.
const LABELS: [&str; 2] = ["cidata", "config-2"];

/// Where ISO 9660 has its volume descriptor.
const ISO_DESCRIPTOR: usize = 0x8000;
/// Where ext2 and its successors have their superblock.
const EXT_SUPERBLOCK: usize = 1024;

/// Checks that an image holds a file system of a label that cloud-init knows, and one that a disk of such sectors can carry.
///
/// # Errors
/// `Image` with what was found.
pub fn check(image: &[u8], sector_size: SectorSize) -> Result<()> {
    let Some((kind, label, block)) = describe(image) else {
        return Err(Error::new(Kind::Image, "expected a file system of vfat, iso9660 or ext, found none of them"));
    };
    if !LABELS.contains(&label.to_ascii_lowercase().as_str()) {
        let found = if label.is_empty() { "none".to_owned() } else { format!("{label:?}") };
        return Err(Error::new(Kind::Image, format!("expected the label cidata or config-2 on {kind}, found {found}")));
    }
    if block < sector_size.get() {
        let message = format!("{kind} with blocks of {block} bytes cannot lie on sectors of {}", sector_size.get());
        return Err(Error::new(Kind::Image, message));
    }
    Ok(())
}

/// Kind, label and size of the least block of a file system.
fn describe(image: &[u8]) -> Option<(&'static str, String, u64)> {
    if image.get(ISO_DESCRIPTOR + 1..ISO_DESCRIPTOR + 6) == Some(b"CD001") {
        return Some(("iso9660", text(image, ISO_DESCRIPTOR + 40, 32)?, 2048));
    }
    if image.get(EXT_SUPERBLOCK + 56..EXT_SUPERBLOCK + 58) == Some(&[0x53, 0xef]) {
        let exponent = *image.get(EXT_SUPERBLOCK + 24)?;
        let block = 1024_u64.checked_shl(u32::from(exponent))?;
        return Some(("ext", text(image, EXT_SUPERBLOCK + 120, 16)?, block));
    }
    if image.get(510..512) == Some(&[0x55, 0xaa]) {
        let block = u64::from(u16::from_le_bytes([*image.get(11)?, *image.get(12)?]));
        if image.get(82..85) == Some(b"FAT") {
            return Some(("vfat", text(image, 71, 11)?, block));
        }
        if image.get(54..57) == Some(b"FAT") {
            return Some(("vfat", text(image, 43, 11)?, block));
        }
    }
    None
}

fn text(image: &[u8], at: usize, length: usize) -> Option<String> {
    let bytes = image.get(at..at.checked_add(length)?)?;
    Some(String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned())
}
