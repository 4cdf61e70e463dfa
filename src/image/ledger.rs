//! What was written, to compare with what the medium gives back.
//!
//! XXH3 is used: at more than 10 GB/s a core it costs nothing beside the reading, and a faulty medium is no adversary that
//! would look for collisions in 64 bits. Segments bound the memory (6 MiB for 2 TiB) and say where a difference lies. Of
//! what the medium itself made zero only the ends of each run are among it.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::piece::GRAIN;
use crate::units::widen;

/// Bytes of the image that a hash stands for at most.
pub(super) const SEGMENT: u64 = 16 << 20;

const GRAINS: usize = 256;
const _: () = assert!(GRAIN * GRAINS as u64 == SEGMENT);

/// A stretch of the image with the hash of what of it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins.
    pub(super) start: u64,
    /// A bit for each grain.
    written: [u64; GRAINS / 64],
    pub(super) hash: u64,
}

impl Segment {
    /// What was written of it: runs of whole grains, as start and length.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut index = 0;
        std::iter::from_fn(move || {
            index += (index..GRAINS).position(|index| self.is_written(index))?;
            let count = (index..GRAINS).position(|index| !self.is_written(index)).unwrap_or(GRAINS - index);
            let start = self.start + widen(index) * GRAIN;
            index += count;
            Some((start, widen(count) * GRAIN))
        })
    }

    fn is_written(&self, index: usize) -> bool {
        self.written[index / 64] >> (index % 64) & 1 == 1
    }

    fn mark(&mut self, index: usize) {
        self.written[index / 64] |= 1 << (index % 64);
    }
}

/// Keeps in mind what is written, in order.
pub(super) struct Ledger {
    segment: Option<(Segment, XxHash3_64)>,
    filled: Vec<Segment>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { segment: None, filled: Vec::new() }
    }

    /// These bytes, whole grains, were written here.
    pub(super) fn note(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = at - at % SEGMENT;
            let room = usize::try_from(SEGMENT - at % SEGMENT).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.go_to(start);
            if let Some((segment, hash)) = &mut self.segment {
                let first = usize::try_from((at - start) / GRAIN).unwrap_or(GRAINS);
                let count = usize::try_from(widen(now.len()).div_ceil(GRAIN)).unwrap_or(GRAINS);
                (first..GRAINS).take(count).for_each(|index| segment.mark(index));
                hash.write(now);
            }
            at = at.saturating_add(widen(now.len()));
            rest = later;
        }
    }

    /// Nothing before `position` will be noted any more: gives out what is filled.
    pub(super) fn settled(&mut self, position: u64) -> std::vec::Drain<'_, Segment> {
        if self.segment.as_ref().is_some_and(|(segment, _)| segment.start.saturating_add(SEGMENT) <= position) {
            self.close();
        }
        self.filled.drain(..)
    }

    fn go_to(&mut self, start: u64) {
        if self.segment.as_ref().is_none_or(|(segment, _)| segment.start != start) {
            self.close();
            self.segment = Some((Segment { start, written: [0; GRAINS / 64], hash: 0 }, XxHash3_64::new()));
        }
    }

    fn close(&mut self) {
        if let Some((segment, hash)) = self.segment.take() {
            self.filled.push(Segment { hash: hash.finish(), ..segment });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_tell_what_of_them_was_written() {
        let mut ledger = Ledger::new();
        let bytes = vec![7; 3 << 16];
        ledger.note(GRAIN, &bytes);
        ledger.note(6 * GRAIN, &bytes);
        // Over the end of the first segment, into the second.
        ledger.note(SEGMENT - GRAIN, &bytes);
        let segments: Vec<_> = ledger.settled(SEGMENT).collect();
        assert_eq!(segments.len(), 1);
        let runs: Vec<_> = segments[0].runs().collect();
        assert_eq!(runs, [(GRAIN, 3 * GRAIN), (6 * GRAIN, 3 * GRAIN), (SEGMENT - GRAIN, GRAIN)]);
        assert_eq!(segments[0].hash, XxHash3_64::oneshot(&vec![7; 7 << 16]));
        assert_eq!(ledger.settled(2 * SEGMENT - 1).count(), 0);
        let last: Vec<_> = ledger.settled(u64::MAX).collect();
        assert_eq!(last.iter().flat_map(Segment::runs).collect::<Vec<_>>(), [(SEGMENT, 2 * GRAIN)]);
    }
}
