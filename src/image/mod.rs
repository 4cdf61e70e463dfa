//! Streams: an image goes from where it lies to the medium, and is proved there.
//!
//! [`write()`] fetches, unpacks, hashes and writes at the same time (`pipeline`), flushes, and reads the medium back. Digests
//! and sizes that the request gives are compared before the read-back; a difference is an error, never a warning.
//! [`probe`] asks beforehand whether an image is there and is what the request says, so that nothing is destroyed for one
//! that is not.

mod archive;
#[cfg_attr(not(test), allow(dead_code, reason = "the pipeline is its caller"))]
mod bmap;
mod bounds;
mod cancel;
mod digest;
mod fetch;
mod form;
mod hashing;
mod http_source;
mod location;
mod medium;
mod mirrors;
mod patience;
mod piece;
mod pipeline;
#[cfg_attr(not(test), allow(dead_code, reason = "the pipeline is its caller"))]
mod portion;
mod producer;
mod proof;
mod published;
#[cfg_attr(not(test), allow(dead_code, reason = "the pipeline is its caller"))]
mod qcow2;
#[cfg_attr(not(test), allow(dead_code, reason = "the forms that are read in parts are its callers"))]
mod ranged;
mod source;
mod target;
#[cfg(test)]
mod testing;
mod unpack;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Client;
use crate::report::{ImageReport, Reporter};
use crate::request::Container;
use crate::sys::block::AlignedBuffer;
use crate::units::{Bytes, MaxWindow, widen};

pub use cancel::Cancel;
pub use digest::{Algorithm, Digest};
pub use form::Form;
pub use location::Location;
use source::Access;
pub use source::Source;
pub use target::TargetKind;

use bounds::Bounds;
use form::HEAD;
use piece::PIECE;
use pipeline::{Flow, Flowed};
use target::Target;
use unpack::Codec;

/// How long a server may make no progress by default: the time in which one is restarted, with room.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the answers to a probe may take: nothing is destroyed yet, so failing early is better.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Job {
    /// The step that progress is reported for.
    pub step: String,
    /// Where the image lies.
    pub source: Location,
    /// Further servers that publish the same file; each is asked when those before it fail.
    pub mirrors: Vec<Location>,
    /// Where it goes.
    pub target: PathBuf,
    /// What may stand there.
    pub target_kind: TargetKind,
    /// How the image is packed; what is found must be that. Without it what is found counts.
    pub container: Option<Container>,
    /// Its exact size unpacked.
    pub size: Option<Bytes>,
    /// Its exact size as published.
    pub container_size: Option<Bytes>,
    /// Digests of the unpacked image.
    pub digests: Vec<Digest>,
    /// Digests of the file as published.
    pub container_digests: Vec<Digest>,
    /// Whether the medium is read back and compared.
    pub read_back: bool,
    /// Stops the run from outside.
    pub cancel: Cancel,
    /// How long the server may make no progress.
    pub patience: Duration,
    /// How far back a packed image may refer.
    pub max_window: MaxWindow,
}

impl Job {
    /// A job for a block device, with read-back and without expectations.
    #[must_use]
    pub fn new(step: impl Into<String>, source: Location, target: impl Into<PathBuf>) -> Self {
        Self {
            step: step.into(),
            source,
            mirrors: Vec::new(),
            target: target.into(),
            target_kind: TargetKind::Device,
            container: None,
            size: None,
            container_size: None,
            digests: Vec::new(),
            container_digests: Vec::new(),
            read_back: true,
            cancel: Cancel::default(),
            patience: PATIENCE,
            max_window: MaxWindow::default(),
        }
    }

    /// How its image is reached.
    fn access<'a>(&'a self, client: &'a Client) -> Access<'a> {
        Access {
            source: &self.source,
            mirrors: &self.mirrors,
            has_digest: !self.digests.is_empty() || !self.container_digests.is_empty(),
            client,
            cancel: &self.cancel,
            patience: self.patience,
        }
    }
}

/// What is known of an image before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its length as published, where the server tells.
    pub length: Option<u64>,
    /// What it is by its first bytes.
    pub form: Form,
    head: Vec<u8>,
}

impl Probe {
    /// The same for an archive of files.
    ///
    /// # Errors
    /// `Image` with what was expected and what was found.
    pub fn check_archive(
        &self,
        container: Option<Container>,
        container_size: Option<Bytes>,
        max_window: MaxWindow,
    ) -> Result<()> {
        archive::codec(&self.head, container, max_window)?;
        check_container_size(self.length, container_size)
    }

