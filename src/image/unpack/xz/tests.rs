use std::io::{BufReader, Read as _};

use super::*;
use crate::image::testing::Choppy;
use crate::image::unpack::Unpack;
use crate::image::unpack::packing::{xz, xz_of_blocks};

const BLOCK: usize = 64 << 10;

/// What it unpacks to, or what is wrong with it, and why one thread had to do.
fn unpack(packed: &[u8], threads: usize, allowed: u64) -> (Result<Vec<u8>, String>, Option<String>) {
    let mut unpack = Unpack::new(packed, Box::new(Xz::new(allowed, threads)));
    let mut image = Vec::new();
    let read = unpack.read_to_end(&mut image).map(|_| image).map_err(|error| error.to_string());
    (read, unpack.why_one_thread())
}

/// The same by one thread and by three.
fn unpacked(packed: &[u8]) -> Result<Vec<u8>, String> {
    let [one, three] = [1, 3].map(|threads| unpack(packed, threads, 64 << 20).0);
    assert!(one == three, "{:?} and {:?}", one.map(|image| image.len()), three.map(|image| image.len()));
    three
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * at) >> 11).to_le_bytes()[0] & 0x3f).collect()
}

#[test]
fn blocks_come_out_in_order_whatever_the_number_of_threads() {
    let bytes = text(9 * BLOCK + 77);
    let packed = xz_of_blocks(&bytes, BLOCK as u64);
    assert!(unpacked(&packed).as_ref() == Ok(&bytes));
    let two = [&packed[..], &[0; 8], &xz(b"between", 1 << 20), &packed].concat();
    assert!(unpacked(&two) == Ok([&bytes[..], b"between", &bytes].concat()));
    let reader = BufReader::with_capacity(13, Choppy::new(two, vec![5, 0, 1, 900, 3]));
    let mut image = Vec::new();
    Unpack::new(reader, Box::new(Xz::new(64 << 20, 3))).read_to_end(&mut image).unwrap();
    assert!(image == [&bytes[..], b"between", &bytes].concat());
}

#[test]
fn faults_in_blocks_side_by_side_are_told_apart() {
    let packed = xz_of_blocks(&text(5 * BLOCK), BLOCK as u64);
    let truncated = Err("the xz stream is truncated".to_owned());
    for cut in (1..packed.len()).step_by(997).chain(packed.len() - 40..packed.len()) {
        assert!(unpacked(&packed[..cut]) == truncated, "cut at {cut}");
    }
    let garbage = Err("garbage follows the end of the xz stream".to_owned());
    assert!(unpacked(&[&packed, &b"<html>"[..]].concat()) == garbage);
    for at in (HEADER + 30..packed.len() - 80).step_by(1999) {
        let mut spoiled = packed.clone();
        spoiled[at] ^= 0x10;
        let words = unpacked(&spoiled).unwrap_err();
        assert_eq!(words, "the xz stream is corrupt: its data or a checksum is wrong", "byte {at}");
    }
}

#[test]
fn a_check_of_unknown_kind_is_refused_unless_the_header_itself_is_wrong() {
    let mut packed = xz_of_blocks(&text(2 * BLOCK), BLOCK as u64);
    packed[7] = 2;
    assert_eq!(unpacked(&packed), Err("the xz stream is corrupt: its data or a checksum is wrong".to_owned()));
    let mut sum = flate2::Crc::new();
    sum.update(&packed[6..8]);
    packed[8..12].copy_from_slice(&sum.sum().to_le_bytes());
    assert_eq!(unpacked(&packed), Err("the xz stream has a checksum of a kind that is not known".to_owned()));
}

#[test]
fn dictionaries_beyond_the_limit_are_refused_whatever_the_number_of_threads() {
    let packed = xz(b"image", 24 << 20);
    for threads in [1, 3] {
        let read = |allowed: u64| unpack(&packed, threads, allowed << 20).0;
        let words = "the xz stream needs a dictionary of 24 MiB, 23 MiB are allowed: --max-window 24 allows it";
        assert_eq!(read(23), Err(words.to_owned()), "{threads}");
        assert_eq!(read(24), Ok(b"image".to_vec()), "{threads}");
        assert_eq!(read(25), Ok(b"image".to_vec()), "{threads}");
    }
}

#[test]
fn it_is_told_once_why_one_thread_unpacks() {
    let why = |packed: &[u8], threads| unpack(packed, threads, 64 << 20).1;
    let small = xz_of_blocks(&text(3 * BLOCK), BLOCK as u64);
    assert_eq!(why(&small, 2), None);
    let single = xz(b"image", 1 << 20);
    assert_eq!(why(&single, 2), Some("its blocks do not tell their sizes".to_owned()));
    assert_eq!(why(&[&single[..], &single].concat(), 2), Some("its blocks do not tell their sizes".to_owned()));
    assert_eq!(why(&single, 1), None);

    let block = |image: u64| Block { dictionary: 8 << 20, packed: Some(image / 4), image: Some(image) };
    assert_eq!(why_one_thread(block(24 << 20), limit(64 << 20)), None);
    assert_eq!(why_one_thread(block(32 << 20), limit(64 << 20)), Some("a block has 32 MiB".to_owned()));
    assert_eq!(why_one_thread(block(24 << 20), limit(8 << 20)), Some("a block has 24 MiB".to_owned()));
}
