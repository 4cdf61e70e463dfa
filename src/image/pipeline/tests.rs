//! The pipeline with readers and media that do what they are allowed to, and some that fail.

use nix::errno::Errno;
use proptest::prelude::*;

use super::*;
use crate::image::bmap::{Bmap, Mapped};
use crate::image::fetch::PACKET;
use crate::image::mapped::Parts;
use crate::image::portion::{LARGEST_STRETCH, Portion, Stretch};
use crate::image::qcow2::Qcow2;
use crate::image::ranged::Ranged;
use crate::image::testing::{Choppy, Plate};
use crate::image::unpack;
use crate::image::unpack::packing::{PACKED, pack};
use crate::units::widen;

fn flow(bytes: &[u8], steps: Vec<usize>, container: Container) -> Flow<Choppy> {
    Flow {
        name: "img".to_owned(),
        feed: feed(Choppy::new(bytes.to_vec(), steps), container),
        bounds: Bounds::default(),
        mask: None,
        digests: Vec::new(),
        container_digests: Vec::new(),
        workers: 2,
        cancel: Cancel::default(),
    }
}

fn feed(source: Choppy, container: Container) -> Feed<Choppy> {
    let window = MaxWindow::default();
    match unpack::codec(container, window).unwrap() {
        None => Feed::Raw(source),
        Some(codec) => Feed::Packed { source, container, window, codec },
    }
}

/// Moves an image to one medium, reads it back, and writes what was withheld.
fn moved(flow: Flow<Choppy>, plate: &mut Plate) -> Result<Flowed> {
    let read_back = ReadBack::start(plate.clone(), 2, true)?;
    let mut outlets = [Outlet { name: None, medium: plate, read_back: Some(read_back) }];
    let flowed = run(flow, &mut outlets, |_| ())?;
    let [outlet] = outlets;
    outlet.read_back.map_or(Ok(()), ReadBack::join)?;
    flowed.bodies[0].reveal(outlet.medium)?;
    Ok(flowed)
}

fn failed(flow: Flow<Choppy>, plate: &mut Plate) -> Error {
    moved(flow, plate).unwrap_err()
}

/// A file in memory that is read in parts.
#[derive(Clone)]
struct Held(Arc<Vec<u8>>);

impl Ranged for Held {
    fn length(&self) -> u64 {
        widen(self.0.len())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
        Ok(())
    }

    fn fetched(&self) -> u64 {
        0
    }
}

/// These bytes as an image of qcow2, version 2: header, L1 table, L2 table, then each cluster as it is.
fn qcow2(bytes: &[u8]) -> Qcow2 {
    const CLUSTER: u64 = 1 << 16;
    let mut file = vec![0; 3 << 16];
    let mut put = |at: usize, number: &[u8]| file[at..at + number.len()].copy_from_slice(number);
    put(0, b"QFI\xfb");
    put(4, &2_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &widen(bytes.len()).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &CLUSTER.to_be_bytes());
    put(1 << 16, &((2 * CLUSTER) | (1 << 63)).to_be_bytes());
    for number in 0..bytes.len() >> 16 {
        let place = (3 + widen(number)) * CLUSTER;
        put((2 << 16) + 8 * number, &(place | (1 << 63)).to_be_bytes());
    }
    file.extend_from_slice(bytes);
    let file = Held(Arc::new(file));
    Qcow2::open(Box::new(file.clone()), Box::new(file)).unwrap()
}

/// A map in which these bytes are one range.
fn map(bytes: &[u8]) -> Bmap {
    let image_size = widen(bytes.len());
    Bmap { image_size, ranges: vec![Mapped { start: 0, end: image_size, checksum: None }] }
}

/// How these bytes may be published: each form, with and without a block map.
const FORMS: [&str; 9] = ["gzip", "zstd", "xz", "bzip2", "lz4", "raw", "qcow2", "raw with a map", "zstd with a map"];

fn published(bytes: &[u8], form: &str) -> Flow<Choppy> {
    let streamed = |container| flow(&pack(bytes, container), vec![PIECE], container);
    let stretches = |image| Flow { feed: Feed::Stretches(image), ..streamed(Container::Raw) };
    match form {
        "qcow2" => stretches(Box::new(qcow2(bytes))),
        "raw with a map" => {
            let parts = Parts::new(Box::new(Held(Arc::new(bytes.to_vec()))), &map(bytes));
            Flow { mask: Some(Mask::new(&map(bytes))), ..stretches(Box::new(parts)) }
        }
        "zstd with a map" => Flow { mask: Some(Mask::new(&map(bytes))), ..streamed(Container::Zstd) },
        _ => streamed(Container::ALL.into_iter().find(|container| container.as_str() == form).unwrap()),
    }
}