    /// Compares with what the request says, and looks whether the first bytes can be unpacked.
    ///
    /// # Errors
    /// `Image` with what was expected and what was found.
    pub fn check(
        &self,
        container: Option<Container>,
        container_size: Option<Bytes>,
        max_window: MaxWindow,
    ) -> Result<()> {
        codec(&self.form, container, &self.head, max_window)?;
        check_container_size(self.length, container_size)
    }
}

/// Asks whether an image is there and what it is, by fetching its first bytes.
///
/// # Errors
/// `Image` when it is absent, unreachable or empty.
pub fn probe(location: &Location, client: &Client) -> Result<Probe> {
    let cancel = Cancel::default();
    let access =
        Access { source: location, mirrors: &[], has_digest: false, client, cancel: &cancel, patience: PROBE_PATIENCE };
    let mut source = source::open(&access)?;
    let head = read_head(&mut source)?;
    let form = Form::of(&head);
    if form == Form::Empty {
        return Err(Error::new(Kind::Image, format!("reading {location}: it is empty")));
    }
    Ok(Probe { length: source.length(), form, head })
}

/// Unpacks an archive of files (tar, packed or not) to the folder that is the job's target, and proves it there.
///
/// The folder is no more looked at than that it is there; what is in it and has the name of an entry is replaced.
///
/// # Errors
/// As [`write()`]; what is in the folder then is not proved.
pub fn unpack(job: &Job, client: &Client, reporter: &Reporter) -> Result<ImageReport> {
    archive::unpack(job, client, reporter)
}

/// Writes an image and proves it.
///
/// # Errors
/// `Image`: unreachable, truncated, corrupt, another form, size or digest than expected, larger than its target. `Medium`:
/// an error of writing or reading, or other bytes on reading back. `Refused` and `Hardware`: the target is in use, absent,
/// or not a block device. `Terminated`: [`Job::cancel`]. The message names source or target, byte and cause.
pub fn write(job: &Job, client: &Client, reporter: &Reporter) -> Result<ImageReport> {
    let began = Instant::now();
    let doing = |error: Error| error.within(format!("writing image to {}", job.target.display()));
    let mut target = Target::open(&job.target, job.target_kind).map_err(doing)?;
    let flowed = stream(job, client, reporter, &mut target).map_err(doing)?;
    let proved = check_digests(job, &flowed).map_err(doing)?;
    target.flush_medium().map_err(doing)?;
    if job.read_back {
        debug!("{}: reading {} bytes back", job.target.display(), flowed.written);
        let on_read = |position| reporter.progress(&job.step, position, Some(flowed.written));
        target.read_back(&flowed.segments, flowed.written, &job.cancel, on_read).map_err(doing)?;
    }
    Ok(ImageReport {
        source: job.source.to_string(),
        target: job.target.display().to_string(),
        bytes_read: flowed.fetched,
        bytes_written: flowed.written,
        seconds: began.elapsed().as_secs_f64(),
        digests: flowed.digests.iter().map(ToString::to_string).collect(),
        proved,
    })
}

/// Opens the source, compares what can be compared beforehand, and moves the image.
fn stream(job: &Job, client: &Client, reporter: &Reporter, target: &mut Target) -> Result<Flowed> {
    let room = target.room().map(|room| (room, job.target.display().to_string()));
    let mut bounds = Bounds { size: job.size.map(Bytes::get), room };
    if let Some(size) = bounds.size {
        bounds.check_exact(size)?;
    }
    let from = |error: Error| error.within(job.source.to_string());
    let mut source = source::open(&job.access(client))?;
    check_container_size(source.length(), job.container_size).map_err(from)?;
    let head = read_head(&mut source)?;
    let codec = codec(&Form::of(&head), job.container, &head, job.max_window).map_err(from)?;
    if codec.is_none()
        && let Some(length) = source.length()
    {
        bounds.check_exact(length).map_err(from)?;
        bounds.size = Some(length);
    }
    let total = bounds.size;
    if total.is_none() && job.digests.is_empty() && job.container_digests.is_empty() && codec.is_none() {
        warn!("{}: neither its length nor a digest is known: that it is whole cannot be told", job.source);
    }
    target.begin()?;
    let flow = Flow {
        name: job.source.to_string(),
        source: Cursor::new(head).chain(source),
        codec,
        bounds,
        digests: job.digests.clone(),
        container_digests: job.container_digests.clone(),
        keeps_segments: job.read_back,
        cancel: job.cancel.clone(),
    };
    pipeline::run(flow, target, |written| reporter.progress(&job.step, written, total))
}

