//! Splitting against packing by independent encoders, and against streams that are not what they look like.

use std::io::{BufReader, Read as _};

use proptest::prelude::*;

use super::*;
use crate::image::testing::Choppy;
use crate::image::unpack::packing::pack;
use crate::image::unpack::{Unpack, codec};

/// How many portions were found in a stream that unpacks to these bytes.
fn portions(stream: &[u8], container: Container, bytes: &[u8]) -> usize {
    let (image, portions) = unpacked(stream, container);
    assert!(image == bytes, "{} bytes instead of {}", image.len(), bytes.len());
    portions
}

/// Everything that a stream unpacks to, portions first, and how many there were.
fn unpacked(bytes: &[u8], container: Container) -> (Vec<u8>, usize) {
    let mut packed = BufReader::with_capacity(5000, Choppy::new(bytes.to_vec(), vec![0, 3000, 70_000]));
    let mut splitter = Splitter::new(container, MaxWindow::default()).unwrap();
    let (mut image, mut portions) = (Vec::new(), 0);
    let front = loop {
        match splitter.next(&mut packed).unwrap() {
            Next::End => return (image, portions),
            Next::InOrder(front, _) => break front,
            Next::Portion(portion) => {
                let mut part = vec![0; portion.length()];
                let Ok(made) = portion.unpack(&mut part) else { break portion.into_packed() };
                image.extend(&part[..made]);
                portions += 1;
            }
        }
    };
    let rest = Rewound::new([front, splitter.into_ahead()], packed);
    let codec = codec(container, MaxWindow::default()).unwrap().unwrap();
    Unpack::going_on(rest, codec, !image.is_empty()).read_to_end(&mut image).unwrap();
    (image, portions)
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect()
}

/// A member as bgzip writes it. SAM 1.6, section 4.1.
fn block(bytes: &[u8]) -> Vec<u8> {
    let plain = pack(bytes, Container::Gzip);
    let size = u16::try_from(plain.len() + 8 - 1).unwrap().to_le_bytes();
    let header = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 6, 0, b'B', b'C', 2, 0, size[0], size[1]];
    [&header[..], &plain[10..]].concat()
}

#[test]
fn frames_of_zstd_are_unpacked_side_by_side() {
    let bytes = noise(6_000_000);
    let frames = |length: usize| bytes.chunks(length).map(|part| ::zstd::bulk::compress(part, 1).unwrap());
    assert_eq!(portions(&frames(2_000_000).collect::<Vec<_>>().concat(), Container::Zstd, &bytes), 3);
    // Small ones together.
    assert_eq!(portions(&frames(100_000).collect::<Vec<_>>().concat(), Container::Zstd, &bytes), 6);
    // Without their size and with frames to be skipped, as pzstd writes them.
    let streamed = bytes.chunks(2_000_000).map(|part| ::zstd::encode_all(part, 1).unwrap());
    let marked = streamed.flat_map(|frame| [&b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &frame].concat());
    assert_eq!(portions(&marked.collect::<Vec<_>>(), Container::Zstd, &bytes), 3);
}

#[test]
fn a_frame_that_is_too_large_is_left_to_one_thread() {
    let bytes = noise(9_000_000);
    let whole = ::zstd::bulk::compress(&bytes, 1).unwrap();
    assert_eq!(portions(&whole, Container::Zstd, &bytes), 0);
    let streamed = ::zstd::encode_all(&bytes[..], 1).unwrap();
    assert_eq!(portions(&streamed, Container::Zstd, &bytes), 0);
    // What came before the large one stands.
    let both = [::zstd::bulk::compress(&bytes[..2_000_000], 1).unwrap(), whole].concat();
    assert_eq!(portions(&both, Container::Zstd, &[&bytes[..2_000_000], &bytes].concat()), 1);
}

#[test]
fn members_of_gzip_are_unpacked_side_by_side() {
    let bytes = noise(6_000_000);
    let members: Vec<u8> = bytes.chunks(1_500_000).flat_map(|part| pack(part, Container::Gzip)).collect();
    // The last, alone at the end, is not worth a thread.
    assert_eq!(portions(&members, Container::Gzip, &bytes), 3);
    let blocks: Vec<u8> = bytes.chunks(60_000).chain([&[][..]]).flat_map(block).collect();
    assert_eq!(portions(&blocks, Container::Gzip, &bytes), 6);
    assert_eq!(portions(&pack(&bytes, Container::Gzip), Container::Gzip, &bytes), 0, "one member");
}

#[test]
fn what_claims_to_be_empty_at_the_end_is_not_passed_over() {
    let bytes = noise(2_000_000);
    // The last member says that it makes nothing, which is a lie.
    let mut lying = [block(&bytes[..60_000]), block(&bytes[..50_000])].concat();
    let end = lying.len();
    lying[end - 4..].fill(0);
    let mut splitter = Splitter::new(Container::Gzip, MaxWindow::default()).unwrap();
    let mut packed = &lying[..];
    let Next::Portion(portion) = splitter.next(&mut packed).unwrap() else { panic!("a portion was expected") };
    assert!(portion.unpack(&mut vec![0; portion.length()]).is_err());

    let mut alone = &lying[end - block(&bytes[..50_000]).len()..];
    let mut splitter = Splitter::new(Container::Gzip, MaxWindow::default()).unwrap();
    assert!(matches!(splitter.next(&mut alone).unwrap(), Next::InOrder(front, _) if !front.is_empty()));
}

#[test]
fn what_looks_like_a_member_inside_a_member_does_no_harm() {
    // Stored as it is, the header stands in the packed bytes.
    let bytes = [noise(700_000), b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), noise(700_000)].concat();
    let stored = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let both = [stored(&bytes), stored(&bytes)].concat();
    portions(&both, Container::Gzip, &[&bytes[..], &bytes].concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_streams_are_no_reason_to_panic_and_give_nothing_that_unpacking_in_order_does_not(
        lengths in proptest::collection::vec(0usize..900_000, 1..6),
        container in proptest::sample::select(&[Container::Gzip, Container::Zstd][..]),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream: Vec<u8> = lengths
            .iter()
            .flat_map(|&length| match container {
                Container::Zstd => ::zstd::bulk::compress(&noise(length), 1).unwrap(),
                container => pack(&noise(length), container),
            })
            .collect();
        for (at, value) in damage {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        stream.truncate(cut.index(stream.len()) + 1);
        let mut packed = &stream[..];
        let mut splitter = Splitter::new(container, MaxWindow::default()).unwrap();
        let mut image = Vec::new();
        while let Next::Portion(portion) = splitter.next(&mut packed).unwrap() {
            let mut part = vec![0; portion.length()];
            let Ok(made) = portion.unpack(&mut part) else { break };
            image.extend(&part[..made]);
        }
        let mut in_order = Vec::new();
        let codec = codec(container, MaxWindow::default()).unwrap().unwrap();
        let _damaged = Unpack::new(&stream[..], codec).read_to_end(&mut in_order);
        prop_assert!(in_order.starts_with(&image));
    }
}
