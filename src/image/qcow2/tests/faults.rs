//! Headers and tables with faults: each is named with its byte, none makes a panic, endless work or much memory.

use proptest::prelude::*;

use super::*;
use crate::image::qcow2::entry::{self, Cluster};
use crate::image::qcow2::header::Compression;

const CLUSTER: usize = 65536;

/// A small image of version 3: header, L1 table, L2 table, one plain cluster, one compressed by zlib; five clusters long.
fn image() -> Vec<u8> {
    let mut file = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(5 * 65536_u64).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &65536_u64.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &112_u32.to_be_bytes());
    put(CLUSTER, &((2 * 65536_u64) | (1 << 63)).to_be_bytes());
    put(2 * CLUSTER, &((3 * 65536_u64) | (1 << 63)).to_be_bytes());
    put(3 * CLUSTER, &[7; CLUSTER]);
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &noise(CLUSTER, 3)).unwrap();
    let packed = packed.finish().unwrap();
    let at = widen(file.len()) + 100;
    file.resize(file.len() + 100, 0);
    let sectors = (at % 512 + widen(packed.len())).div_ceil(512) - 1;
    let entry = at | sectors << 54 | 1 << 62;
    file[2 * CLUSTER + 24..2 * CLUSTER + 32].copy_from_slice(&entry.to_be_bytes());
    file.extend(packed);
    file
}

fn expected() -> Vec<u8> {
    [vec![7; CLUSTER], vec![0; 2 * CLUSTER], noise(CLUSTER, 3), vec![0; CLUSTER]].concat()
}

/// What is said when these bytes stand at this byte of the file.
fn fault(at: usize, bytes: &[u8]) -> String {
    let mut file = image();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    let fault = read(&Memory::new(file)).map(|(_, shapes)| shapes).unwrap_err();
    fault.strip_prefix("reading qcow2: ").unwrap_or_else(|| panic!("{fault}")).to_owned()
}

fn fault32(at: usize, number: u32) -> String {
    fault(at, &number.to_be_bytes())
}

fn fault64(at: usize, number: u64) -> String {
    fault(at, &number.to_be_bytes())
}

#[test]
fn what_was_fetched_is_told_not_what_the_file_has() {
    let mut file = image();
    // Clusters that nothing leads to.
    file.resize(file.len() + (8 << 20), 9);
    let (data, tables) = (Memory::new(file.clone()), Memory::new(file));
    let mut image = Box::new(Qcow2::open(Box::new(data.clone()), Box::new(tables.clone())).unwrap());
    while Stretches::next(&mut *image).unwrap().is_some() {}
    let end = image.end().unwrap();
    assert_eq!((end.fetched, end.length), (data.fetched() + tables.fetched(), widen(data.bytes.len())));
    assert!(end.fetched < 8 << 20, "{}", end.fetched);
}

#[test]
fn the_image_without_a_fault_is_read() {
    let (bytes, shapes) = read(&Memory::new(image())).unwrap();
    assert!(bytes == expected());
    let cluster = widen(CLUSTER);
    let data = |from, clusters, has_data| (from * cluster, clusters * cluster, has_data);
    assert_eq!(shapes, [data(0, 1, true), data(1, 2, false), data(3, 1, true), data(4, 1, false)]);
}