/// What unpacks an image that begins like this; nothing for a raw one.
///
/// # Errors
/// `Image`: it is packed in another way than expected, or its first bytes cannot be unpacked to those of an image.
fn codec(
    form: &Form,
    expected: Option<Container>,
    head: &[u8],
    max_window: MaxWindow,
) -> Result<Option<Box<dyn Codec>>> {
    let fault = |reason: String| Error::new(Kind::Image, reason);
    let container = form.container(expected).map_err(fault)?;
    let codec = || unpack::codec(container, max_window).context(Kind::Bug, || "preparing to unpack");
    if let Some(codec) = codec()? {
        let first = unpack::first_bytes(codec, head).map_err(fault)?;
        if !first.is_empty() {
            producer::check_inside(&first)?;
        }
    }
    codec()
}

/// The first bytes of a stream, fewer only when it has no more.
fn read_head(source: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    source.take(widen(HEAD)).read_to_end(&mut head).map_err(source::own_error)?;
    Ok(head)
}

fn check_container_size(found: Option<u64>, expected: Option<Bytes>) -> Result<()> {
    match (found, expected.map(Bytes::get)) {
        (Some(found), Some(expected)) if found != expected => {
            Err(Error::new(Kind::Image, format!("the file has {found} bytes and should have {expected}")))
        }
        _ => Ok(()),
    }
}

/// Compares all digests and sizes that are expected; tells whether there were any.
fn check_digests(job: &Job, flowed: &Flowed) -> Result<bool> {
    check_container_size(Some(flowed.fetched), job.container_size)
        .map_err(|error| error.within(job.source.to_string()))?;
    let compared =
        [("the image", &job.digests, &flowed.digests), ("the file", &job.container_digests, &flowed.container_digests)];
    for (what, expected, computed) in compared {
        if let Some((wanted, found)) = digest::first_difference(expected, computed) {
            let text = format!("{}: digest of {what} is {found}, expected {wanted}", job.source);
            return Err(Error::new(Kind::Image, text));
        }
    }
    let has_size = job.size.is_some() || job.container_size.is_some();
    Ok(has_size || !job.digests.is_empty() || !job.container_digests.is_empty())
}

/// Writes bytes that are in memory to the start of a block device, flushes, reads them back and compares each one.
///
/// # Errors
/// As [`write()`].
pub fn write_bytes(bytes: &[u8], target: &Path, kind: TargetKind) -> Result<()> {
    let doing = |error: Error| error.within(format!("writing {} bytes to {}", bytes.len(), target.display()));
    let mut open = Target::open(target, kind).map_err(doing)?;
    write_all(bytes, &mut open).map_err(doing)
}

fn write_all(bytes: &[u8], target: &mut Target) -> Result<()> {
    let length = widen(bytes.len());
    if let Some(room) = target.room().filter(|&room| length > room) {
        return Err(Error::new(Kind::Image, format!("the target holds {room} bytes")));
    }
    target.begin()?;
    let mut buffer = AlignedBuffer::new(PIECE);
    let mut offset: u64 = 0;
    for piece in bytes.chunks(PIECE) {
        buffer[..piece.len()].copy_from_slice(piece);
        medium::write_at(target, offset, &buffer[..piece.len()]).map_err(|(at, cause)| {
            let text = format!("at byte {at} of {length}: {}", medium::medium_words(&cause));
            Error::new(Kind::Medium, text)
        })?;
        offset = offset.saturating_add(widen(piece.len()));
    }
    target.flush_medium()?;
    let found = target.read_exactly(bytes.len())?;
    match found.iter().zip(bytes).position(|(now, then)| now != then) {
        Some(at) => {
            Err(Error::new(Kind::Medium, format!("reading back: byte {at} of {length} is not what was written")))
        }
        None if found.len() < bytes.len() => {
            Err(Error::new(Kind::Medium, format!("reading back: at byte {} of {length}: the medium ends", found.len())))
        }
        None => Ok(()),
    }
}
