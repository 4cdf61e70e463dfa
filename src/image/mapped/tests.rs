use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::image::digest::Digest;
use crate::image::piece::Pool;

const ANY: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Ranges from where one ends and the next begins, with their true digests.
fn map(image: &[u8], mut edges: Vec<usize>) -> Bmap {
    edges.iter_mut().for_each(|edge| *edge %= image.len() + 1);
    edges.sort_unstable();
    edges.dedup();
    let range = |edge: &[usize]| {
        let mut hashers = Hashers::for_digests(&[ANY.parse().unwrap()]);
        hashers.update(&image[edge[0]..edge[1]]);
        Mapped { start: widen(edge[0]), end: widen(edge[1]), checksum: hashers.finish().pop() }
    };
    let ranges = edges.chunks_exact(2).map(range).collect();
    Bmap { image_size: widen(image.len()), ranges }
}

fn masked(image: &[u8], map: &Bmap) -> Vec<u8> {
    let mut expected = vec![0; image.len()];
    for range in &map.ranges {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        expected[range.clone()].copy_from_slice(&image[range]);
    }
    expected
}

/// What comes through when the image comes in pieces of these lengths; pieces of zeros come as holes where that is asked.
fn passed(image: &[u8], map: &Bmap, lengths: &[usize], has_holes: bool) -> Result<Vec<u8>> {
    let mut pool = Pool::new(4096, Arc::new(AtomicBool::new(false)));
    let (mut mask, mut out, mut at) = (Mask::new(map), Vec::new(), 0);
    for &length in lengths.iter().cycle() {
        if at == image.len() {
            break;
        }
        let bytes = &image[at..image.len().min(at + length)];
        let piece = if has_holes && bytes.iter().all(|&byte| byte == 0) {
            Piece::hole(widen(at), widen(bytes.len()))
        } else {
            let mut slab = pool.take().unwrap();
            slab.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
            Piece::data(widen(at), slab, bytes.len())
        };
        let piece = mask.apply(piece)?;
        assert_eq!((piece.offset, piece.length()), (widen(at), widen(bytes.len())));
        match piece.bytes() {
            Some(bytes) => out.extend_from_slice(bytes),
            None => out.resize(out.len() + bytes.len(), 0),
        }
        at += bytes.len();
    }
    mask.finish()?;
    Ok(out)
}

proptest! {
    #[test]
    fn what_is_mapped_stays_and_the_rest_is_zero_wherever_pieces_and_ranges_end(
        image in proptest::collection::vec(prop_oneof![3 => Just(0), 2 => any::<u8>()], 1..3000),
        edges in proptest::collection::vec(any::<usize>(), 0..20),
        lengths in proptest::collection::vec(1usize..700, 1..8),
        has_holes in any::<bool>(),
    ) {
        let map = map(&image, edges);
        prop_assert_eq!(passed(&image, &map, &lengths, has_holes).unwrap(), masked(&image, &map));
    }

    #[test]
    fn a_changed_byte_is_told_with_its_range_when_it_is_mapped_and_not_otherwise(
        image in proptest::collection::vec(any::<u8>(), 1..3000),
        edges in proptest::collection::vec(any::<usize>(), 0..20),
        lengths in proptest::collection::vec(1usize..700, 1..8),
        at in any::<usize>(),
    ) {
        let map = map(&image, edges);
        let at = at % image.len();
        let mut changed = image.clone();
        changed[at] ^= 1;
        let found = passed(&changed, &map, &lengths, false);
        match map.ranges.iter().find(|range| (range.start..range.end).contains(&widen(at))) {
            None => prop_assert_eq!(found.unwrap(), masked(&image, &map)),
            Some(range) => {
                let words = found.unwrap_err().to_string();
                let front = format!("digest of bytes {} to {} of the image is sha256:", range.start, range.end);
                let behind = format!(", expected {}", range.checksum.as_ref().unwrap());
                prop_assert!(words.starts_with(&front) && words.ends_with(&behind), "{}", words);
            }
        }
    }
}

#[test]
fn an_image_that_ends_before_a_range_does_is_never_taken_for_proved() {
    let image = vec![7; 100];
    let map = map(&image, vec![10, 90]);
    let error = passed(&image[..80], &map, &[100], false).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (Kind::Bug, "bytes 10 to 90 of the image did not come".to_owned()));
}

#[test]
fn a_range_without_digest_is_believed() {
    let image = vec![7; 100];
    let mut map = map(&image, vec![10, 90]);
    assert!(map.is_proof());
    map.ranges[0].checksum = None;
    assert!(!map.is_proof());
    assert_eq!(passed(&image, &map, &[64], false).unwrap(), masked(&image, &map));
    let other: Option<Digest> = Some(ANY.parse().unwrap());
    map.ranges[0].checksum = other;
    assert!(passed(&image, &map, &[64], false).is_err());
}

/// Remembers what was read.
struct Noted {
    image: Vec<u8>,
    reads: Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
}

impl Ranged for Noted {
    fn length(&self) -> u64 {
        widen(self.image.len())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.reads.lock().unwrap().push((offset, offset + widen(buffer.len())));
        let from = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.image[from..from + buffer.len()]);
        Ok(())
    }

    fn fetched(&self) -> u64 {
        self.reads.lock().unwrap().iter().map(|(start, end)| end - start).sum()
    }
}

#[test]
fn of_a_raw_image_what_is_mapped_is_read_once_and_long_gaps_are_holes() {
    let mib = 1 << 20;
    let size = 6 * mib + 1000;
    let image: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap() | 1).collect();
    // A short gap, one over the boundary of portions, a long range, a long gap, the end.
    let edges = vec![4096, 8192, 12288, 40960, mib - 4096, mib, mib + 8192, 3 * mib + 4096, 6 * mib, size];
    let map = map(&image, edges);
    let reads = Arc::default();
    let mut parts = Box::new(Parts::new(Box::new(Noted { image: image.clone(), reads: Arc::clone(&reads) }), &map));
    let (mut out, mut holes) = (Vec::new(), Vec::new());
    while let Some(stretch) = parts.next().unwrap() {
        match stretch {
            Stretch::Hole(length) => {
                holes.push(length);
                out.resize(out.len() + usize::try_from(length).unwrap(), 0);
            }
            Stretch::Data(portion) => {
                let mut bytes = vec![0; portion.length()];
                portion.unpack(&mut bytes).unwrap();
                out.extend(bytes);
            }
        }
    }
    assert!(out == masked(&image, &map));
    let mib = widen(mib);
    assert_eq!(holes, [mib - 4096 - 40960, 3 * mib - 4096]);
    let reads = reads.lock().unwrap().clone();
    let expected = [
        (4096, 8192),
        (12288, 40960),
        (mib - 4096, mib),
        (mib + 8192, 2 * mib),
        (2 * mib, 3 * mib),
        (3 * mib, 3 * mib + 4096),
        (6 * mib, 6 * mib + 1000),
    ];
    assert_eq!(reads, expected);
    let end = parts.end().unwrap();
    assert_eq!((end.fetched, end.length), (map.mapped(), map.image_size));
}
