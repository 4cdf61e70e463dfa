//! What files hold, as hashes: taken while they are written, compared when they are read back.
//!
//! A hash covers the length and every grain that is not all zero, so that a hole and written zeros are the same and neither
//! is read for nothing. XXH3 for the reason given in `image::proof`.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use crate::units::widen;

/// Bytes that are looked at together.
const GRAIN: usize = 64 << 10;

/// The hash of a file whose bytes come in ascending order, with gaps.
pub(super) struct Content {
    hasher: XxHash3_64,
    /// Which grain is being filled, and how far.
    grain: u64,
    bytes: Vec<u8>,
}

impl Content {
    pub(super) fn new() -> Self {
        Self { hasher: XxHash3_64::new(), grain: 0, bytes: Vec::new() }
    }

    /// Adds bytes that stand at this offset, which is not before any that came already.
    pub(super) fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let grain = offset / widen(GRAIN);
            if grain != self.grain {
                self.close_grain();
                self.grain = grain;
            }
            // Below GRAIN.
            let within = usize::try_from(offset % widen(GRAIN)).unwrap_or_default();
            let count = bytes.len().min(GRAIN - within);
            self.bytes.resize(within.max(self.bytes.len()), 0);
            self.bytes.truncate(within);
            self.bytes.extend_from_slice(&bytes[..count]);
            offset = offset.saturating_add(widen(count));
            bytes = &bytes[count..];
        }
    }

    /// The hash, when the file has this length.
    pub(super) fn finish(mut self, length: u64) -> u64 {
        self.close_grain();
        self.hasher.write_u64(length);
        self.hasher.finish()
    }

    fn close_grain(&mut self) {
        // Zeros at the end are as good as none: the next byte may stand in another grain.
        let length = self.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if length > 0 {
            self.hasher.write_u64(self.grain);
            self.hasher.write_u64(widen(length));
            self.hasher.write(&self.bytes[..length]);
        }
        self.bytes.clear();
    }
}

/// Hashes of files by device and inode: 24 bytes a file.
#[derive(Default)]
pub(super) struct Contents {
    files: Vec<File>,
}

#[derive(Clone, Copy)]
struct File {
    device: u64,
    inode: u64,
    /// None for a file that is gone again.
    hash: Option<std::num::NonZeroU64>,
}

/// What a file that was found must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// This, and it was not looked at before.
    Hash(u64),
    /// It was looked at under another name.
    Seen,
    /// The archive brought none such.
    Unknown,
}

impl Contents {
    pub(super) fn insert(&mut self, device: u64, inode: u64, hash: u64) {
        self.files.push(File { device, inode, hash: Some(never_zero(hash)) });
    }

    /// The last name of a file is taken away: its number may be given to another.
    pub(super) fn remove(&mut self, device: u64, inode: u64) {
        self.files.push(File { device, inode, hash: None });
    }

    /// Ready for looking up.
    pub(super) fn sorted(mut self) -> Sorted {
        // Stable: of one number the last word counts, which is the first of the reversed order.
        self.files.reverse();
        self.files.sort_by_key(|file| (file.device, file.inode));
        self.files.dedup_by_key(|file| (file.device, file.inode));
        self.files.retain(|file| file.hash.is_some());
        let seen = vec![false; self.files.len()];
        Sorted { files: self.files, seen }
    }
}

/// Hashes of files that can be looked up.
pub(super) struct Sorted {
    files: Vec<File>,
    seen: Vec<bool>,
}

impl Sorted {
    pub(super) fn take(&mut self, device: u64, inode: u64) -> Expected {
        let found = self.files.binary_search_by_key(&(device, inode), |file| (file.device, file.inode));
        let Ok(at) = found else { return Expected::Unknown };
        match self.files[at].hash {
            Some(hash) if !std::mem::replace(&mut self.seen[at], true) => Expected::Hash(hash.get()),
            _ => Expected::Seen,
        }
    }

    /// Files that nobody asked for.
    pub(super) fn missing(&self) -> usize {
        self.seen.iter().filter(|seen| !**seen).count()
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}

/// Zero and one count as the same: a chance of one in 2^63, for eight bytes less a file.
fn never_zero(hash: u64) -> std::num::NonZeroU64 {
    std::num::NonZeroU64::new(hash).unwrap_or(std::num::NonZeroU64::MIN)
}

/// A hash as it is kept, to compare with.
pub(super) fn kept(hash: u64) -> u64 {
    never_zero(hash).get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> u64 {
        let mut content = Content::new();
        content.add(0, bytes);
        content.finish(widen(bytes.len()))
    }

    #[test]
    fn contents_differ_by_a_byte_a_place_and_a_length() {
        let bytes = [&[0; 100_000][..], b"x", &[0; 100_000]].concat();
        let mut moved = bytes.clone();
        moved.swap(100_000, 100_001);
        let mut other = bytes.clone();
        other[100_000] = b'y';
        let hashes = [whole(&bytes), whole(&moved), whole(&other), whole(&bytes[..200_000]), whole(b""), whole(&[0])];
        assert_eq!(hashes.iter().collect::<std::collections::BTreeSet<_>>().len(), hashes.len());
    }

    #[test]
    fn the_last_word_on_a_file_counts() {
        let mut contents = Contents::default();
        contents.insert(1, 7, 70);
        contents.insert(1, 8, 80);
        contents.insert(2, 7, 90);
        contents.remove(1, 7);
        contents.insert(1, 7, 71);
        contents.remove(1, 8);
        let mut sorted = contents.sorted();
        assert_eq!((sorted.len(), sorted.missing()), (2, 2));
        assert_eq!(sorted.take(1, 7), Expected::Hash(71));
        assert_eq!(sorted.take(1, 7), Expected::Seen);
        assert_eq!(sorted.take(1, 8), Expected::Unknown);
        assert_eq!(sorted.missing(), 1);
    }

    proptest! {
        #[test]
        fn pieces_and_holes_make_no_difference(
            parts in proptest::collection::vec((0usize..70_000, 0usize..70_000), 1..6),
        ) {
            let mut bytes = Vec::new();
            let mut places = Vec::new();
            for (hole, data) in parts {
                bytes.resize(bytes.len() + hole, 0);
                places.push((bytes.len(), data));
                bytes.extend((0..data).map(|at| u8::try_from(at % 251).unwrap()));
            }
            let mut pieces = Content::new();
            for (start, length) in places {
                let (first, second) = bytes[start..start + length].split_at(length / 3);
                pieces.add(widen(start), first);
                pieces.add(widen(start + first.len()), second);
            }
            prop_assert_eq!(pieces.finish(widen(bytes.len())), whole(&bytes));
        }
    }
}
