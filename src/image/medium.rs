//! Writing at an offset, and what errors of a medium are called.

use std::io::{self, Seek, SeekFrom, Write};

use crate::error::{Error, Kind};
use crate::units::widen;

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
pub(super) fn write_at(
    medium: &mut (impl Write + Seek),
    offset: u64,
    mut bytes: &[u8],
) -> std::result::Result<(), (u64, io::Error)> {
    let mut at = offset;
    medium.seek(SeekFrom::Start(at)).map_err(|cause| (at, cause))?;
    while !bytes.is_empty() {
        match medium.write(bytes) {
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
