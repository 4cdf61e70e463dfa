//! Fetching, unpacking, hashing and writing at the same time, over bounded queues.
//!
//! ```text
//! source -> fetch (hash of what is fetched) -> unpack, on several threads where it can be -+-> write, a thread a target
//!                                                                                          |      -> read back
//!                                                                                          +-> hash (digests of the image)
//! ```
//! A raw image needs no unpacking: its bytes are fetched into the buffers that are written. At most 64 MiB of
//! decoded data exist ([`Pool`]), however large the image is; beside them [`PACKETS`] of half a MiB, for each portion that is being
//! unpacked what it is made of, and what the codec keeps to refer back to.
//!
//! The threads before the writers are not joined when a run fails: a reader that waits for a silent server must not hold
//! up the error, or a signal. They end by themselves when their queue is gone, and touch nothing but the source.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use crate::error::{Context as _, Error, Kind, Result};
use crate::request::Container;
use crate::units::MaxWindow;

use super::bounds::Bounds;
use super::cancel::{Cancel, GLANCE};
use super::digest::{Digest, Hashers};
use super::fetch::{End, Fetch, PACKETS, Packed};
use super::hashing;
use super::mapped::Mask;
use super::medium::Medium;
use super::piece::{PIECE, PIECES, Piece, Pool};
use super::portion::{Line, Stretches};
use super::producer::Producer;
use super::proof::ReadBack;
use super::split::Splitter;
use super::unpack::Codec;
use super::writer::{Body, Writer};
use super::writing::of_target;

/// What flows, and what bounds it.
pub(super) struct Flow<R> {
    /// The source's name, for messages.
    pub(super) name: String,
    pub(super) feed: Feed<R>,
    pub(super) bounds: Bounds,
    /// What of the image matters; all of it without.
    pub(super) mask: Option<Mask>,
    /// Expectations on the image; each algorithm among them is computed.
    pub(super) digests: Vec<Digest>,
    /// Expectations on what is fetched.
    pub(super) container_digests: Vec<Digest>,
    /// Threads that may unpack.
    pub(super) workers: usize,
    pub(super) cancel: Cancel,
}

/// Where the image comes from.
pub(super) enum Feed<R> {
    /// The bytes as published are the image.
    Raw(R),
    /// The bytes as published, and what unpacks them.
    Packed { source: R, container: Container, window: MaxWindow, codec: Box<dyn Codec> },
    /// Something that gives out its parts.
    Stretches(Box<dyn Stretches>),
}

/// A target of the image.
pub(super) struct Outlet<'m, M> {
    /// Where there are several: which it is.
    pub(super) name: Option<String>,
    pub(super) medium: &'m mut M,
    /// What reads back what was written, where it is read back.
    pub(super) read_back: Option<ReadBack>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Flowed {
    /// Bytes that were read of the file.
    pub(super) fetched: u64,
    /// Bytes that the file has.
    pub(super) length: u64,
    /// Bytes of the image.
    pub(super) written: u64,
    pub(super) digests: Vec<Digest>,
    pub(super) container_digests: Vec<Digest>,
    /// For each target what is on it.
    pub(super) bodies: Vec<Body>,
}

/// Moves the whole image to all outlets, but for what is withheld. `on_written` gets every position that all have reached.
///
/// # Errors
/// `Image` for what the source or its content does wrong, `Medium` for what writing does; both name the byte.
pub(super) fn run<R: Read + Send + 'static, M: Medium>(
    mut flow: Flow<R>,
    outlets: &mut [Outlet<'_, M>],
    mut on_written: impl FnMut(u64),
) -> Result<Flowed> {
    let (cancel, size) = (flow.cancel.clone(), flow.bounds.size);
    // Then the file is the image: it is hashed beside fetching, on the thread that has nothing else to do.
    let is_file = matches!(flow.feed, Feed::Raw(_)) && flow.mask.is_none();
    let of_image = flow.digests.clone();
    let of_file = if is_file { std::mem::take(&mut flow.container_digests) } else { Vec::new() };
    flow.digests.extend_from_slice(&of_file);
    let stop = Arc::new(AtomicBool::new(false));
    let (events, happened) = mpsc::channel();
    let positions: Vec<AtomicU64> = outlets.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let mut takers = Vec::new();
        for (number, (outlet, position)) in outlets.iter_mut().zip(&positions).enumerate() {
            let (pieces, to_write) = mpsc::sync_channel(PIECES);
            takers.push(pieces);
            let (events, stop) = (events.clone(), &stop);
            let run = move || {
                let outcome = write(&to_write, outlet, size, stop, position);
                let outcome = outcome.map_err(|error| of_target(error, outlet.name.as_deref()));
                // Whoever does not listen any more has an error already.
                let _over = events.send(Event::Written(number, outcome));
            };
            let thread = thread::Builder::new().name("image-write".to_owned()).spawn_scoped(scope, run);
            thread.context(Kind::Bug, || "starting thread image-write")?;
        }
        let outcome = start(flow, takers, &stop, events)
            .and_then(|hasher| follow(&happened, hasher, &positions, &cancel, &mut on_written));
        stop.store(outcome.is_err(), Ordering::Relaxed);
        let mut flowed = outcome?;
        if is_file {
            let computed = std::mem::take(&mut flowed.digests);
            let like = |expected: &[Digest]| {
                let is_expected = |it: &&Digest| expected.iter().any(|digest| digest.algorithm() == it.algorithm());
                computed.iter().filter(is_expected).cloned().collect()
            };
            (flowed.digests, flowed.container_digests) = (like(&of_image), like(&of_file));
        }
        Ok(flowed)
    })
}

