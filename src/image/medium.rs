//! What the writer needs of a medium, and what its errors are called.

use std::io;

use crate::error::{Error, Kind, Result};
use crate::units::widen;

/// What is written to. A trait, so that tests can have media that fail.
pub(super) trait Medium: Send {
    /// Writes at an offset; fewer bytes than given are no error.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Has the medium itself make whole grains zero and give their room back.
    ///
    /// # Errors
    /// `Unsupported` where it cannot promise that they read as zeros: then they must be written.
    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()>;

    /// Whether everything that was not written since the beginning reads as zeros.
    fn is_blank(&self) -> bool;

    /// Makes everything durable, and sees to it that what is read comes from the medium.
    fn sync(&mut self) -> Result<()>;
}

/// An error at a byte of the image.
pub(super) fn at_byte(at: u64, total: Option<u64>, cause: &io::Error) -> Error {
    let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
    Error::new(Kind::Medium, format!("at byte {at}{total}: {}", medium_words(cause)))
}

/// The system's words for an error, without its number.
pub(super) fn medium_words(cause: &io::Error) -> String {
    match cause.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => cause.to_string(),
    }
}

/// Writes all bytes at an offset; on error with the offset that was reached.
pub(super) fn write_all_at(
    medium: &mut impl Medium,
    offset: u64,
    mut bytes: &[u8],
) -> std::result::Result<(), (u64, io::Error)> {
    let mut at = offset;
    while !bytes.is_empty() {
        match medium.write_at(at, bytes) {
            Ok(0) => return Err((at, io::Error::from_raw_os_error(nix::libc::ENOSPC))),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                at = at.saturating_add(widen(count));
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err((at, cause)),
        }
    }
    Ok(())
}