#[test]
fn a_full_or_broken_medium_is_named_with_the_byte_that_it_refused_whatever_the_form() {
    let bytes = vec![7; 4 * PIECE];
    assert!(PACKED.iter().all(|form| FORMS.contains(&form.as_str())));
    for form in FORMS {
        let mut good = Plate::default();
        moved(published(&bytes, form), &mut good).unwrap();
        assert!(good.bytes() == bytes, "{form}");
        for (errno, words) in [(Errno::ENOSPC, "No space left on device"), (Errno::EIO, "I/O error")] {
            let mut medium = Plate { steps: vec![700_000, 0], ..Plate::default() };
            medium.fault = Some((widen(PIECE) + 4096, errno));
            let mut flow = published(&bytes, form);
            flow.bounds.size = Some(bytes.len() as u64);
            let error = failed(flow, &mut medium);
            assert_eq!(error.kind(), Kind::Medium);
            assert_eq!(error.to_string(), format!("at byte {} of {}: {words}", PIECE + 4096, bytes.len()), "{form}");
        }
        let mut lying = Plate { bad_byte: Some(2 * PIECE), ..Plate::default() };
        let error = failed(published(&bytes, form), &mut lying);
        assert_eq!(error.to_string(), "reading back: bytes 0 to 3145728 are not what was written", "{form}");
    }
}

#[test]
fn an_image_that_outgrows_its_bounds_is_stopped_before_them() {
    let bytes = vec![7; 2 * PIECE + 1];
    let packed = pack(&bytes, Container::Gzip);
    let mut medium = Plate::default();
    let mut wide = flow(&packed, vec![4096], Container::Gzip);
    wide.bounds.room = Some(((2 * PIECE) as u64, "/dev/sdx".to_owned()));
    let error = failed(wide, &mut medium);
    assert_eq!(error.kind(), Kind::Image);
    assert_eq!(error.to_string(), "img: the image has at least 2097153 bytes, /dev/sdx holds 2097152");
    assert!(medium.bytes().len() <= 2 * PIECE);

    let mut long = flow(&packed, vec![4096], Container::Gzip);
    long.bounds.size = Some((2 * PIECE) as u64);
    let error = failed(long, &mut Plate::default());
    assert_eq!(error.to_string(), "img: the image is longer than the 2097152 bytes that it should have");

    let mut short = flow(&packed, vec![4096], Container::Gzip);
    short.bounds.size = Some((3 * PIECE) as u64);
    let error = failed(short, &mut Plate::default());
    assert_eq!(error.to_string(), "img: the image has 2097153 bytes and should have 3145728");
}

#[test]
fn packing_inside_packing_and_emptiness_are_no_images() {
    for form in PACKED {
        let inside = |bytes: &[u8]| {
            let packed = flow(&pack(bytes, form), vec![100], form);
            failed(packed, &mut Plate::default()).to_string()
        };
        for inner in PACKED {
            let expected = format!("img: expected an image, found {} inside", inner.as_str());
            assert_eq!(inside(&pack(b"image", inner)), expected, "{form:?}");
        }
        assert_eq!(inside(b"<html>"), "img: expected an image, found an HTML page inside", "{form:?}");
        assert_eq!(inside(b""), "img: the image is empty", "{form:?}");
    }
}

