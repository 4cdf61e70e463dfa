//! One medium's side of the pipeline: zeros are left to the medium, the ends of the image are withheld.
//!
//! Whatever makes an image start or mount lies in its first MiB (boot code, partition table, the superblocks of every file
//! system, of LVM and md 1.1 and 1.2) or in its last (backup partition table, md 0.90 and 1.0). Both are kept in memory
//! until everything between is proved.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use log::info;

use crate::error::Result;
use crate::sys::block::AlignedBuffer;
use crate::units::widen;

use super::ledger::{Ledger, Segment};
use super::medium::{Medium, at_byte, medium_words, write_all_at};
use super::piece::{GRAIN, Piece, SHORTEST_HOLE};
use super::zeros::is_zero;

/// Bytes that are withheld at each end.
pub(super) const WITHHELD: u64 = 1 << 20;

const ZEROS: usize = 1 << 18;

/// Writes an image, piece by piece, in order.
pub(super) struct Writer<'m, M> {
    medium: &'m mut M,
    /// The image's length, where it is known, for messages.
    size: Option<u64>,
    ledger: Option<Ledger>,
    zeros: AlignedBuffer,
    /// Zeros that are not settled yet, since more may follow.
    run: Range<u64>,
    can_punch: bool,
    punched: u64,
    head: Vec<u8>,
    /// The last pieces, as far as they may belong to the end that is withheld.
    held: VecDeque<Arc<Piece>>,
    end: u64,
}

/// What of an image is on its medium, and what is still withheld.
#[derive(Debug)]
pub(super) struct Body {
    /// The image's length.
    pub(super) length: u64,
    /// Bytes that the medium itself made zero.
    pub(super) punched: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<'m, M: Medium> Writer<'m, M> {
    /// `proves`: whether to keep in mind what is written.
    pub(super) fn new(medium: &'m mut M, size: Option<u64>, proves: bool) -> Self {
        let ledger = proves.then(Ledger::new);
        let zeros = AlignedBuffer::new(ZEROS);
        let (held, head) = (VecDeque::new(), Vec::new());
        Self { medium, size, ledger, zeros, run: 0..0, can_punch: true, punched: 0, head, held, end: 0 }
    }

    /// Takes the next piece, and writes what certainly does not belong to the image's last MiB.
    pub(super) fn put(&mut self, piece: Arc<Piece>) -> Result<()> {
        self.end = piece.end();
        self.held.push_back(piece);
        while let Some(piece) = self.held.front().filter(|piece| self.end - piece.end() >= WITHHELD).cloned() {
            self.held.pop_front();
            self.settle(&piece, piece.end())?;
        }
        Ok(())
    }

    /// Up to where the image has come.
    pub(super) fn position(&self) -> u64 {
        self.end
    }

    /// What is written and can be read back.
    pub(super) fn settled(&mut self) -> impl Iterator<Item = Segment> {
        let held = self.held.front().map_or(self.end, |piece| piece.offset);
        let position = if self.run.is_empty() { held } else { held.min(self.run.start) };
        self.ledger.iter_mut().flat_map(move |ledger| ledger.settled(position))
    }

    /// Writes the rest but for what is withheld, and makes it durable. The last segments go to `on_settled`.
    pub(super) fn finish(mut self, mut on_settled: impl FnMut(Segment)) -> Result<Body> {
        let length = self.end;
        let from = length.saturating_sub(WITHHELD);
        let from = (from - from % GRAIN).max(WITHHELD.min(length));
        let mut tail = Vec::new();
        while let Some(piece) = self.held.pop_front() {
            self.settle(&piece, from)?;
            append(&mut tail, &piece, from.max(piece.offset)..piece.end());
        }
        self.settle_zeros()?;
        self.medium.sync()?;
        self.ledger.iter_mut().flat_map(|ledger| ledger.settled(u64::MAX)).for_each(&mut on_settled);
        Ok(Body { length, punched: self.punched, head: self.head, tail })
    }

    /// Writes a piece up to `end`, or keeps it as part of the first MiB.
    fn settle(&mut self, piece: &Piece, end: u64) -> Result<()> {
        append(&mut self.head, piece, piece.offset..piece.end().min(WITHHELD));
        let (start, end) = (piece.offset.max(WITHHELD), piece.end().min(end));
        if start >= end {
            return Ok(());
        }
        match piece.bytes() {
            None => self.add_zeros(start..end),
            Some(bytes) => {
                let (skip, take) = (index(start - piece.offset), index(end - piece.offset));
                self.settle_bytes(start, bytes.get(skip..take).unwrap_or_default())
            }
        }
    }

    fn settle_bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let grain = index(GRAIN);
        let mut at = 0;
        while at < bytes.len() {
            let grains = bytes[at..].chunks(grain);
            let zeros: usize = grains.take_while(|grain| is_zero(grain)).map(<[u8]>::len).sum();
            if zeros > 0 {
                self.add_zeros(offset + widen(at)..offset + widen(at + zeros))?;
                at += zeros;
            }
            let shortest = if self.medium.is_blank() { GRAIN } else { SHORTEST_HOLE };
            let data = data_length(&bytes[at..], index(shortest));
            if data > 0 {
                self.settle_zeros()?;
                self.write(offset + widen(at), &bytes[at..at + data])?;
                at += data;
            }
        }
        Ok(())
    }