#[test]
fn faults_of_the_header_are_named_with_their_byte() {
    assert_eq!(fault(0, b"QFI\xfa"), "at byte 0: the mark of qcow2 is missing");
    assert_eq!(fault32(4, 1), "at byte 4: the version is 1, expected 2 or 3");
    assert_eq!(fault32(4, 4), "at byte 4: the version is 4, expected 2 or 3");
    for bits in [8, 22, u32::MAX] {
        let words = format!("at byte 20: the cluster size is 2^{bits}, expected 2^9 to 2^21");
        assert_eq!(fault32(20, bits), words);
    }
    assert_eq!(
        fault64(8, u64::MAX),
        "at byte 8: it holds only what differs from a backing file (\"its name is out of reach\"): make one image of both with `qemu-img convert`"
    );
    assert_eq!(fault32(32, 1), "at byte 32: it is encrypted with AES");
    assert_eq!(fault32(32, 3), "at byte 32: it is encrypted by the unknown method 3");
    assert_eq!(fault64(72, 2), "at byte 72: it is marked as corrupt: mend it with `qemu-img check -r all`");
    assert_eq!(fault64(72, 1 << 40), "at byte 72: it needs the unknown feature 40");
    assert_eq!(fault64(72, 8), "at byte 104: the compression is zlib, and the feature bits say another");
    assert_eq!(fault(104, &[1]), "at byte 104: the compression is 1, and the feature bits say zlib");
    assert_eq!(fault32(96, 7), "at byte 96: counts of references have 2^7 bits, expected at most 2^6");
    for length in [0, 96, 105, 65544, u32::MAX] {
        let words = format!(
            "at byte 100: the header has {length} bytes, expected a multiple of 8 from 104 to the cluster size"
        );
        assert_eq!(fault32(100, length), words);
    }
    let extension = [0x1234_5678_u32.to_be_bytes(), 65_500_u32.to_be_bytes()].concat();
    let words = "at byte 112: the header extension 0x12345678 has 65500 bytes and would end behind 65536";
    assert_eq!(fault(112, &extension), words);
}

#[test]
fn an_unknown_feature_is_told_by_the_name_that_the_file_gives_it() {
    let mut extension = [0x6803_f857_u32.to_be_bytes(), 96_u32.to_be_bytes()].concat();
    for (kind, bit, name) in [(1, 40, &b"not this"[..]), (0, 40, b"blocks of gold")] {
        extension.extend([kind, bit]);
        extension.extend(name);
        extension.resize(extension.len().next_multiple_of(48) + 8, 0);
    }
    let mut file = image();
    file[72..80].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    file[112..112 + extension.len()].copy_from_slice(&extension);
    let words = "reading qcow2: at byte 72: it needs the unknown feature 40 (\"blocks of gold\")";
    assert_eq!(read(&Memory::new(file)).map(|(_, shapes)| shapes).unwrap_err(), words);
}

#[test]
fn claims_beyond_the_bounds_are_refused_before_anything_is_read_or_kept() {
    let file = image().len();
    assert_eq!(
        fault64(24, 1 << 60),
        "at byte 36: the L1 table has 1 entries, an image of 1152921504606846976 bytes needs 2147483648"
    );
    assert_eq!(
        fault64(24, u64::MAX),
        "at byte 36: the L1 table has 1 entries, an image of 18446744073709551615 bytes needs 34359738368"
    );
    assert_eq!(fault32(36, 1 << 28), "at byte 36: the L1 table has 2147483648 bytes, at most 33554432 are read");
    assert_eq!(fault32(36, 0), "at byte 36: the L1 table has 0 entries, an image of 327680 bytes needs 1");
    assert_eq!(fault64(40, 0), "at byte 40: there is no L1 table");
    assert_eq!(
        fault64(40, 512),
        "at byte 40: the L1 table begins at 512, which is no multiple of the cluster size 65536"
    );
    for offset in [1 << 20, u64::MAX - 65535] {
        let words = format!("at byte 40: the L1 table of 8 bytes at {offset} ends behind the end of the file, {file}");
        assert_eq!(fault64(40, offset), words);
    }
    for length in [4, 71] {
        let words = format!("the file ends in its header: it has {length} bytes, expected at least 72");
        let short = Memory::new(image()[..length].to_vec());
        assert_eq!(read(&short).map(|_| ()), Err(format!("reading qcow2: {words}")));
    }
    let short = Memory::new(image()[..90].to_vec());
    assert_eq!(
        read(&short).map(|_| ()),
        Err("reading qcow2: the file ends in its header: only 90 bytes of it are there".to_owned())
    );
}

