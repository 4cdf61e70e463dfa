use lz4_flex::frame::BlockMode;
use proptest::prelude::*;

use super::packing::{PACKED, lz4, pack, xz};
use super::*;
use crate::image::testing::Choppy;

fn unpacker<R: BufRead>(packed: R, container: Container, window: MaxWindow) -> Unpack<R> {
    Unpack::new(packed, codec(container, window).unwrap().unwrap())
}

fn unpack_within(packed: &[u8], container: Container, window: &str) -> Result<Vec<u8>, String> {
    let window = if window.is_empty() { MaxWindow::default() } else { window.parse().unwrap() };
    let mut out = Vec::new();
    unpacker(packed, container, window).read_to_end(&mut out).map(|_| out).map_err(|error| error.to_string())
}

fn unpack(packed: &[u8], container: Container) -> Result<Vec<u8>, String> {
    unpack_within(packed, container, "")
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// A frame that zstd and lz4 skip.
fn skipped(length: u32) -> Vec<u8> {
    [&[0x57, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![7; length as usize]].concat()
}

fn truncated(container: Container) -> Result<Vec<u8>, String> {
    Err(format!("the {} stream is truncated", container.as_str()))
}

fn garbage(container: Container) -> Result<Vec<u8>, String> {
    Err(format!("garbage follows the end of the {} stream", container.as_str()))
}

#[test]
fn every_member_is_unpacked_empty_ones_too() {
    for form in PACKED {
        let members: [&[u8]; 4] = [b"one", b"", b"two", b""];
        let packed: Vec<u8> = members.iter().flat_map(|member| pack(member, form)).collect();
        assert_eq!(unpack(&packed, form), Ok(b"onetwo".to_vec()), "{form:?}");
    }
}

#[test]
fn frames_to_be_skipped_are_skipped_wherever_they_stand() {
    for form in [Container::Zstd, Container::Lz4] {
        let parts = [skipped(0), skipped(4), pack(b"one", form), skipped(70_000), pack(b"two", form), skipped(0)];
        assert_eq!(unpack(&parts.concat(), form), Ok(b"onetwo".to_vec()), "{form:?}");
        let cut = [pack(b"one", form), skipped(9)].concat();
        assert_eq!(unpack(&cut[..cut.len() - 1], form), truncated(form));
        assert_eq!(unpack(&cut[..cut.len() - 10], form), truncated(form));
    }
}

#[test]
fn padding_between_and_after_xz_streams_comes_in_fours() {
    let form = Container::Xz;
    let whole = pack(b"one", form);
    let padded = |length: usize| [&whole[..], &vec![0; length], &whole, &[0; 4]].concat();
    for length in [4, 8, 4096] {
        assert_eq!(unpack(&padded(length), form), Ok(b"oneone".to_vec()), "{length}");
    }
    assert_eq!(unpack(&padded(5), form), garbage(form));
    assert_eq!(unpack(&padded(4)[..padded(4).len() - 1], form), truncated(form));
}

#[test]
fn lz4_blocks_may_refer_to_those_before_them() {
    // Repeats over several blocks of 64 KiB.
    let bytes = noise(50_000).repeat(7);
    for mode in [BlockMode::Linked, BlockMode::Independent] {
        let packed = lz4(&bytes, mode);
        assert!(unpack(&packed, Container::Lz4).unwrap() == bytes, "{mode:?}");
    }
    assert!(lz4(&bytes, BlockMode::Linked).len() < bytes.len() / 4);
}

#[test]
fn truncation_is_an_error_at_every_byte_of_every_member() {
    for form in PACKED {
        let packed = pack(&noise(3000), form);
        let two = packed.repeat(2);
        for cut in (0..packed.len()).chain(packed.len() + 1..two.len()) {
            assert_eq!(unpack(&two[..cut], form), truncated(form), "{form:?} cut at {cut}");
        }
    }
}

#[test]
fn trailing_garbage_is_told_from_truncation() {
    for form in PACKED {
        let whole = pack(b"image", form);
        let zeros = vec![0; 4098];
        for tail in [&b"x"[..], &whole[1..], &[whole[0], b'x'], b"<html>", b"\x00\x00\x01", &zeros] {
            let found = unpack(&[&whole, tail].concat(), form);
            // What is left of xz's padding may be cut.
            let is_padding = form == Container::Xz && tail == zeros;
            assert_eq!(found, if is_padding { truncated(form) } else { garbage(form) }, "{form:?} {tail:?}");
        }
    }
}

#[test]
fn the_members_of_another_form_are_garbage() {
    for form in PACKED {
        for other in PACKED.into_iter().filter(|other| *other != form) {
            let packed = [pack(b"one", form), pack(b"two", other)].concat();
            assert_eq!(unpack(&packed, form), garbage(form), "{form:?} {other:?}");
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error() {
    for form in PACKED {
        let packed = pack(&noise(2000), form);
        for (at, bit) in (0..packed.len()).flat_map(|at| [(at, 0x01), (at, 0x10), (at, 0x80)]) {
            let mut spoiled = packed.clone();
            spoiled[at] ^= bit;
            let name = form.as_str();
            match unpack(&spoiled, form) {
                // Names and times of gzip, and bits between the last code and the next byte, mean nothing.
                Ok(bytes) => assert!(bytes == noise(2000), "{name}: byte {at}"),
                Err(words) => {
                    let is_told = words.starts_with(&format!("the {name} stream "))
                        || words == format!("garbage follows the end of the {name} stream");
                    assert!(is_told, "{name}: byte {at}: {words}");
                }
            }
        }
    }
}

/// The error after this byte is changed.
fn spoiled(packed: &[u8], at: usize, form: Container) -> String {
    let mut packed = packed.to_vec();
    packed[at] ^= 0x40;
    unpack(&packed, form).unwrap_err()
}

#[test]
fn a_wrong_checksum_is_told() {
    let bytes = noise(2000);
    let last = |form: Container, from_end: usize| {
        let packed = pack(&bytes, form);
        spoiled(&packed, packed.len() - from_end, form)
    };
    assert_eq!(last(Container::Gzip, 8), "the gzip stream is corrupt: incorrect data check");
    assert_eq!(last(Container::Gzip, 4), "the gzip stream is corrupt: incorrect length check");
    assert_eq!(last(Container::Zstd, 4), "the zstd stream is corrupt: Restored data doesn't match checksum");
    assert_eq!(last(Container::Xz, 50), "the xz stream is corrupt: its data or a checksum is wrong");
    assert_eq!(last(Container::Bzip2, 4), "the bzip2 stream is corrupt: its data or a checksum is wrong");
    assert_eq!(last(Container::Lz4, 4), "the lz4 stream is corrupt: the checksum of the image is wrong");
    assert_eq!(last(Container::Lz4, 12), "the lz4 stream is corrupt: the checksum of a block is wrong");
}

#[test]
fn what_an_lz4_header_promises_is_held() {
    let form = Container::Lz4;
    let packed = pack(&noise(2000), form);
    assert_eq!(spoiled(&packed, 4, form), "the lz4 stream is corrupt: its header is of an unknown version");
    assert_eq!(spoiled(&packed, 6, form), "the lz4 stream is corrupt: the checksum of its header is wrong");
    assert_eq!(spoiled(&packed, 17, form), "the lz4 stream is corrupt: a block is longer than its header allows");

    let framed = |flags: u8, fields: &[u8], rest: &[u8]| {
        let described = [&[flags, 0x40], fields].concat();
        let sum = twox_hash::XxHash32::oneshot(0, &described).to_le_bytes()[1];
        unpack(&[&b"\x04\x22\x4d\x18"[..], &described, &[sum], rest].concat(), form)
    };
    let block = b"\x05\x00\x00\x80image\0\0\0\0";
    assert_eq!(framed(0x60, &[], block), Ok(b"image".to_vec()));
    assert_eq!(framed(0x68, &5_u64.to_le_bytes(), block), Ok(b"image".to_vec()));
    assert_eq!(
        framed(0x68, &6_u64.to_le_bytes(), block),
        Err("the lz4 stream is corrupt: its length is not what its header says".to_owned())
    );
    assert_eq!(framed(0x61, &[1, 0, 0, 0], block), Err("the lz4 stream needs a dictionary".to_owned()));
    assert_eq!(
        framed(0x60, &[], b"\x02\x00\x00\x00\x20a"),
        Err("the lz4 stream is corrupt: literal is out of bounds of the input".to_owned())
    );
}

#[test]
fn a_window_beyond_the_limit_is_refused_with_the_option_that_allows_it() {
    let long = |log: u32| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        std::io::Write::write_all(&mut encoder, &noise(3000)).unwrap();
        encoder.finish().unwrap()
    };
    let unpacked =
        |packed: &[u8], form, window: &str| unpack_within(packed, form, window).map(|bytes| bytes == noise(3000));
    assert_eq!(unpacked(&long(27), Container::Zstd, ""), Ok(true));
    assert_eq!(
        unpacked(&long(28), Container::Zstd, ""),
        Err("the zstd stream needs a window of 256 MiB, 128 MiB are allowed: --max-window 256 allows it".to_owned())
    );
    assert_eq!(unpacked(&long(31), Container::Zstd, "2048"), Ok(true));
    assert_eq!(
        unpacked(&long(24), Container::Zstd, "15"),
        Err("the zstd stream needs a window of 16 MiB, 15 MiB are allowed: --max-window 16 allows it".to_owned())
    );

    let dictionary = |mib: u32| xz(&noise(3000), mib << 20);
    assert_eq!(unpacked(&dictionary(64), Container::Xz, ""), Ok(true));
    assert_eq!(
        unpacked(&dictionary(96), Container::Xz, ""),
        Err("the xz stream needs a dictionary of 96 MiB, 64 MiB are allowed: --max-window 96 allows it".to_owned())
    );
    assert_eq!(unpacked(&dictionary(96), Container::Xz, "96"), Ok(true));
}

#[test]
fn first_bytes_tell_early_what_cannot_be_unpacked() {
    let first = |head: &[u8], form| first_bytes(codec(form, MaxWindow::default()).unwrap().unwrap(), head);
    for form in PACKED {
        let packed = pack(&noise(100_000), form);
        let given = first(&packed[..512], form).unwrap();
        assert!(noise(100_000).starts_with(&given), "{form:?}");
        assert_eq!(first(&pack(b"image", form), form), Ok(b"image".to_vec()));
        let [mark @ .., _] = &packed[..8] else { unreachable!() };
        let wrong = first(&[mark, &[0xff; 500]].concat(), form).unwrap_err();
        assert!(wrong.starts_with(&format!("the {} stream is corrupt: ", form.as_str())), "{wrong}");
    }
}

/// One of the packed forms.
fn any_form() -> impl Strategy<Value = Container> {
    proptest::sample::select(&PACKED[..])
}

proptest! {
    #[test]
    fn short_and_interrupted_reads_change_nothing(
        form in any_form(),
        members in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..4),
        steps in proptest::collection::vec(0usize..40, 1..20),
    ) {
        let packed: Vec<u8> = members.iter().flat_map(|member| pack(member, form)).collect();
        let reader = io::BufReader::with_capacity(7, Choppy::new(packed, steps));
        let mut out = Vec::new();
        unpacker(reader, form, MaxWindow::default()).read_to_end(&mut out).unwrap();
        prop_assert_eq!(out, members.concat());
    }

    #[test]
    fn no_stream_makes_a_decoder_panic_or_give_out_other_bytes_as_whole(
        form in any_form(),
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        repeated in 1usize..400,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = bytes.repeat(repeated);
        let mut packed = pack(&bytes, form);
        for (at, bits) in flips {
            let at = at.index(packed.len());
            packed[at] ^= bits;
        }
        let check = |packed: &[u8]| {
            let mut out = Vec::new();
            let read = unpacker(packed, form, MaxWindow::default()).take(64 << 20).read_to_end(&mut out);
            read.is_err() || out == bytes
        };
        // A stream that stays right by chance of its checksum is not met; zstd's header alone can lose its checksum.
        let is_told = check(&packed);
        let has_lost_checksum = form == Container::Zstd || form == Container::Lz4;
        prop_assert!(is_told || has_lost_checksum, "{:?} gave out other bytes", form);
        let cut = cut.index(packed.len());
        check(&packed[..cut]);
    }

    #[test]
    fn foreign_bytes_after_a_mark_are_survived(
        form in any_form(),
        marked in 0usize..30,
        tail in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let packed = pack(b"some image", form);
        let front = &packed[..marked.min(packed.len())];
        let mut out = Vec::new();
        let all = [front, &tail].concat();
        let _any = unpacker(&all[..], form, MaxWindow::default()).take(64 << 20).read_to_end(&mut out);
    }
}
