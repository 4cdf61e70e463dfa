//! Fetching, unpacking, hashing and writing at the same time, over bounded queues.
//!
//! ```text
//! source -> fetch (hash of what is fetched) -> unpack -+-> write (the caller's thread)
//!                                                      +-> hash (digests of the image, hashes for the read-back)
//! ```
//! A raw image needs no unpacking: its bytes are fetched into the buffers that are written. At most [`PIECES`] buffers of
//! [`PIECE`] bytes and [`PACKETS`] of half a MiB exist, however large the image is, and what the codec keeps to refer back to.
//!
//! The threads before the writer are not joined when a run fails: a reader that waits for a silent server must not hold up
//! the error, or a signal. They end by themselves when their queue is gone, and touch nothing but the source.

use std::io::{Read, Seek, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::block::AlignedBuffer;
use crate::units::widen;

use super::bounds::Bounds;
use super::cancel::{Cancel, GLANCE};
use super::digest::{Digest, Hashers};
use super::fetch::{End, Fetch, PACKETS, Packed};
use super::hashing::Hashing;
use super::medium::{at_byte, write_at};
use super::piece::{PIECE, Produced};
use super::producer::Producer;
use super::proof::Segments;
use super::unpack::Codec;

/// Buffers for what is written: they even out bursts of the decoder and pauses of the medium.
const PIECES: usize = 16;

/// What flows, and what bounds it.
pub(super) struct Flow<R> {
    /// The source's name, for messages.
    pub(super) name: String,
    /// The bytes as published.
    pub(super) source: R,
    /// What unpacks them; nothing for a raw image.
    pub(super) codec: Option<Box<dyn Codec>>,
    pub(super) bounds: Bounds,
    /// Expectations on the image; each algorithm among them is computed.
    pub(super) digests: Vec<Digest>,
    /// Expectations on what is fetched.
    pub(super) container_digests: Vec<Digest>,
    /// Whether hashes for the read-back are wanted.
    pub(super) keeps_segments: bool,
    pub(super) cancel: Cancel,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Flowed {
    pub(super) fetched: u64,
    pub(super) written: u64,
    pub(super) digests: Vec<Digest>,
    pub(super) container_digests: Vec<Digest>,
    pub(super) segments: Vec<u64>,
}

/// Moves the whole image to `medium`. `on_written` gets every position.
///
/// # Errors
/// `Image` for what the source or its content does wrong, `Medium` for what writing does; both name the byte.
pub(super) fn run<R: Read + Send + 'static>(
    flow: Flow<R>,
    medium: &mut (impl Write + Seek),
    on_written: impl FnMut(u64),
) -> Result<Flowed> {
    let (cancel, size) = (flow.cancel.clone(), flow.bounds.size);
    let (to_write, hasher) = start(flow)?;
    let (end, written) = write(&to_write, medium, size, &cancel, on_written)?;
    let (digests, segments) = match hasher {
        Some(hasher) => hasher.join().map_err(|_| Error::bug("the thread that hashes has panicked"))?,
        None => (Vec::new(), Vec::new()),
    };
    Ok(Flowed { fetched: end.fetched, written, digests, container_digests: end.digests, segments })
}

/// What hashing comes to: the digests of the image, the hashes of its segments.
type Hashes = (Vec<Digest>, Vec<u64>);

/// Starts all threads before the writer; gives back what it gets, and the thread that hashes.
fn start<R: Read + Send + 'static>(flow: Flow<R>) -> Result<(Receiver<Produced>, Option<JoinHandle<Hashes>>)> {
    let (home, pool) = mpsc::channel();
    for _ in 0..PIECES {
        // The receiver lives in this scope.
        home.send(AlignedBuffer::new(PIECE)).map_err(|_| Error::bug("the pool of buffers is gone"))?;
    }
    let (pieces, to_write) = mpsc::sync_channel(PIECES);
    let (copies, to_hash) = mpsc::sync_channel(PIECES);
    let wants_hashes = flow.keeps_segments || !flow.digests.is_empty();
    let hashing = Hashing {
        digests: Hashers::for_digests(&flow.digests),
        segments: flow.keeps_segments.then(Segments::default),
        pieces: to_hash,
    };
    let hasher = wants_hashes.then(|| spawn("image-hash", move || hashing.run())).transpose()?;
    let copies = wants_hashes.then_some(copies);
    let producer = Producer { name: flow.name, pieces, copies, pool, home, bounds: flow.bounds };
    let fetch = Fetch::new(flow.source, &flow.container_digests, flow.cancel);
    match flow.codec {
        None => {
            spawn("image-fetch", move || producer.run_raw(fetch))?;
        }
        Some(codec) => {
            let (packets, fetched) = mpsc::sync_channel(PACKETS);
            let (spent, spares) = mpsc::channel();
            spawn("image-fetch", move || fetch.run(&packets, &spares))?;
            let packed = Packed::new(fetched, spent);
            spawn("image-unpack", move || producer.run_packed(packed, codec))?;
        }
    }
    Ok((to_write, hasher))
}

