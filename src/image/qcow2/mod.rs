//! qcow2, versions 2 and 3, read in the order of the image without a temporary file.
//!
//! What is read is QEMU's `docs/interop/qcow2`: clusters as they are or compressed by zlib or zstd, zero clusters, clusters that
//! are not there, extended L2 entries. Refused are encryption, backing and external data files, and what is marked corrupt.
//! Saved states of machines, bitmaps and counts of references are not looked at.
//!
//! Memory: 128 KiB of tables, and a portion of about 1 MiB of the image at a time, compressed.

mod clusters;
mod entry;
mod header;
mod tables;
#[cfg(test)]
mod tests;

use log::warn;

use super::fetch::End;
use super::portion::{Stretch, Stretches};
use super::ranged::Ranged;
use crate::error::{Error, Kind, Result};
use crate::units::widen;

use clusters::{Clusters, Content, Part, Pool};
use header::{HEAD, Header};
use tables::{Extent, Place, Tables};

/// Bytes of the image in one portion, which ends at a multiple of them; a larger cluster is one.
const PORTION: u64 = 1 << 20;

/// Zeros are left out as a hole in multiples of this: shorter ones cost more as holes than as zeros.
const GRAIN: u64 = 64 << 10;

/// Bytes nobody wants between two clusters that are read nevertheless rather than asking twice.
const GAP: u64 = 16 << 10;

/// The most of these in a portion.
const GAPS: u64 = 1 << 20;

/// Bytes kept of what was read last: compressed clusters share their sectors, and going back for one would cost a
/// connection.
const TAIL: usize = 512;

/// A qcow2 image that is being read.
pub(super) struct Qcow2 {
    data: Box<dyn Ranged>,
    tables: Tables,
    /// What is left of the extent that comes next.
    next: Option<Extent>,
    pool: Pool,
    /// What was read last: where it begins, and its bytes.
    tail: (u64, Vec<u8>),
}

impl Qcow2 {
    /// Reads the header. `data` will be read in nearly the order of the file, `tables` jumps: two readers, so that neither
    /// breaks the other's connection.
    ///
    /// # Errors
    /// `Image`: the header is wrong or tells what cannot be read here; and those of the reader.
    pub(super) fn open(data: Box<dyn Ranged>, mut tables: Box<dyn Ranged>) -> Result<Self> {
        let file = tables.length();
        let mut head = vec![0; usize::try_from(file).map_or(HEAD, |file| file.min(HEAD))];
        tables.read_exact_at(0, &mut head)?;
        let header = Header::parse(&head, file);
        let header = header.map_err(|fault| Error::new(Kind::Image, format!("reading qcow2: {fault}")))?;
        if header.is_dirty {
            warn!(
                "the qcow2 image was not closed well: its counts of references may be wrong, which reading does not need"
            );
        }
        Ok(Self { data, tables: Tables::new(tables, header), next: None, pool: Pool::default(), tail: (0, Vec::new()) })
    }

    /// Bytes of the image.
    pub(super) fn size(&self) -> u64 {
        self.tables.header().size
    }

    /// The image in its order. Data make at most 2 MiB of it: a cluster, or about 1 MiB of several.
    ///
    /// # Errors
    /// `Image`: a table is wrong, with the byte of the file; and those of the readers.
    pub(super) fn next(&mut self) -> Result<Option<Stretch>> {
        let portion = PORTION.max(self.tables.header().cluster());
        let (mut extents, mut length) = (Vec::new(), 0);
        while let Some(extent) = self.peek()? {
            if let Some(hole) = self.hole(&extent) {
                if length > 0 {
                    break;
                }
                self.take(hole)?;
                return Ok(Some(Stretch::Hole(hole)));
            }
            let room = portion - extent.start % portion;
            let taken = self.take(self.until_hole(&extent).min(room))?;
            length += taken.length;
            extents.push(taken);
            if taken.length == room {
                break;
            }
        }
        let Some(start) = extents.first().map(|extent| extent.start) else { return Ok(None) };
        self.read(start, length, &extents).map(|clusters| Some(Stretch::Data(Box::new(clusters))))
    }

    fn peek(&mut self) -> Result<Option<Extent>> {
        if self.next.is_none() {
            self.next = self.tables.next()?;
        }
        Ok(self.next)
    }

    /// Takes so many bytes of the next extent.
    fn take(&mut self, length: u64) -> Result<Extent> {
        let next = self.next.take().ok_or_else(|| Error::bug("there is no next extent"))?;
        let taken = Extent { length, ..next };
        if length < next.length {
            let place = match next.place {
                Place::Plain(offset) => Place::Plain(offset + length),
                other => other,
            };
            self.next = Some(Extent { start: next.start + length, length: next.length - length, place });
        }
        Ok(taken)
    }

