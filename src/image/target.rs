//! What is written to: a block device, or a regular file that stands for one.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::block::{self, ALIGNMENT, AlignedBuffer, Geometry};
use crate::units::{Bytes, widen};

use super::apart;
use super::medium::{Medium, medium_words, write_all_at};
use super::piece::PIECE;
use super::proof::{self, ReadAt as _};
use super::writer::{Body, WITHHELD};
use super::zeros::is_zero;

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
    /// Of a block device.
    geometry: Option<Geometry>,
    /// Of a regular file, as long as it is open.
    _claim: Option<Flock<File>>,
    holes: Holes,
    /// How a part of the device is made zero.
    punch: fn(&File, u64, u64) -> io::Result<()>,
    /// Where the withheld end of the image was written, if it was.
    tail: Option<Range<u64>>,
    /// Whether the file was made for this.
    is_new: bool,
}

/// Whether the device makes zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    Untried,
    Proved,
    Refused,
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
        apart::require_shown_once(path)?;
        let plain = block::open_exclusive(path)?;
        let geometry = Geometry::of_device(&plain).map_err(|error| error.within(path.display().to_string()))?;
        if block::is_read_only(&plain)? {
            return Err(Error::new(Kind::Medium, format!("opening {}: the device is read-only", path.display())));
        }
        let direct = block::open_direct(path, true).ok();
        Ok(Self {
            path: path.to_owned(),
            plain,
            direct,
            geometry: Some(geometry),
            _claim: None,
            holes: Holes::Untried,
            punch: block::punch,
            tail: None,
            is_new: false,
        })
    }

    fn open_file(path: &Path) -> Result<Self> {
        let opening = || format!("opening {}", path.display());
        let is_new = !path.exists();
        // It is cut when the first byte is written: until then everything may still turn out wrong.
        let plain = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let plain = plain.context(Kind::Medium, opening)?;
        apart::require_unshown(path)?;
        let claim = Self::claim(&plain).map_err(|error| error.within(opening()))?;
        let direct = block::open_direct(path, true).ok();
        Ok(Self {
            path: path.to_owned(),
            plain,
            direct,
            geometry: None,
            _claim: Some(claim),
            holes: Holes::Refused,
            punch: block::punch,
            tail: None,
            is_new,
        })
    }

    /// Keeps other runs from writing to the file; a device has a claim of its own for that.
    fn claim(file: &File) -> Result<Flock<File>> {
        let again = file.try_clone().context(Kind::Medium, || "claiming it")?;
        Flock::lock(again, FlockArg::LockExclusiveNonblock).map_err(|(_, cause)| match cause {
            Errno::EWOULDBLOCK => Error::new(Kind::Refused, "another run writes to it"),
            other => Error::caused(Kind::Medium, "claiming it", other),
        })
    }

    /// Its path, for messages and reports.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What it holds; a regular file has no limit of its own.
    pub(super) fn room(&self) -> Option<u64> {
        self.geometry.map(|geometry| geometry.size.get())
    }

    /// Removes what was made for an image of which nothing was written.
    pub(super) fn forget(&self) {
        if self.is_new
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            warn!("removing {}, in which nothing was written: {error}", self.path.display());
        }
    }

    /// Whether this path leads to the same file or device.
    pub(super) fn is_same(&self, path: &Path) -> bool {
        if apart::shown_by(&self.path).is_some_and(|file| apart::is_same_file(&file, path)) {
            return true;
        }
        let identity = |metadata: std::fs::Metadata| match metadata.file_type().is_block_device() {
            true => (0, metadata.rdev()),
            false => (metadata.dev(), metadata.ino()),
        };
        let own = self.plain.metadata().map(identity).ok();
        own.is_some() && own == std::fs::metadata(path).map(identity).ok()
    }

    /// Whether its heads would have to move to read what was written before.
    pub(super) fn is_rotational(&self) -> bool {
        self.geometry.is_some() && block::is_rotational(&self.plain)
    }

    /// Prepares for the first write: from now on the target holds neither a partition table nor a file system.
    pub(super) fn begin(&mut self) -> Result<()> {
        match self.geometry {
            None => self.plain.set_len(0).context(Kind::Medium, || "emptying the file"),
            Some(geometry) => {
                self.erase(0..WITHHELD)?;
                self.erase_end(geometry)
            }
        }
    }

    /// What a disk was before is told by its end too: the copy of a partition table that firmware restores, and the superblocks
    /// of md 0.90 and 1.0, of ZFS and of firmware RAIDs, which all of them lie in the last MiB.
    fn erase_end(&mut self, geometry: Geometry) -> Result<()> {
        let size = geometry.size.get();
        self.erase(size.saturating_sub(WITHHELD)..size)
    }

    /// Takes back what makes an image start, also where writing it was begun. Every part is tried.
    pub(super) fn conceal(&mut self) -> Result<()> {
        let Some(geometry) = self.geometry else { return self.begin() };
        let head = self.erase(0..WITHHELD);
        let end = self.erase_end(geometry);
        let tail = self.tail.clone().map_or(Ok(()), |tail| self.erase(tail));
        head.and(end).and(tail)
    }

    /// Overwrites a part of the device, as far as it goes.
    fn erase(&mut self, part: Range<u64>) -> Result<()> {
        let end = self.room().map_or(part.start, |room| room.min(part.end));
        // Both ends that are withheld fit into memory: they were there.
        let length =
            usize::try_from(end.saturating_sub(part.start)).map_err(|_| Error::bug("an end as large as memory"))?;
        self.overwrite(part.start, length)
    }

    fn overwrite(&mut self, offset: u64, length: usize) -> Result<()> {
        let zeros = AlignedBuffer::new(length);
        write_all_at(self, offset, &zeros).map_err(|(at, cause)| {
            Error::new(Kind::Medium, format!("erasing what was there: at byte {at}: {}", medium_words(&cause)))
        })?;
        self.flush_medium()
    }

    /// Makes everything durable, and drops what the page cache holds.
    pub(super) fn flush_medium(&self) -> Result<()> {
        if let Some(direct) = &self.direct {
            direct.sync_data().context(Kind::Medium, || "flushing")?;
        }
        block::flush(&self.plain)
    }

    /// Writes what was withheld, last its first block, and reads it back.
    pub(super) fn reveal(&mut self, body: &Body) -> Result<()> {
        if self.geometry.is_none() {
            self.plain.set_len(body.length).context(Kind::Medium, || "setting the file's length")?;
        }
        self.tail = Some(body.withheld()[0].0..body.length);
        body.reveal(self)?;
        let medium = self.reader()?;
        for (offset, expected) in body.withheld() {
            self.compare(&medium, offset, expected)?;
        }
        Ok(())
    }

    /// Compares bytes on the medium with those in memory.
    fn compare(&self, medium: &File, offset: u64, expected: &[u8]) -> Result<()> {
        let mut buffer = AlignedBuffer::new(PIECE);
        let mut at = offset;
        for part in expected.chunks(PIECE) {
            // Direct I/O takes whole blocks only; what lies beyond the image in the last of them does not matter.
            let whole = part.len().next_multiple_of(ALIGNMENT).min(buffer.len());
            let found = match medium.read_from(at, &mut buffer[..whole]) {
                Ok(count) if count >= part.len() => &buffer[..part.len()],
                _ => {
                    proof::read_full(medium, &mut buffer[..part.len()], at)?;
                    &buffer[..part.len()]
                }
            };
            if let Some(differs) = found.iter().zip(part).position(|(now, then)| now != then) {
                let at = at.saturating_add(widen(differs));
                return Err(Error::new(Kind::Medium, format!("reading back: byte {at} is not what was written")));
            }
            at = at.saturating_add(widen(part.len()));
        }
        Ok(())
    }

    /// A fresh descriptor that asks the medium.
    pub(super) fn reader(&self) -> Result<File> {
        // Where the file system knows no direct I/O, `flush_medium` has dropped what the cache held.
        match block::open_direct(&self.path, false) {
            Ok(direct) => Ok(direct),
            Err(_) => File::open(&self.path).context(Kind::Medium, || "opening to read back"),
        }
    }

    /// Writes bytes that are in memory to the start, flushes, and compares each one.
    pub(super) fn write_whole(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(room) = self.room().filter(|&room| widen(bytes.len()) > room) {
            return Err(Error::new(Kind::Image, format!("the target holds {room} bytes")));
        }
        self.begin()?;
        let mut buffer = AlignedBuffer::new(bytes.len());
        buffer.copy_from_slice(bytes);
        write_all_at(self, 0, &buffer).map_err(|(at, cause)| {
            let text = format!("at byte {at} of {}: {}", bytes.len(), medium_words(&cause));
            Error::new(Kind::Medium, text)
        })?;
        self.flush_medium()?;
        self.compare(&self.reader()?, 0, bytes)
    }
}