#[test]
fn faults_of_tables_are_named_with_the_byte_of_their_entry() {
    let file = image().len();
    let l1 = |entry| fault64(CLUSTER, entry);
    assert_eq!(l1(0x20001), "at byte 65536: the L1 entry 0x0000000000020001 has reserved bits set");
    assert_eq!(l1(1 << 56), "at byte 65536: the L1 entry 0x0100000000000000 has reserved bits set");
    assert_eq!(l1(0x20200), "at byte 65536: the L2 table at 131584 begins at no multiple of the cluster size 65536");
    let behind = "of 65536 bytes ends behind the end of the file";
    assert_eq!(
        l1(1 << 30),
        format!("at byte 65536: the L2 table at 1073741824 {behind}, {file}: it is truncated or corrupt")
    );
    let l2 = |entry| fault64(2 * CLUSTER, entry);
    assert_eq!(l2(0x30002), "at byte 131072: the L2 entry 0x0000000000030002 has reserved bits set");
    assert_eq!(l2(1 << 63), "at byte 131072: the L2 entry 0x8000000000000000 places a cluster at the header");
    assert_eq!(l2(0x30200), "at byte 131072: the cluster at 197120 begins at no multiple of the cluster size 65536");
    assert_eq!(
        l2(1 << 40),
        format!("at byte 131072: the cluster at 1099511627776 {behind}, {file}: it is truncated or corrupt")
    );
    assert_eq!(
        l2(1 << 62 | 512),
        "at byte 131072: the L2 entry 0x4000000000000200 places a compressed cluster at the header"
    );
    assert_eq!(
        l2(1 << 62 | 1 << 40),
        format!(
            "at byte 131072: the compressed cluster at 1099511627776 begins behind the end of the file, {file}: it is truncated or corrupt"
        )
    );
}

#[test]
fn faults_of_compressed_clusters_are_named_with_the_byte_of_the_image() {
    let words = fault(4 * CLUSTER + 100, &[0xff; 8]);
    assert_eq!(
        words,
        "the cluster of byte 196608 of the image: its zlib data are corrupt after 0 bytes: invalid block type"
    );
    // A stored block of nothing that is the last.
    let words = fault(4 * CLUSTER + 100, &[1, 0, 0, 0xff, 0xff]);
    assert_eq!(words, "the cluster of byte 196608 of the image: it unpacks to 0 bytes, expected 65536");
}

#[test]
fn faults_of_zstd_clusters_are_named_with_the_byte_of_the_image() {
    let with = |packed: &[u8]| {
        let mut file = image();
        file[72..80].copy_from_slice(&8_u64.to_be_bytes());
        file[104] = 1;
        file.truncate(4 * CLUSTER + 100);
        file.extend(packed);
        file.resize(file.len().max(6 * CLUSTER), 0xee);
        read(&Memory::new(file)).map(|(bytes, _)| bytes == expected())
    };
    let packed = |length| zstd::bulk::compress(&noise(length, 3), 3).unwrap();
    assert_eq!(with(&packed(CLUSTER)), Ok(true));
    let place = "reading qcow2: the cluster of byte 196608 of the image:";
    assert_eq!(with(&packed(CLUSTER - 1)), Err(format!("{place} it unpacks to 65535 bytes, expected 65536")));
    let fault = with(&packed(CLUSTER + 1)).unwrap_err();
    assert_eq!(fault, format!("{place} its zstd data are corrupt: Destination buffer is too small"));
    let fault = with(&[0; 512]).unwrap_err();
    assert_eq!(fault, format!("{place} its zstd data are corrupt: Unknown frame descriptor"));
    let fault = with(&packed(4 * CLUSTER)).unwrap_err();
    assert!(fault.starts_with(&format!("{place} its zstd data are corrupt: ")), "{fault}");
}

fn header(version: u32, is_extended: bool, cluster_bits: u32) -> Header {
    Header {
        version,
        cluster_bits,
        size: 1 << 30,
        l1_offset: 1 << 21,
        l1_entries: 1,
        compression: Compression::Zlib,
        is_extended,
        is_dirty: false,
        file: 1 << 62,
    }
}

