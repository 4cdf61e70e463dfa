//! Hashes of what was written, by segment, to compare with what the medium gives back.
//!
//! XXH3 is used: at more than 10 GB/s a core it costs nothing beside the reading, and a faulty medium is no adversary that
//! would look for collisions in 64 bits. Segments bound the memory (512 KiB for 1 TiB) and say where a difference lies.

use std::hash::Hasher as _;
use std::io::{self, Read};

use crate::units::widen;
use twox_hash::XxHash3_64;

/// Bytes under one hash.
const SEGMENT: u64 = 16 << 20;

/// Hashes of a stream, segment by segment.
#[derive(Default)]
pub(super) struct Segments {
    done: Vec<u64>,
    current: XxHash3_64,
    length: u64,
}

impl Segments {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = SEGMENT - self.length % SEGMENT;
            let count = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, rest) = bytes.split_at(count);
            self.current.write(now);
            self.length = self.length.saturating_add(widen(count));
            if self.length.is_multiple_of(SEGMENT) {
                self.done.push(std::mem::take(&mut self.current).finish());
            }
            bytes = rest;
        }
    }

    /// The hashes, the last one that of the unfinished segment.
    pub(super) fn finish(mut self) -> Vec<u64> {
        if !self.length.is_multiple_of(SEGMENT) {
            self.done.push(self.current.finish());
        }
        self.done
    }
}

/// What reading back came to.
#[derive(Debug)]
pub(super) enum Difference {
    /// Somewhere in these bytes, end excluded.
    Between(u64, u64),
    /// The medium ends here.
    Ends(u64),
    /// It cannot be read here.
    Unreadable(u64, io::Error),
    /// The caller wanted to stop.
    Stopped(crate::error::Error),
}

/// Reads `length` bytes and compares their hashes with those that were taken while writing.
///
/// Whole buffers are asked for, so that direct I/O finds its alignment; `on_read` gets every position.
pub(super) fn compare(
    medium: &mut impl Read,
    buffer: &mut [u8],
    expected: &[u64],
    length: u64,
    mut on_read: impl FnMut(u64) -> crate::error::Result<()>,
) -> Result<(), Difference> {
    let mut found = Segments::default();
    let differs = |index: usize| {
        let start = SEGMENT.saturating_mul(widen(index));
        Difference::Between(start, start.saturating_add(SEGMENT).min(length))
    };
    let mut checked = 0;
    while found.length < length {
        let position = found.length;
        let count = match medium.read(buffer) {
            Ok(0) => return Err(Difference::Ends(position)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Difference::Unreadable(position, error)),
        };
        let left = usize::try_from(length - position).unwrap_or(usize::MAX);
        found.update(&buffer[..count.min(left)]);
        while let Some(hash) = found.done.get(checked) {
            if expected.get(checked) != Some(hash) {
                return Err(differs(checked));
            }
            checked += 1;
        }
        on_read(found.length).map_err(Difference::Stopped)?;
    }
    let found = found.finish();
    if found.get(checked..) == expected.get(checked..) { Ok(()) } else { Err(differs(checked)) }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use proptest::prelude::*;

    use super::*;
    use crate::image::testing::Choppy;

    fn hashes(bytes: &[u8]) -> Vec<u64> {
        let mut segments = Segments::default();
        segments.update(bytes);
        segments.finish()
    }

    fn compared(medium: &mut Choppy, written: &[u8]) -> String {
        let mut buffer = vec![0; 1 << 20];
        match compare(medium, &mut buffer, &hashes(written), written.len() as u64, |_| Ok(())) {
            Ok(()) => "equal".to_owned(),
            Err(Difference::Between(start, end)) => format!("differs in {start}..{end}"),
            Err(Difference::Ends(at)) => format!("ends at {at}"),
            Err(Difference::Unreadable(at, error)) => format!("unreadable at {at}: {error}"),
            Err(Difference::Stopped(error)) => error.to_string(),
        }
    }

    #[test]
    fn a_difference_is_found_and_located_by_segment() {
        let written = vec![1; 2 * (16 << 20) + 5];
        let read = |at: Option<usize>| {
            let mut bytes = written.clone();
            if let Some(at) = at {
                bytes[at] ^= 1;
            }
            compared(&mut Choppy::new(bytes, vec![1 << 20]), &written)
        };
        assert_eq!(read(None), "equal");
        assert_eq!(read(Some(0)), "differs in 0..16777216");
        assert_eq!(read(Some(16_777_216)), "differs in 16777216..33554432");
        assert_eq!(read(Some(33_554_436)), "differs in 33554432..33554437");
    }

    #[test]
    fn an_unreadable_or_short_medium_is_named_with_its_offset() {
        let written = vec![1; 5000];
        let mut broken = Choppy::new(written.clone(), vec![512]);
        broken.fault = Some((1024, Errno::EIO));
        assert_eq!(compared(&mut broken, &written), "unreadable at 1024: Input/output error (os error 5)");
        let mut short = Choppy::new(written[..4096].to_vec(), vec![512]);
        assert_eq!(compared(&mut short, &written), "ends at 4096");
    }

    #[test]
    fn what_lies_beyond_the_image_does_not_matter() {
        let written = vec![1; 5000];
        let mut longer = written.clone();
        longer.extend([9; 500]);
        assert_eq!(compared(&mut Choppy::new(longer, vec![4096]), &written), "equal");
    }

    proptest! {
        #[test]
        fn segments_do_not_depend_on_how_the_bytes_arrive(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            steps in proptest::collection::vec(0usize..600, 1..20),
        ) {
            prop_assert_eq!(compared(&mut Choppy::new(bytes.clone(), steps), &bytes), "equal");
        }
    }
}