#[test]
fn truncation_names_how_far_it_came() {
    let bytes: Vec<u8> = (0..750_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for form in PACKED {
        let packed = pack(&bytes, form);
        let mut medium = Plate::default();
        let error = failed(flow(&packed[..packed.len() - 1000], vec![PACKET], form), &mut medium);
        assert_eq!(error.kind(), Kind::Image);
        let words = error.to_string();
        let (before, after) = words.split_once(" bytes of the image: ").unwrap();
        assert_eq!(after, format!("the {} stream is truncated", form.as_str()));
        let reached: usize = before.strip_prefix("unpacking img: after ").unwrap().parse().unwrap();
        assert!(reached > 2_000_000 && reached <= bytes.len(), "{form:?}: {reached}");
    }
}

#[test]
fn what_makes_an_image_start_is_written_last_of_all() {
    let bytes: Vec<u8> = (0..5 * PIECE).map(|at| u8::try_from(at % 251).unwrap() + 1).collect();
    let mut plate = Plate::holding(vec![0; bytes.len()]);
    let mut outlets = [Outlet { name: None, medium: &mut plate, read_back: None }];
    let flowed = run(flow(&bytes, vec![PACKET], Container::Raw), &mut outlets, |_| ()).unwrap();
    let now = plate.bytes();
    assert!(now[..PIECE].iter().chain(&now[4 * PIECE..]).all(|&byte| byte == 0), "the ends are withheld");
    assert!(now[PIECE..4 * PIECE] == bytes[PIECE..4 * PIECE]);
    flowed.bodies[0].reveal(&mut plate).unwrap();
    assert!(plate.bytes() == bytes);
}

#[test]
fn several_media_get_the_same_and_the_first_that_fails_ends_all() {
    let bytes: Vec<u8> = (0..5 * PIECE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (mut first, mut second) = (Plate::default(), Plate::default());
    let run_both = |first: &mut Plate, second: &mut Plate| {
        let mut outlets = [
            Outlet { name: None, medium: first, read_back: None },
            Outlet { name: None, medium: second, read_back: None },
        ];
        let flowed = run(flow(&pack(&bytes, Container::Zstd), vec![999], Container::Zstd), &mut outlets, |_| ())?;
        flowed.bodies.iter().zip(&mut outlets).try_for_each(|(body, outlet)| body.reveal(outlet.medium))
    };
    run_both(&mut first, &mut second).unwrap();
    assert!(first.bytes() == bytes && second.bytes() == bytes);
    second.fault = Some((2 * widen(PIECE), Errno::EIO));
    let error = run_both(&mut first, &mut second).unwrap_err();
    assert_eq!(error.to_string(), "at byte 2097152: I/O error");
}

#[test]
fn a_medium_that_gives_back_other_bytes_is_named() {
    let bytes = vec![7; 40 * PIECE];
    let mut plate = Plate { bad_byte: Some(20 * PIECE), ..Plate::default() };
    let error = failed(flow(&bytes, vec![PACKET], Container::Raw), &mut plate);
    assert_eq!(error.kind(), Kind::Medium);
    assert_eq!(error.to_string(), "reading back: bytes 16777216 to 33554432 are not what was written");
}

#[test]
fn zeros_that_the_medium_makes_are_read_back_at_their_ends() {
    let mut bytes = vec![7; 2 * PIECE];
    bytes.resize(5 * PIECE, 0);
    bytes.resize(8 * PIECE, 7);
    for old in [2 * PIECE, 5 * PIECE - 1] {
        let mut plate = Plate { bad_byte: Some(old), punches: true, ..Plate::holding(vec![9; bytes.len()]) };
        let error = failed(flow(&bytes, vec![PACKET], Container::Raw), &mut plate);
        assert_eq!(error.to_string(), "reading back: bytes 0 to 7340032 are not what was written", "{old}");
    }
}

/// Ends a run that hangs, so that it fails.
fn watched(mut flow: Flow<Choppy>, plate: &mut Plate) -> Flowed {
    let cancel = Cancel::default();
    flow.cancel = cancel.clone();
    thread::spawn(move || {
        thread::sleep(std::time::Duration::from_secs(60));
        cancel.cancel();
    });
    moved(flow, plate).unwrap()
}

#[test]
fn frames_that_make_much_less_than_they_could_do_not_use_up_the_buffers() {
    // Each block of a frame may make 128 KiB, and makes 2.
    let frame = |bytes: &[u8]| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for block in bytes.chunks(2048) {
            std::io::Write::write_all(&mut encoder, block).unwrap();
            std::io::Write::flush(&mut encoder).unwrap();
        }
        encoder.finish().unwrap()
    };
    let bytes: Vec<u8> =
        (0..40 << 17).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0] / 16).collect();
    for part in [128 << 10, 64 << 10, 16 << 10] {
        let published: Vec<u8> = bytes.chunks(part).flat_map(frame).collect();
        let mut plate = Plate::default();
        watched(flow(&published, vec![PACKET], Container::Zstd), &mut plate);
        assert!(plate.bytes() == bytes, "{part}");
    }
}

/// An image of given stretches: holes, and data of sevens.
struct Given(std::collections::VecDeque<(bool, usize)>);

struct Sevens(usize);

impl Portion for Sevens {
    fn length(&self) -> usize {
        self.0
    }

    fn unpack(&self, image: &mut [u8]) -> std::result::Result<usize, String> {
        image.fill(7);
        Ok(image.len())
    }
}