#[test]
fn entries_have_the_meaning_of_the_version() {
    let cluster = |version, entry| entry::cluster(entry, 0, 65536, &header(version, false, 16));
    assert_eq!(cluster(3, 0x10001), Ok(Cluster::Zero));
    assert_eq!(cluster(3, 1), Ok(Cluster::Zero));
    assert_eq!(cluster(2, 0x10001), Err("the L2 entry 0x0000000000010001 has reserved bits set".to_owned()));
    assert_eq!(cluster(2, 0x10000), Ok(Cluster::Plain(0x10000)));
    // One sector and three more, of which the last may hold less.
    assert_eq!(cluster(3, 1 << 62 | 3 << 54 | 0x12345), Ok(Cluster::Packed(0x12345, 0x12200 + 4 * 512)));
    let small = entry::cluster(1 << 62 | 1 << 61 | 1 << 56, 0, 512, &header(3, false, 9));
    assert_eq!(small, Err("the L2 entry 0x6100000000000000 has reserved bits set".to_owned()));
}

#[test]
fn subclusters_are_checked_and_told_apart() {
    let mixed = |offset: u64, bitmap| entry::cluster(offset, bitmap, 65536, &header(3, true, 16));
    assert_eq!(mixed(0x10000, 0b101), Ok(Cluster::Mixed(0x10000, 0b101)));
    assert_eq!(mixed(0x10000, 0xffff_ffff), Ok(Cluster::Plain(0x10000)));
    assert_eq!(mixed(0x10000, 0xffff_ffff << 32), Ok(Cluster::Zero));
    assert_eq!(
        mixed(0x10000, 1 << 32 | 1),
        Err("the subcluster bitmap 0x0000000100000001 says of one that it has data and that it has none".to_owned())
    );
    assert_eq!(
        mixed(0, 1),
        Err("the subcluster bitmap 0x0000000000000001 tells of data, and there is no cluster".to_owned())
    );
    assert_eq!(mixed(0x10001, 1), Err("the L2 entry 0x0000000000010001 has reserved bits set".to_owned()));
    assert_eq!(
        mixed(1 << 62 | 0x10000, 1),
        Err("the compressed cluster at 65536 has the subcluster bitmap 0x0000000000000001".to_owned())
    );
}

#[test]
fn an_image_made_of_one_cluster_again_and_again_ends_at_its_size() {
    let mut file = image();
    let size: u64 = 200 << 20;
    file[24..32].copy_from_slice(&size.to_be_bytes());
    for index in 0..8192 {
        let at = 2 * CLUSTER + index * 8;
        file[at..at + 8].copy_from_slice(&(3 * 65536_u64).to_be_bytes());
    }
    let file = Memory::new(file);
    let (bytes, _) = read(&file).unwrap();
    assert!(bytes == vec![7; 200 << 20]);
    let reads = file.reads.lock().unwrap();
    assert_eq!((reads.len(), reads.iter().map(|read| read.1).max()), (200, Some(CLUSTER)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_bytes_make_a_panic_or_a_large_read(
        changes in proptest::collection::vec(
            (prop_oneof![0usize..120, CLUSTER..CLUSTER + 8, 2 * CLUSTER..2 * CLUSTER + 48, 3 * CLUSTER..5 * CLUSTER], any::<u8>()),
            1..12,
        ),
        length in prop_oneof![Just(None), (0..5 * CLUSTER).prop_map(Some)],
    ) {
        let mut file = image();
        for (at, byte) in changes {
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
        }
        file.truncate(length.unwrap_or(file.len()));
        let (data, tables) = (Memory::new(file.clone()), Memory::new(file));
        let Ok(mut image) = Qcow2::open(Box::new(data.clone()), Box::new(tables.clone())) else { return Ok(()) };
        // What an image of any size may take is bounded by its target.
        for _ in 0..100 {
            match image.next() {
                Ok(Some(Stretch::Data(portion))) => {
                    prop_assert!(portion.length() <= 2 << 20);
                    let _told = portion.unpack(&mut vec![0; portion.length()]);
                }
                Ok(Some(Stretch::Hole(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let largest = |file: &Memory| file.reads.lock().unwrap().iter().map(|read| read.1).max().unwrap_or(0);
        prop_assert!(largest(&data) <= 5 << 20 && largest(&tables) <= HEAD);
        prop_assert!(tables.reads.lock().unwrap().len() < 100 * 64);
    }
}