    /// How many of these zeros are left out: whole grains, or all to the end of the image.
    fn hole(&self, extent: &Extent) -> Option<u64> {
        let end = extent.start + extent.length;
        let end = if end == self.size() { end } else { end / GRAIN * GRAIN };
        let is_hole = extent.place == Place::Zero && extent.start.is_multiple_of(GRAIN) && end > extent.start;
        is_hole.then(|| end - extent.start)
    }

    /// How much of an extent comes before the hole within it.
    fn until_hole(&self, extent: &Extent) -> u64 {
        let before = extent.start.next_multiple_of(GRAIN) - extent.start;
        if extent.place == Place::Zero && before > 0 { before.min(extent.length) } else { extent.length }
    }

    /// Reads what these extents need, what lies together in the file at once.
    fn read(&mut self, start: u64, length: u64, extents: &[Extent]) -> Result<Clusters> {
        let runs = runs(extents);
        let needed = runs.iter().map(|run| run.end - run.start).sum();
        let mut bytes = self.pool.take(size(needed)?);
        let mut at = 0;
        for run in &runs {
            let end = at + size(run.end - run.start)?;
            self.fetch(run.start, &mut bytes[at..end])?;
            at = end;
        }
        let mut parts: Vec<Part> = Vec::with_capacity(extents.len());
        for extent in extents {
            let content = match extent.place {
                Place::Zero => Content::Zero,
                Place::Plain(offset) => Content::Plain(place(&runs, offset)?),
                Place::Packed(offset, end) => {
                    let from = place(&runs, offset)?;
                    Content::Packed(from, from + size(end - offset)?)
                }
            };
            parts.push(Part { length: size(extent.length)?, content });
        }
        let header = self.tables.header();
        let (cluster, compression) = (size(header.cluster())?, header.compression);
        Ok(Clusters { start, length: size(length)?, cluster, compression, parts, bytes, pool: self.pool.clone() })
    }

    /// Reads bytes of the file, the first of them perhaps again.
    fn fetch(&mut self, start: u64, bytes: &mut [u8]) -> Result<()> {
        let again = start.checked_sub(self.tail.0).and_then(|from| self.tail.1.get(size(from).ok()?..));
        let again = again.unwrap_or_default();
        let (first, rest) = bytes.split_at_mut(again.len().min(bytes.len()));
        first.copy_from_slice(&again[..first.len()]);
        if rest.is_empty() {
            return Ok(());
        }
        self.data.read_exact_at(start.saturating_add(widen(first.len())), rest)?;
        let kept = bytes.len().saturating_sub(TAIL);
        self.tail.0 = start.saturating_add(widen(kept));
        self.tail.1.clear();
        self.tail.1.extend_from_slice(&bytes[kept..]);
        Ok(())
    }
}

impl Stretches for Qcow2 {
    fn next(&mut self) -> Result<Option<Stretch>> {
        Self::next(self)
    }

    fn end(mut self: Box<Self>) -> Result<End> {
        let digests = self.data.finish()?;
        let fetched = self.data.fetched().saturating_add(self.tables.fetched());
        Ok(End { fetched, length: self.data.length(), digests })
    }
}

/// Bytes of the file that are read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
    /// Where they go in the buffer.
    at: u64,
}

/// What is read for these extents, in the order of the file.
fn runs(extents: &[Extent]) -> Vec<Run> {
    let needed = extents.iter().filter_map(|extent| match extent.place {
        Place::Zero => None,
        // Both are checked to lie in the file.
        Place::Plain(offset) => Some((offset, offset + extent.length)),
        Place::Packed(offset, end) => Some((offset, end)),
    });
    let mut needed: Vec<_> = needed.collect();
    needed.sort_unstable();
    let mut runs: Vec<Run> = Vec::new();
    let mut unneeded = 0;
    for (start, end) in needed {
        let gap = runs.last().map(|last| start.saturating_sub(last.end));
        match (runs.last_mut(), gap) {
            (Some(last), Some(gap)) if gap <= GAP && unneeded + gap <= GAPS => {
                unneeded += gap;
                last.end = last.end.max(end);
            }
            (last, _) => {
                let at = last.map_or(0, |last| last.at + (last.end - last.start));
                runs.push(Run { start, end, at });
            }
        }
    }
    runs
}

/// Where the byte of the file at `offset` is in the buffer.
fn place(runs: &[Run], offset: u64) -> Result<usize> {
    let run = runs.partition_point(|run| run.start <= offset).checked_sub(1).and_then(|index| runs.get(index));
    let run = run.filter(|run| offset < run.end).ok_or_else(|| Error::bug("a cluster was not read"))?;
    size(run.at + (offset - run.start))
}

/// A length within a portion, which always fits.
fn size(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| Error::bug(format!("{length} bytes are more than the memory can have")))
}