impl Stretches for Given {
    fn next(&mut self) -> Result<Option<Stretch>> {
        Ok(self.0.pop_front().map(|(is_hole, length)| match is_hole {
            true => Stretch::Hole(widen(length)),
            false => Stretch::Data(Box::new(Sevens(length))),
        }))
    }

    fn end(self: Box<Self>) -> Result<End> {
        Ok(End::default())
    }
}

fn check_stretches(stretches: &[(bool, usize)], punches: bool) {
    let mut expected = Vec::new();
    for &(is_hole, length) in stretches {
        expected.resize(expected.len() + length, if is_hole { 0 } else { 7 });
    }
    let mut given = flow(&[], vec![], Container::Raw);
    given.feed = Feed::Stretches(Box::new(Given(stretches.iter().copied().collect())));
    let mut plate = Plate { punches, ..Plate::holding(vec![9; expected.len()]) };
    watched(given, &mut plate);
    assert!(plate.bytes() == expected, "the medium differs");
}

#[test]
fn stretches_of_a_grain_each_do_not_use_up_the_buffers() {
    let small: Vec<_> =
        (0..800).map(|number| (number % 2 == 1, if number % 2 == 1 { 64 << 10 } else { 4096 })).collect();
    let large = vec![(false, LARGEST_STRETCH); 40];
    check_stretches(&[&small[..], &large, &small].concat(), true);
    let holes: Vec<_> =
        (0..200).map(|number| (number % 2 == 1, if number % 2 == 1 { 260 << 10 } else { 512 })).collect();
    check_stretches(&[&holes[..], &large].concat(), true);
}

#[test]
fn a_request_to_stop_ends_the_run() {
    let mut stopped = flow(&vec![7; PIECE], vec![4096], Container::Raw);
    stopped.cancel = Cancel::default();
    stopped.cancel.cancel();
    let error = failed(stopped, &mut Plate::default());
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Terminated, "ended by SIGTERM"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn stretches_of_any_length_arrive_where_they_belong(
        stretches in proptest::collection::vec(
            (any::<bool>(), prop_oneof![512usize..5000, 60_000usize..70_000, 200_000usize..300_000, 1_000_000usize..LARGEST_STRETCH]),
            1..30,
        ),
        punches in any::<bool>(),
    ) {
        check_stretches(&stretches, punches);
    }

    #[test]
    fn short_and_interrupted_calls_on_both_sides_change_nothing(
        seed in any::<u64>(),
        length in 1usize..(4 * PIECE),
        reads in proptest::collection::vec(prop_oneof![Just(0usize), 1usize..5000, Just(PACKET)], 1..12),
        writes in proptest::collection::vec(prop_oneof![Just(0usize), 4096usize..PIECE], 1..12),
        form in proptest::sample::select(&Container::ALL[..6]),
        members in 1usize..9,
        punches in any::<bool>(),
    ) {
        let mut state = seed | 1;
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Half of it compresses, half does not.
                if state >> 63 == 0 { 0 } else { (state >> 40).to_le_bytes()[0] }
            })
            .collect();
        // And some is nothing but zeros.
        for start in (0..length).step_by(700_001) {
            let end = (start + usize::try_from(seed % 600_000).unwrap()).min(length);
            bytes[start..end].fill(0);
        }
        let part = bytes.len().div_ceil(members).max(1);
        let published: Vec<u8> = bytes.chunks(part).flat_map(|part| pack(part, form)).collect();
        // A write of one byte at a time would take for ever: at least a block each turn.
        let mut medium =
            Plate { steps: [writes, vec![PIECE]].concat(), punches, ..Plate::holding(vec![9; length]) };
        let mut whole = flow(&published, [reads, vec![PACKET]].concat(), form);
        let zero = |name: &str, digits| format!("{name}:{}", "0".repeat(digits)).parse().unwrap();
        whole.digests = vec![zero("sha256", 64)];
        whole.container_digests = vec![zero("md5", 32)];
        let flowed = moved(whole, &mut medium).unwrap();
        let digest = |of: &[u8], like: &Digest| {
            let mut hashers = Hashers::for_digests(std::slice::from_ref(like));
            hashers.update(of);
            hashers.finish()
        };
        prop_assert!(medium.bytes() == bytes, "the medium differs");
        prop_assert_eq!((flowed.fetched, flowed.bodies[0].length), (published.len() as u64, length as u64));
        prop_assert_eq!(flowed.digests, digest(&bytes, &zero("sha256", 64)));
        prop_assert_eq!(flowed.container_digests, digest(&published, &zero("md5", 32)));
    }
}
