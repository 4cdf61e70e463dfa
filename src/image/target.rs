//! What is written to: a block device, or a regular file that stands for one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::block::{self, ALIGNMENT, AlignedBuffer, Geometry};
use crate::units::{Bytes, widen};

use super::cancel::Cancel;
use super::medium::medium_words;
use super::piece::PIECE;
use super::proof::{self, Difference};

/// What may stand where the image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A block device; anything else is refused, lest a mistyped path fill the memory of a bootstrap.
    Device,
    /// A block device, or a regular file, which is made if it is absent.
    DeviceOrFile,
}

/// An open target. As long as it lives nobody else can claim the device.
pub(super) struct Target {
    path: PathBuf,
    /// Through the page cache: holds the claim, and writes what direct I/O does not take, the end that is no whole sector.
    plain: File,
    /// Past the page cache, where that is possible.
    direct: Option<File>,
    room: Option<u64>,
    position: u64,
}

impl Target {
    pub(super) fn open(path: &Path, kind: TargetKind) -> Result<Self> {
        let is_file = match std::fs::metadata(path) {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => !path.starts_with("/dev"),
            Err(error) => return Err(Error::caused(Kind::Hardware, format!("opening {}", path.display()), error)),
        };
        if is_file && kind == TargetKind::DeviceOrFile {
            return Self::open_file(path);
        }
        let plain = block::open_exclusive(path)?;
        let geometry = Geometry::of_device(&plain).map_err(|error| error.within(path.display().to_string()))?;
        if block::is_read_only(&plain)? {
            return Err(Error::new(Kind::Medium, format!("opening {}: the device is read-only", path.display())));
        }
        Ok(Self {
            path: path.to_owned(),
            plain,
            direct: block::open_direct(path, true).ok(),
            room: Some(geometry.size.get()),
            position: 0,
        })
    }

    fn open_file(path: &Path) -> Result<Self> {
        let opening = || format!("opening {}", path.display());
        // It is cut when the first byte is written: until then everything may still turn out wrong.
        let plain = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let plain = plain.context(Kind::Medium, opening)?;
        Ok(Self { path: path.to_owned(), plain, direct: block::open_direct(path, true).ok(), room: None, position: 0 })
    }

    /// What it holds; a regular file has no limit of its own.
    pub(super) fn room(&self) -> Option<u64> {
        self.room
    }

    /// Prepares for the first write.
    pub(super) fn begin(&self) -> Result<()> {
        if self.room.is_none() {
            self.plain.set_len(0).context(Kind::Medium, || "emptying the file")?;
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn flush_medium(&self) -> Result<()> {
        if let Some(direct) = &self.direct {
            direct.sync_data().context(Kind::Medium, || "flushing")?;
        }
        block::flush(&self.plain)
    }

    /// Reads the first `length` bytes from the medium and compares them with the hashes taken while writing.
    pub(super) fn read_back(
        &self,
        expected: &[u64],
        length: u64,
        cancel: &Cancel,
        mut on_read: impl FnMut(u64),
    ) -> Result<()> {
        let fault = |text: String| Error::new(Kind::Medium, format!("reading back: {text}"));
        // A fresh descriptor; `flush_medium` has dropped what the cache held, for file systems without direct I/O.
        let mut medium = match block::open_direct(&self.path, false) {
            Ok(direct) => direct,
            Err(_) => File::open(&self.path).context(Kind::Medium, || "opening to read back")?,
        };
        let mut buffer = AlignedBuffer::new(PIECE);
        let compared = proof::compare(&mut medium, &mut buffer, expected, length, |position| {
            on_read(position);
            cancel.check()
        });
        compared.map_err(|difference| match difference {
            Difference::Between(start, end) => {
                fault(format!("bytes {start} to {end} of {length} are not what was written"))
            }
            Difference::Ends(at) => fault(format!("at byte {at} of {length}: the medium ends")),
            Difference::Unreadable(at, cause) => fault(format!("at byte {at} of {length}: {}", medium_words(&cause))),
            Difference::Stopped(error) => error,
        })
    }

    /// Reads the medium's first bytes, for a comparison byte by byte.
    pub(super) fn read_exactly(&self, length: usize) -> Result<Vec<u8>> {
        let mut medium = match block::open_direct(&self.path, false) {
            Ok(direct) => direct,
            Err(_) => File::open(&self.path).context(Kind::Medium, || "opening to read back")?,
        };
        let mut bytes = Vec::with_capacity(length);
        let mut buffer = AlignedBuffer::new(PIECE);
        while bytes.len() < length {
            let count = match medium.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => {
                    let at = format!("reading back: at byte {} of {length}: {}", bytes.len(), medium_words(&cause));
                    return Err(Error::new(Kind::Medium, at));
                }
            };
            bytes.extend_from_slice(&buffer[..count.min(length - bytes.len())]);
        }
        Ok(bytes)
    }
}

/// Whole aligned blocks go past the page cache, the rest through it.
impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        let is_aligned = self.position.is_multiple_of(widen(ALIGNMENT)) && block::is_aligned(bytes);
        let written = match &self.direct {
            Some(direct) if is_aligned && whole > 0 => direct.write_at(&bytes[..whole], self.position),
            _ => self.plain.write_at(bytes, self.position),
        }?;
        self.position = self.position.saturating_add(widen(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(position) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.position = position;
        Ok(position)
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("path", &self.path).field("room", &self.room.map(Bytes::new)).finish()
    }
}