/// What the threads tell.
enum Event {
    /// The image has been made; nothing when the writers did not want all of it.
    Made(Result<Option<End>>),
    /// A writer has ended; nothing when the image ended early.
    Written(usize, Result<Option<Body>>),
}

/// Waits until everything has ended, or something went wrong.
fn follow(
    happened: &Receiver<Event>,
    hasher: Option<JoinHandle<Vec<Digest>>>,
    positions: &[AtomicU64],
    cancel: &Cancel,
    on_written: &mut impl FnMut(u64),
) -> Result<Flowed> {
    let mut bodies: Vec<Option<Body>> = positions.iter().map(|_| None).collect();
    let mut end = None;
    while end.is_none() || bodies.iter().any(Option::is_none) {
        cancel.check()?;
        match happened.recv_timeout(GLANCE) {
            Ok(Event::Made(made)) => end = made?.or(end),
            Ok(Event::Written(number, body)) => bodies[number] = body?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::bug("the threads that move the image have vanished"));
            }
        }
        on_written(positions.iter().map(|position| position.load(Ordering::Relaxed)).min().unwrap_or_default());
    }
    let digests = match hasher {
        Some(hasher) => {
            while !hasher.is_finished() {
                cancel.check()?;
                thread::sleep(super::writing::LOOK);
            }
            hasher.join().map_err(|_| Error::bug("the thread that hashes has panicked"))?
        }
        None => Vec::new(),
    };
    let End { fetched, length, digests: container_digests } = end.unwrap_or_default();
    let bodies: Vec<Body> = bodies.into_iter().flatten().collect();
    let written = bodies.first().map_or(0, |body| body.length);
    Ok(Flowed { fetched, length, written, digests, container_digests, bodies })
}

/// Starts all threads before the writers; gives back the one that hashes.
fn start<R: Read + Send + 'static>(
    flow: Flow<R>,
    mut takers: Vec<SyncSender<Arc<Piece>>>,
    stop: &Arc<AtomicBool>,
    events: Sender<Event>,
) -> Result<Option<JoinHandle<Vec<Digest>>>> {
    let mut hasher = None;
    if !flow.digests.is_empty() {
        let (copies, to_hash) = mpsc::sync_channel(PIECES);
        let hashers = Hashers::for_digests(&flow.digests);
        hasher = Some(spawn("image-hash", move || hashing::run(hashers, &to_hash))?);
        takers.push(copies);
    }
    let (name, bounds, workers) = (flow.name, flow.bounds, flow.workers);
    let producer = Producer::new(name, takers, Pool::new(PIECE, Arc::clone(stop)), bounds, flow.mask);
    // Whoever does not listen any more has an error already.
    let tell = move |made| drop(events.send(Event::Made(made)));
    match flow.feed {
        Feed::Raw(source) => {
            let fetch = Fetch::new(source, &flow.container_digests, flow.cancel);
            spawn("image-fetch", move || tell(producer.run_raw(fetch)))?;
        }
        Feed::Packed { source, container, window, codec } => {
            let fetch = Fetch::new(source, &flow.container_digests, flow.cancel.clone());
            let (packets, fetched) = mpsc::sync_channel(PACKETS);
            let (spent, spares) = mpsc::channel();
            spawn("image-fetch", move || fetch.run(&packets, &spares))?;
            let packed = Packed::new(fetched, spent, flow.cancel);
            match Splitter::new(container, window).filter(|_| workers > 1) {
                Some(splitter) => {
                    let line = Line::new(workers)?;
                    spawn("image-unpack", move || tell(producer.run_split(packed, splitter, line, codec)))?;
                }
                None => {
                    spawn("image-unpack", move || tell(producer.run_packed(packed, codec)))?;
                }
            }
        }
        Feed::Stretches(image) => {
            let line = Line::new(workers)?;
            spawn("image-unpack", move || tell(producer.run_stretches(image, line)))?;
        }
    }
    Ok(hasher)
}

/// Writes what comes until it ends.
fn write<M: Medium>(
    to_write: &Receiver<Arc<Piece>>,
    outlet: &mut Outlet<'_, M>,
    size: Option<u64>,
    stop: &AtomicBool,
    position: &AtomicU64,
) -> Result<Option<Body>> {
    let mut writer = Writer::new(outlet.medium, size, outlet.read_back.is_some());
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match to_write.recv_timeout(GLANCE) {
            Ok(piece) => {
                writer.put(piece)?;
                position.store(writer.position(), Ordering::Relaxed);
                if let Some(read_back) = &outlet.read_back {
                    writer.settled().try_for_each(|segment| read_back.add(segment))?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // The image has ended, or whoever makes it has failed and says so; then what is written here does not matter.
    let mut settled = Vec::new();
    let body = writer.finish(|segment| settled.push(segment))?;
    if let Some(read_back) = &outlet.read_back {
        settled.into_iter().try_for_each(|segment| read_back.add(segment))?;
        read_back.close();
    }
    Ok(Some(body))
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(run).context(Kind::Bug, || format!("starting thread {name}"))
}

#[cfg(test)]
mod tests;