    fn add_zeros(&mut self, range: Range<u64>) -> Result<()> {
        if self.run.is_empty() || self.run.end != range.start {
            self.settle_zeros()?;
            self.run = range;
        } else {
            self.run.end = range.end;
        }
        Ok(())
    }

    /// The zeros so far are all: the medium makes them, or they are written.
    fn settle_zeros(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        let length = run.end - run.start;
        if length == 0 || self.medium.is_blank() {
            return Ok(());
        }
        if self.can_punch && length >= SHORTEST_HOLE {
            match self.medium.punch(run.start, length) {
                Ok(()) => {
                    self.punched += length;
                    self.note_hole(&run);
                    return Ok(());
                }
                Err(cause) if cause.kind() == io::ErrorKind::Unsupported => {
                    info!("zeros are written: the device does not make them itself ({})", medium_words(&cause));
                    self.can_punch = false;
                }
                Err(cause) => return Err(at_byte(run.start, self.size, &cause)),
            }
        }
        let mut at = run.start;
        while at < run.end {
            let count = index((run.end - at).min(widen(ZEROS)));
            let zeros = &self.zeros[..count];
            write_all_at(self.medium, at, zeros).map_err(|(at, cause)| at_byte(at, self.size, &cause))?;
            self.ledger.iter_mut().for_each(|ledger| ledger.note(at, zeros));
            at += widen(count);
        }
        Ok(())
    }

    /// The first and the last grain that the medium made zero are read back too: what a device does wrong with a hole, it
    /// does at its ends.
    fn note_hole(&mut self, run: &Range<u64>) {
        let grain = &self.zeros[..index(GRAIN)];
        for at in [run.start, run.end - GRAIN] {
            self.ledger.iter_mut().for_each(|ledger| ledger.note(at, grain));
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(self.medium, offset, bytes).map_err(|(at, cause)| at_byte(at, self.size, &cause))?;
        self.ledger.iter_mut().for_each(|ledger| ledger.note(offset, bytes));
        Ok(())
    }
}

impl Body {
    /// What is withheld: where it belongs, and its bytes; the first MiB last.
    pub(super) fn withheld(&self) -> [(u64, &[u8]); 2] {
        [(self.length.saturating_sub(widen(self.tail.len())), &self.tail), (0, &self.head)]
    }

    /// Writes what was withheld: the end, then the beginning, whose first block comes last of all.
    pub(super) fn reveal(&self, medium: &mut impl Medium) -> Result<()> {
        let [(from, tail), (_, head)] = self.withheld();
        let (first, rest) = head.split_at(head.len().min(BLOCK));
        for (offset, bytes) in [(from, tail), (widen(first.len()), rest), (0, first)] {
            let mut buffer = AlignedBuffer::new(bytes.len());
            buffer.copy_from_slice(bytes);
            write_all_at(medium, offset, &buffer).map_err(|(at, cause)| at_byte(at, Some(self.length), &cause))?;
            medium.sync()?;
        }
        Ok(())
    }
}

/// The unit of writing that is all or nothing on disks of both sector sizes.
const BLOCK: usize = 4096;

/// Copies a part of a piece.
fn append(to: &mut Vec<u8>, piece: &Piece, part: Range<u64>) {
    if part.start >= part.end {
        return;
    }
    match piece.bytes() {
        None => to.resize(to.len() + index(part.end - part.start), 0),
        Some(bytes) => {
            let part = index(part.start - piece.offset)..index(part.end - piece.offset);
            to.extend_from_slice(bytes.get(part).unwrap_or_default());
        }
    }
}

/// How far data go on; zeros that are too few for a hole belong to them when data follow.
fn data_length(bytes: &[u8], hole: usize) -> usize {
    let grain = index(GRAIN);
    let mut end = 0;
    for (at, part) in bytes.chunks(grain).enumerate().map(|(number, part)| (number * grain, part)) {
        if at - end >= hole {
            break;
        }
        if !is_zero(part) {
            end = at + part.len();
        }
    }
    end
}

/// A length within memory.
fn index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
