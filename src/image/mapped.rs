//! An image of which a block map tells what holds data: the rest becomes zeros, and of a raw image it is not even read.

use std::collections::VecDeque;

use log::info;

use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::units::widen;

use super::beside;
use super::bmap::{Bmap, Mapped};
use super::cancel::Cancel;
use super::digest::{Hashers, first_difference};
use super::fetch::End;
use super::location::Location;
use super::piece::{GRAIN, Piece};
use super::portion::{Portion, Stretch, Stretches};
use super::ranged::Ranged;

/// Bytes of the image in one portion, which ends at a multiple of them.
const PORTION: u64 = 1 << 20;

/// Zeros that are hashed at once.
static ZEROS: [u8; 4096] = [0; 4096];

/// Reads the map of a job.
///
/// # Errors
/// `Image` when it is absent, or wrong.
pub(super) fn read(location: &Location, client: &Client, cancel: &Cancel) -> Result<Bmap> {
    let bytes = beside::read(location, client, cancel)?;
    let map =
        Bmap::parse(&bytes).map_err(|reason| Error::new(Kind::Image, format!("block map {location}: {reason}")))?;
    let digests = if map.is_proof() { "all with digests" } else { "not all with digests" };
    info!("block map {location}: {} of {} bytes hold data, {digests}", map.mapped(), map.image_size);
    Ok(map)
}

/// What a block map leaves of an image, and whether that is what it was made of. Pieces come in order, without gaps.
pub(super) struct Mask {
    /// Those that have not ended.
    ranges: VecDeque<Mapped>,
    /// The digest of the first of them, as far as it has come.
    hashers: Option<Hashers>,
}

impl Mask {
    pub(super) fn new(map: &Bmap) -> Self {
        Self { ranges: map.ranges.iter().cloned().collect(), hashers: None }
    }

    /// The piece with zeros wherever nothing is mapped, as a hole when that is everywhere.
    ///
    /// # Errors
    /// `Image`: a range that ends here has another digest than the map says.
    pub(super) fn apply(&mut self, mut piece: Piece) -> Result<Piece> {
        let (offset, end) = (piece.offset, piece.end());
        if self.ranges.front().is_none_or(|range| range.start >= end) {
            return Ok(Piece::hole(offset, piece.length()));
        }
        match piece.bytes_mut() {
            Some(bytes) => self.mask(offset, bytes)?,
            None => self.pass_zeros(offset, end)?,
        }
        Ok(piece)
    }

    /// # Errors
    /// A bug: the image has ended, and a range has not been compared.
    pub(super) fn finish(&self) -> Result<()> {
        match self.ranges.front() {
            None => Ok(()),
            Some(left) => Err(Error::bug(format!("bytes {} to {} of the image did not come", left.start, left.end))),
        }
    }

    fn mask(&mut self, offset: u64, mut bytes: &mut [u8]) -> Result<()> {
        let mut at = offset;
        while !bytes.is_empty() {
            let gap = self.ranges.front().map_or(u64::MAX, |range| range.start.saturating_sub(at));
            let (unmapped, rest) = bytes.split_at_mut(at_most(gap, bytes.len()));
            unmapped.fill(0);
            at += widen(unmapped.len());
            let left = self.ranges.front().map_or(0, |range| range.end.saturating_sub(at));
            let (mapped, rest) = rest.split_at_mut(at_most(left, rest.len()));
            self.hash(mapped);
            at += widen(mapped.len());
            self.close(at)?;
            bytes = rest;
        }
        Ok(())
    }

    /// The same for zeros.
    fn pass_zeros(&mut self, offset: u64, end: u64) -> Result<()> {
        let mut at = offset;
        while let Some(range) = self.ranges.front().filter(|range| range.start < end) {
            at = at.max(range.start);
            let until = range.end.min(end);
            while at < until {
                let zeros = &ZEROS[..at_most(until - at, ZEROS.len())];
                self.hash(zeros);
                at += widen(zeros.len());
            }
            if !self.close(at)? {
                break;
            }
        }
        Ok(())
    }

    /// The first range goes on with these bytes.
    fn hash(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let expected = self.ranges.front().and_then(|range| range.checksum.as_ref());
        let hashers =
            self.hashers.get_or_insert_with(|| Hashers::for_digests(expected.map_or(&[], std::slice::from_ref)));
        hashers.update(bytes);
    }

    /// Compares the first range if it ends here; tells whether it does.
    fn close(&mut self, at: u64) -> Result<bool> {
        let Some(range) = self.ranges.front().filter(|range| range.end <= at) else { return Ok(false) };
        let found = self.hashers.take().map(Hashers::finish).unwrap_or_default();
        if let Some((expected, found)) = first_difference(range.checksum.as_slice(), &found) {
            let (start, end) = (range.start, range.end);
            let text = format!("digest of bytes {start} to {end} of the image is {found}, expected {expected}");
            return Err(Error::new(Kind::Image, text));
        }
        self.ranges.pop_front();
        Ok(true)
    }
}

/// A raw image of which only what is mapped is read.
pub(super) struct Parts {
    data: Box<dyn Ranged>,
    /// Those that have not ended: start and end.
    ranges: VecDeque<(u64, u64)>,
    position: u64,
    size: u64,
}

impl Parts {
    pub(super) fn new(data: Box<dyn Ranged>, map: &Bmap) -> Self {
        let ranges = map.ranges.iter().map(|range| (range.start, range.end)).collect();
        Self { data, ranges, position: 0, size: map.image_size }
    }

    /// Goes on as far as `until` without data.
    fn hole(&mut self, until: u64) -> Option<Stretch> {
        let length = until.saturating_sub(self.position);
        self.position = self.position.max(until);
        (length > 0).then_some(Stretch::Hole(length))
    }
}

impl Stretches for Parts {
    /// Ranges that lie close together come as one portion: a hole has to be worth its while.
    fn next(&mut self) -> Result<Option<Stretch>> {
        let boundary = (self.position - self.position % PORTION).saturating_add(PORTION);
        let mut image = Vec::new();
        while let Some(&(start, end)) = self.ranges.front().filter(|_| self.position < boundary) {
            let start = start.max(self.position);
            let gap = start - self.position;
            if gap >= GRAIN || start >= boundary {
                if image.is_empty() {
                    return Ok(self.hole(start));
                }
                break;
            }
            let until = end.min(boundary);
            let from = image.len() + length(gap)?;
            image.resize(from + length(until - start)?, 0);
            self.data.read_exact_at(start, &mut image[from..])?;
            self.position = until;
            if end <= until {
                self.ranges.pop_front();
            }
        }
        if image.is_empty() { Ok(self.hole(self.size)) } else { Ok(Some(Stretch::Data(Box::new(Plain(image))))) }
    }

    fn end(self: Box<Self>) -> Result<End> {
        Ok(End { fetched: self.data.fetched(), length: self.data.length(), digests: Vec::new() })
    }
}

/// A portion that is the image.
struct Plain(Vec<u8>);

impl Portion for Plain {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn unpack(&self, image: &mut [u8]) -> std::result::Result<usize, String> {
        image.copy_from_slice(&self.0);
        Ok(image.len())
    }
}

fn at_most(wanted: u64, room: usize) -> usize {
    usize::try_from(wanted).map_or(room, |wanted| wanted.min(room))
}

/// A length within a portion, which always fits.
fn length(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| Error::bug(format!("{length} bytes are more than the memory can have")))
}

#[cfg(test)]
mod tests;
