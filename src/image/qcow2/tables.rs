//! The way from places in the image to places in the file, in the order of the image.
//!
//! Both tables are read on demand, [`SLICE`] bytes of each at once, so that memory does not grow with the image.

use std::collections::VecDeque;

use super::super::ranged::Ranged;
use super::entry::{self, Cluster};
use super::header::Header;
use crate::error::{Error, Kind, Result};

/// Bytes of a table that are in memory: 8192 entries.
const SLICE: u64 = 64 << 10;

/// So many slices and bytes without data are looked at before a hole is given out as far as it is known.
const PATIENCE: (u32, u64) = (16, 64 << 20);

/// A part of the image and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it begins in the image.
    pub(super) start: u64,
    /// Its bytes in the image.
    pub(super) length: u64,
    pub(super) place: Place,
}

/// Where bytes of the image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Zero,
    /// They begin here in the file.
    Plain(u64),
    /// Compressed, somewhere between these bytes of the file; a whole cluster comes out.
    Packed(u64, u64),
}

/// Tells the extents of an image one after the other.
pub(super) struct Tables {
    file: Box<dyn Ranged>,
    header: Header,
    l1: Slice,
    l2: Slice,
    /// How far the image is told.
    position: u64,
    /// What is found and not given out yet.
    ahead: VecDeque<Extent>,
}

impl Tables {
    pub(super) fn new(file: Box<dyn Ranged>, header: Header) -> Self {
        Self { file, header, l1: Slice::default(), l2: Slice::default(), position: 0, ahead: VecDeque::new() }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the file that were read for it.
    pub(super) fn fetched(&self) -> u64 {
        self.file.fetched()
    }

    /// The next extent; zeros that follow each other are one, unless very much is looked at for it.
    pub(super) fn next(&mut self) -> Result<Option<Extent>> {
        let mut zeros: Option<Extent> = None;
        let mut slices = 0_u32;
        loop {
            let is_long = zeros.is_some_and(|zeros| slices >= PATIENCE.0 && zeros.length >= PATIENCE.1);
            if self.ahead.is_empty() && !is_long {
                slices += u32::from(self.look()?);
            }
            match (self.ahead.front(), &mut zeros) {
                (Some(next), None) if next.place == Place::Zero => zeros = self.ahead.pop_front(),
                (Some(next), Some(zeros)) if next.place == Place::Zero => {
                    zeros.length += next.length;
                    self.ahead.pop_front();
                }
                (_, Some(_)) => return Ok(zeros),
                (_, None) => return Ok(self.ahead.pop_front()),
            }
        }
    }

    /// Looks at what the next L1 entry without, or the next L2 entry with a table says; whether it read from the file.
    fn look(&mut self) -> Result<bool> {
        let left = self.header.size - self.position;
        if left == 0 {
            return Ok(false);
        }
        let (covered, cluster) = (self.header.covered(), self.header.cluster());
        let at = self.header.l1_offset + self.position / covered * 8;
        let l1_end = self.header.l1_offset + self.header.l1_entries * 8;
        let (l1, has_read_l1) = self.l1.u64_at(&mut *self.file, at, l1_end)?;
        let Some(table) = entry::l2_table(l1, &self.header).map_err(|fault| wrong(at, &fault))? else {
            let length = (covered - self.position % covered).min(left);
            self.found(length, Place::Zero);
            return Ok(has_read_l1);
        };
        let at = table + self.position % covered / cluster * self.header.entry();
        let (l2, has_read_l2) = self.l2.u64_at(&mut *self.file, at, table + cluster)?;
        let bitmap = match self.header.is_extended {
            true => self.l2.u64_at(&mut *self.file, at + 8, table + cluster)?.0,
            false => 0,
        };
        let length = cluster.min(left);
        let found = entry::cluster(l2, bitmap, length, &self.header).map_err(|fault| wrong(at, &fault))?;
        match found {
            Cluster::Zero => self.found(length, Place::Zero),
            Cluster::Plain(offset) => self.found(length, Place::Plain(offset)),
            Cluster::Packed(offset, end) => self.found(length, Place::Packed(offset, end)),
            Cluster::Mixed(offset, data) => self.found_mixed(length, offset, data),
        }
        Ok(has_read_l1 || has_read_l2)
    }

    /// The subclusters of a cluster, those alike as one.
    fn found_mixed(&mut self, length: u64, offset: u64, data: u32) {
        let subcluster = self.header.cluster() / 32;
        let mut done = 0;
        while done < length {
            let first = done / subcluster;
            let has_data = data >> first & 1 == 1;
            let alike = (first..32).take_while(|bit| (data >> bit & 1 == 1) == has_data).zip(1..).last();
            let run = alike.map_or(1, |(_, count)| count) * subcluster;
            let run = run.min(length - done);
            self.found(run, if has_data { Place::Plain(offset + done) } else { Place::Zero });
            done += run;
        }
    }

    fn found(&mut self, length: u64, place: Place) {
        self.ahead.push_back(Extent { start: self.position, length, place });
        self.position += length;
    }
}

/// A part of a table in memory.
#[derive(Default)]
struct Slice {
    offset: u64,
    bytes: Vec<u8>,
}

impl Slice {
    /// The entry at this byte of the file, of a table that ends at `end`; and whether it had to be read.
    fn u64_at(&mut self, file: &mut dyn Ranged, at: u64, end: u64) -> Result<(u64, bool)> {
        if let Some(entry) = self.held(at) {
            return Ok((entry, false));
        }
        let length = usize::try_from(SLICE.min(end.saturating_sub(at)));
        self.bytes.resize(length.map_err(|_| Error::bug("a slice of a table is larger than the memory"))?, 0);
        self.offset = at;
        if let Err(error) = file.read_exact_at(at, &mut self.bytes) {
            self.bytes.clear();
            return Err(error);
        }
        let entry = self.held(at).ok_or_else(|| Error::bug("an entry lies outside its table"))?;
        Ok((entry, true))
    }

    fn held(&self, at: u64) -> Option<u64> {
        let from = usize::try_from(at.checked_sub(self.offset)?).ok()?;
        self.bytes.get(from..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

fn wrong(at: u64, fault: &str) -> Error {
    Error::new(Kind::Image, format!("reading qcow2: at byte {at}: {fault}"))
}