/// Writes what comes until it ends; gives back how far it came.
fn write(
    to_write: &Receiver<Produced>,
    medium: &mut (impl Write + Seek),
    size: Option<u64>,
    cancel: &Cancel,
    mut on_written: impl FnMut(u64),
) -> Result<(End, u64)> {
    let mut written = 0;
    loop {
        cancel.check()?;
        match to_write.recv_timeout(GLANCE) {
            Ok(Produced::Piece(piece)) => {
                write_at(medium, piece.offset, piece.bytes()).map_err(|(at, cause)| at_byte(at, size, &cause))?;
                written = piece.offset.saturating_add(widen(piece.bytes().len()));
                on_written(written);
            }
            Ok(Produced::End(end)) => return Ok((end, written)),
            Ok(Produced::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::bug("the thread that unpacks has vanished")),
        }
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(run).context(Kind::Bug, || format!("starting thread {name}"))
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use proptest::prelude::*;

    use super::*;
    use crate::image::fetch::PACKET;
    use crate::image::testing::Choppy;
    use crate::image::unpack;
    use crate::image::unpack::packing::{PACKED, pack};
    use crate::request::Container;
    use crate::units::MaxWindow;

    fn flow(bytes: &[u8], steps: Vec<usize>, container: Container) -> Flow<Choppy> {
        Flow {
            name: "img".to_owned(),
            source: Choppy::new(bytes.to_vec(), steps),
            codec: unpack::codec(container, MaxWindow::default()).unwrap(),
            bounds: Bounds::default(),
            digests: Vec::new(),
            container_digests: Vec::new(),
            keeps_segments: false,
            cancel: Cancel::default(),
        }
    }

    fn failed(flow: Flow<Choppy>, medium: &mut Choppy) -> Error {
        run(flow, medium, |_| ()).unwrap_err()
    }

    #[test]
    fn a_full_or_broken_medium_is_named_with_the_byte_that_it_refused() {
        for (errno, words) in [(Errno::ENOSPC, "No space left on device"), (Errno::EIO, "I/O error")] {
            let bytes = vec![7; 3 * PIECE];
            let mut medium = Choppy::new(Vec::new(), vec![700_000, 0]);
            medium.fault = Some((PIECE + 4096, errno));
            let mut flow = flow(&bytes, vec![PIECE], Container::Raw);
            flow.bounds.size = Some(bytes.len() as u64);
            let error = failed(flow, &mut medium);
            assert_eq!(error.kind(), Kind::Medium);
            assert_eq!(error.to_string(), format!("at byte {} of {}: {words}", PIECE + 4096, bytes.len()));
        }
    }

    #[test]
    fn an_image_that_outgrows_its_bounds_is_stopped_before_them() {
        let bytes = vec![7; 2 * PIECE + 1];
        let packed = pack(&bytes, Container::Gzip);
        let mut medium = Choppy::new(Vec::new(), vec![PIECE]);
        let mut wide = flow(&packed, vec![4096], Container::Gzip);
        wide.bounds.room = Some(((2 * PIECE) as u64, "/dev/sdx".to_owned()));
        let error = failed(wide, &mut medium);
        assert_eq!(error.kind(), Kind::Image);
        assert_eq!(error.to_string(), "img: the image has at least 2097153 bytes, /dev/sdx holds 2097152");
        assert!(medium.bytes.len() <= 2 * PIECE);

        let mut long = flow(&packed, vec![4096], Container::Gzip);
        long.bounds.size = Some((2 * PIECE) as u64);
        let error = failed(long, &mut Choppy::new(Vec::new(), vec![PIECE]));
        assert_eq!(error.to_string(), "img: the image is longer than the 2097152 bytes that it should have");

        let mut short = flow(&packed, vec![4096], Container::Gzip);
        short.bounds.size = Some((3 * PIECE) as u64);
        let error = failed(short, &mut Choppy::new(Vec::new(), vec![PIECE]));
        assert_eq!(error.to_string(), "img: the image has 2097153 bytes and should have 3145728");
    }

    #[test]
    fn packing_inside_packing_and_emptiness_are_no_images() {
        for form in PACKED {
            let inside = |bytes: &[u8]| {
                let packed = flow(&pack(bytes, form), vec![100], form);
                failed(packed, &mut Choppy::new(Vec::new(), Vec::new())).to_string()
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
            let mut medium = Choppy::new(Vec::new(), vec![PIECE]);
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
    fn a_request_to_stop_ends_the_run() {
        let mut stopped = flow(&vec![7; PIECE], vec![4096], Container::Raw);
        stopped.cancel = Cancel::default();
        stopped.cancel.cancel();
        let error = failed(stopped, &mut Choppy::new(Vec::new(), Vec::new()));
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Terminated, "ended by SIGTERM"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn short_and_interrupted_calls_on_both_sides_change_nothing(
            seed in any::<u64>(),
            length in 1usize..(3 * PIECE),
            reads in proptest::collection::vec(prop_oneof![Just(0usize), 1usize..5000, Just(PACKET)], 1..12),
            writes in proptest::collection::vec(prop_oneof![Just(0usize), 4096usize..PIECE], 1..12),
            form in proptest::sample::select(&Container::ALL[..]),
        ) {
            let mut state = seed | 1;
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Half of it compresses, half does not.
                    if state >> 63 == 0 { 0 } else { (state >> 40).to_le_bytes()[0] }
                })
                .collect();
            let published = pack(&bytes, form);
            // A write of one byte at a time would take for ever: at least a block each turn.
            let mut medium = Choppy::new(Vec::new(), [writes, vec![PIECE]].concat());
            let mut whole = flow(&published, [reads, vec![PACKET]].concat(), form);
            let zero = |name: &str, digits| format!("{name}:{}", "0".repeat(digits)).parse().unwrap();
            whole.digests = vec![zero("sha256", 64)];
            whole.container_digests = vec![zero("md5", 32)];
            let flowed = run(whole, &mut medium, |_| ()).unwrap();
            let digest = |of: &[u8], like: &Digest| {
                let mut hashers = Hashers::for_digests(std::slice::from_ref(like));
                hashers.update(of);
                hashers.finish()
            };
            prop_assert!(medium.bytes == bytes, "the medium differs");
            prop_assert_eq!((flowed.fetched, flowed.written), (published.len() as u64, length as u64));
            prop_assert_eq!(flowed.digests, digest(&bytes, &zero("sha256", 64)));
            prop_assert_eq!(flowed.container_digests, digest(&published, &zero("md5", 32)));
        }
    }
}
