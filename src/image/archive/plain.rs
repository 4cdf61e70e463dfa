//! Archives that hold nothing but files in their root.

use std::io::Read;

use crate::error::{Error, Kind, Result};

use super::entry::{Layout, What};
use super::name::shown;
use super::reader::Reader;

/// Reads the data of a file: fills a buffer, zero bytes at their end.
pub type Data<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize>;

/// Hands each file of an unpacked tar archive, with its name and its size, to `take`. The folder that holds them may be an
/// entry as well; everything else is refused: another folder and what is in it, links, devices, sparse files.
///
/// # Errors
/// `Image` when it is no archive, ends early, or holds anything but files in its root; those of `take`.
pub fn each_file<R: Read>(stream: R, mut take: impl FnMut(&str, u64, Data<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::new(stream);
    while let Some(entry) = reader.next()? {
        match entry.what {
            What::Directory if entry.name.is_empty() => continue,
            What::File(Layout::Plain) if !entry.name.contains(&b'/') => {}
            What::File(Layout::Plain) | What::Directory => {
                return Err(reader.fault("expected files in the archive's root alone"));
            }
            _ => return Err(reader.fault("expected a plain file")),
        }
        let name = std::str::from_utf8(&entry.name)
            .map_err(|_| Error::new(Kind::Image, format!("the name {} is not UTF-8", shown(&entry.name))))?;
        take(name, entry.data, &mut |buffer| reader.read_data(buffer))?;
    }
    Ok(())
}