/// Whole aligned blocks go past the page cache, the rest through it.
impl Medium for Target {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        let is_aligned = offset.is_multiple_of(widen(ALIGNMENT)) && block::is_aligned(bytes);
        match &self.direct {
            Some(direct) if is_aligned && whole > 0 => direct.write_at(&bytes[..whole], offset),
            _ => self.plain.write_at(bytes, offset),
        }
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.holes == Holes::Refused {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if let Err(error) = (self.punch)(&self.plain, offset, length) {
            self.holes = Holes::Refused;
            return Err(error);
        }
        if self.holes == Holes::Untried {
            // What the kernel promises is asked of the device once.
            let mut buffer = AlignedBuffer::new(usize::try_from(length).unwrap_or(PIECE).min(PIECE));
            let read = self.direct.as_ref().unwrap_or(&self.plain);
            proof::read_full(read, &mut buffer, offset).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
            if !is_zero(&buffer) {
                warn!("{}: the device kept old data where it promised zeros; they are written", self.path.display());
                self.holes = Holes::Refused;
                return Err(io::ErrorKind::Unsupported.into());
            }
            self.holes = Holes::Proved;
        }
        Ok(())
    }

    fn is_blank(&self) -> bool {
        self.geometry.is_none()
    }

    fn sync(&mut self) -> Result<()> {
        self.flush_medium()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("path", &self.path).field("room", &self.room().map(Bytes::new)).finish()
    }
}

#[cfg(test)]
mod tests;
