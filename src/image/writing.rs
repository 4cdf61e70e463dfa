//! One image onto its targets, from the first byte to the proof.

use std::io::{Cursor, Read as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::report::{DiskState, ImageReport, Reporter};
use crate::request::Container;
use crate::units::Bytes;

use super::bmap::Bmap;
use super::bounds::Bounds;
use super::hashed::Hashed;
use super::mapped::{self, Mask, Parts};
use super::pipeline::{self, Feed, Flow, Flowed, Outlet};
use super::proof::ReadBack;
use super::qcow2::Qcow2;
use super::ranged::{self, Ranged};
use super::source::Access;
use super::target::Target;
use super::{Form, Job, Location, check_container_size, digest, read_head, source, unpacking};

/// How often it is looked whether everything has been read back: rarely enough to cost nothing.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// Threads that read back one target: more would not be faster, and each has a buffer.
const READERS: usize = 4;

/// Threads that unpack: more do not find enough parts on their way.
const UNPACKERS: usize = 8;

/// What writing an image came to.
#[derive(Debug)]
pub struct Written {
    /// For each target what was written, or why nothing counts.
    pub outcome: Result<Vec<ImageReport>>,
    /// In what state all targets are, where they are disks.
    pub state: Option<DiskState>,
}

/// Writes an image to all targets of a job and proves it there.
///
/// Until it is proved the targets hold neither boot code nor partition table nor superblock: the image's first and last MiB
/// are written last. When it fails they hold none either, as [`Written::state`] tells.
///
/// # Errors
/// `Image`: unreachable, truncated, corrupt, another form, size or digest than expected, larger than its target. `Medium`:
/// an error of writing or reading, or other bytes on reading back. `Refused` and `Hardware`: a target is in use, absent, or
/// not a block device. `Terminated`: [`Job::cancel`]. The message names source or target, byte and cause.
pub fn write(job: &Job, client: &Client, reporter: &Reporter) -> Written {
    let began = Instant::now();
    let doing = |error: Error| error.within(format!("writing image to {}", job.target_names()));
    let mut targets = Vec::new();
    let mut state = DiskState::Untouched;
    let outcome =
        open_targets(job, &mut targets).and_then(|()| transfer(job, client, reporter, &mut targets, &mut state));
    match outcome {
        Ok(done) => {
            let seconds = began.elapsed().as_secs_f64();
            Written { outcome: Ok(reports(job, &targets, &done, seconds)), state: Some(DiskState::Complete) }
        }
        Err(error) if state == DiskState::Untouched => {
            targets.iter().for_each(Target::forget);
            Written { outcome: Err(doing(error)), state: Some(state) }
        }
        Err(error) => {
            let left = conceal(&mut targets);
            let state = if left.is_empty() { state } else { DiskState::Unknown };
            let usual = "the target holds neither a partition table nor a file system now; once the cause is mended, \
                         run the same again";
            let first = match error.advice() {
                Some(advice) => Some(advice.to_owned()),
                None => left.is_empty().then(|| usual.to_owned()),
            };
            let advice = first.into_iter().chain(left).collect::<Vec<_>>().join("; ");
            Written { outcome: Err(doing(error.advise(advice))), state: Some(state) }
        }
    }
}

fn open_targets(job: &Job, targets: &mut Vec<Target>) -> Result<()> {
    for path in &job.targets {
        if targets.iter().any(|target: &Target| target.is_same(path)) {
            return Err(Error::new(Kind::Refused, format!("{} is a target twice", path.display())));
        }
        targets.push(Target::open(path, job.target_kind)?);
    }
    Ok(())
}

/// Takes back what makes the targets start; tells of each for which that failed.
fn conceal(targets: &mut [Target]) -> Vec<String> {
    let concealed = targets.iter_mut().map(|target| (target.name(), target.conceal()));
    let told = |(name, outcome): (String, Result<()>)| {
        let second = outcome.err()?;
        warn!("{name}: erasing its ends after the failure: {second}");
        Some(format!("the ends of {name} could not be erased ({second}): it may hold part of the image, and start"))
    };
    concealed.filter_map(told).collect()
}

/// Everything between opening the targets and the reports. `state` tells how far it came.
fn transfer(
    job: &Job,
    client: &Client,
    reporter: &Reporter,
    targets: &mut [Target],
    state: &mut DiskState,
) -> Result<(Flowed, bool)> {
    let map = job.bmap.as_ref().map(|location| mapped::read(location, client, &job.cancel)).transpose()?;
    let map = map.map(Arc::new);
    let bounds = expected(job, targets, map.as_deref())?;
    let opening = (job.clone(), client.clone(), map.clone());
    let flow = job.cancel.aside(move || {
        let (job, client, map) = opening;
        prepare(&job, &client, bounds, map.as_deref())
    })?;
    let total = flow.bounds.size;
    *state = DiskState::NotBootable;
    targets.iter_mut().try_for_each(Target::begin)?;
    let mut outlets = Vec::new();
    for target in targets.iter_mut() {
        let read_back = job.read_back.then(|| read_back(target)).transpose()?;
        let name = (job.targets.len() > 1).then(|| target.name());
        outlets.push(Outlet { name, medium: target, read_back });
    }
    let flowed = pipeline::run(flow, &mut outlets, |written| reporter.progress(&job.step, written, total))?;
    let proved = check_digests(job, &flowed)? || map.is_some_and(|map| map.is_proof());
    let reading: Vec<_> = outlets.into_iter().filter_map(|outlet| Some((outlet.name, outlet.read_back?))).collect();
    if !reading.is_empty() {
        debug!("{}: reading back what is left", job.target_names());
    }
    while !reading.iter().all(|(_, read_back)| read_back.is_done()) {
        job.cancel.check()?;
        thread::sleep(LOOK);
    }
    for (name, read_back) in reading {
        read_back.join().map_err(|error| of_target(error, name.as_deref()))?;
    }
    for (target, body) in targets.iter_mut().zip(&flowed.bodies) {
        let name = (job.targets.len() > 1).then(|| target.name());
        target.reveal(body).map_err(|error| of_target(error, name.as_deref()))?;
    }
    Ok((flowed, proved))
}

/// Which of several targets it was.
pub(super) fn of_target(error: Error, name: Option<&str>) -> Error {
    match name {
        Some(name) => error.within(name.to_owned()),
        None => error,
    }
}

/// An image written over itself is lost.
fn refuse_same(job: &Job, targets: &[Target]) -> Result<()> {
    if let Location::File(path) = &job.source
        && targets.iter().any(|target| target.is_same(path))
    {
        return Err(Error::new(Kind::Refused, format!("{} is the image itself", path.display())));
    }
    Ok(())
}

fn read_back(target: &Target) -> Result<ReadBack> {
    let is_rotational = target.is_rotational();
    // More than one reader would move the heads there and back.
    let workers = if is_rotational { 1 } else { cores().min(READERS) };
    ReadBack::start(target.reader()?, workers, !is_rotational)
}

/// Processors that this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Opens the source and compares what can be compared beforehand.
fn prepare(
    job: &Job,
    client: &Client,
    mut bounds: Bounds,
    map: Option<&Bmap>,
) -> Result<Flow<Box<dyn std::io::Read + Send>>> {
    let from = |error: Error| error.within(job.source.to_string());
    let has_digest = job.has_proof() || map.is_some_and(Bmap::is_proof);
    let access = Access { has_digest, ..job.access(client) };
    let mut source = source::open(&access)?;
    check_container_size(source.length(), job.container_size).map_err(from)?;
    let head = read_head(&mut source)?;
    let (container, codec) = unpacking(&Form::of(&head), job.container, &head, job.max_window).map_err(from)?;
    if codec.is_none()
        && container != Container::Qcow2
        && let Some(length) = source.length()
    {
        bounds.check_exact(length).map_err(from)?;
        bounds.size = Some(length);
    }
    if bounds.size.is_none() && !has_digest && container == Container::Raw {
        warn!("{}: neither its length nor a digest is known: that it is whole cannot be told", job.source);
    }
    let feed = match (codec, container) {
        (None, Container::Qcow2) => {
            let image = open_qcow2(job, client).map_err(from)?;
            bounds.check_exact(image.size()).map_err(from)?;
            bounds.size = Some(image.size());
            Feed::Stretches(Box::new(image))
        }
        (None, _) => match map.map(|map| open_parts(job, &access, map)).transpose()?.flatten() {
            Some(parts) => Feed::Stretches(Box::new(parts)),
            None => Feed::Raw(after_head(head, source)),
        },
        (Some(codec), _) => Feed::Packed { source: after_head(head, source), container, window: job.max_window, codec },
    };
    Ok(Flow {
        name: job.source.to_string(),
        feed,
        bounds,
        mask: map.map(Mask::new),
        digests: job.digests.clone(),
        container_digests: job.container_digests.clone(),
        workers: cores().min(UNPACKERS),
        cancel: job.cancel.clone(),
    })
}

/// What is known of the image's length before anything of it is.
fn expected(job: &Job, targets: &[Target], map: Option<&Bmap>) -> Result<Bounds> {
    refuse_same(job, targets)?;
    let narrowest = targets.iter().filter_map(|target| Some((target.room()?, target.name()))).min();
    let mut bounds = Bounds { size: job.size.map(Bytes::get), room: narrowest };
    if let Some(size) = bounds.size {
        bounds.check_exact(size)?;
    }
    if let (Some(map), Some(location)) = (map, &job.bmap) {
        bounds.check_exact(map.image_size).map_err(|error| error.within(format!("block map {location}")))?;
        bounds.size = Some(map.image_size);
    }
    Ok(bounds)
}

/// The stream with what was looked at in front.
fn after_head(head: Vec<u8>, source: impl std::io::Read + Send + 'static) -> Box<dyn std::io::Read + Send> {
    Box::new(Cursor::new(head).chain(source))
}

/// A raw image of which only what is mapped is read; nothing where all of it has to be.
fn open_parts(job: &Job, access: &Access<'_>, map: &Bmap) -> Result<Option<Parts>> {
    if !job.container_digests.is_empty() || job.signed.is_some() {
        info!("{}: all of it is read, since what proves it is over the whole file", job.source);
        return Ok(None);
    }
    match ranged::open(access) {
        Ok(data) if data.length() == map.image_size => {
            warn_of_doubt(&*data, access);
            Ok(Some(Parts::new(data, map)))
        }
        Ok(data) => {
            let (found, expected) = (data.length(), map.image_size);
            let text = format!("{}: the file has {found} bytes, its block map is for {expected}", job.source);
            Err(Error::new(Kind::Image, text))
        }
        Err(error) if error.kind() == Kind::Image => {
            warn!("{}: all of it is read, not only what its block map names: {error}", job.source);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A qcow2 image, with digests of the whole file where they are expected.
fn open_qcow2(job: &Job, client: &Client) -> Result<Qcow2> {
    if job.bmap.is_some() {
        let words = "a qcow2 image tells itself what holds data: it has no map of blocks (bmap)";
        return Err(Error::new(Kind::Image, words));
    }
    let access = job.access(client);
    let (mut data, tables) = (ranged::open(&access)?, ranged::open(&access)?);
    warn_of_doubt(&*data, &access);
    require_one_edition(&*data, &*tables)?;
    if !job.container_digests.is_empty() {
        let back = ranged::open(&access)?;
        require_one_edition(&*data, &*back)?;
        data = Box::new(Hashed::new(data, back, &job.container_digests));
    }
    Qcow2::open(data, tables)
}

fn require_one_edition(one: &dyn Ranged, other: &dyn Ranged) -> Result<()> {
    match (one.edition(), other.edition()) {
        (Some(one), Some(other)) => one.require_same(&other),
        _ => Ok(()),
    }
}

/// Tells what reading in parts cannot.
fn warn_of_doubt(data: &dyn Ranged, access: &Access<'_>) {
    if let Some(doubt) = data.edition().and_then(|edition| edition.doubt(access.has_digest)) {
        warn!("{doubt}");
    }
}

/// Compares all digests and sizes that are expected; tells whether there were any.
pub(super) fn check_digests(job: &Job, flowed: &Flowed) -> Result<bool> {
    check_container_size(Some(flowed.length), job.container_size)
        .map_err(|error| error.within(job.source.to_string()))?;
    let compared =
        [("the image", &job.digests, &flowed.digests), ("the file", &job.container_digests, &flowed.container_digests)];
    for (what, expected, computed) in compared {
        if let Some(missed) = digest::first_missing(expected, computed) {
            return Err(Error::bug(format!("{}: {missed} of {what} was not computed", job.source)));
        }
        if let Some((wanted, found)) = digest::first_difference(expected, computed) {
            let text = format!("{}: digest of {what} is {found}, expected {wanted}", job.source);
            return Err(Error::new(Kind::Image, text));
        }
    }
    if job.signed.as_ref().is_some_and(|signed| !signed.is_proved()) {
        return Err(Error::bug(format!("the signature of {} was not checked to the end", job.source)));
    }
    let has_size = job.size.is_some() || job.container_size.is_some();
    Ok(has_size || job.has_proof())
}

fn reports(job: &Job, targets: &[Target], (flowed, proved): &(Flowed, bool), seconds: f64) -> Vec<ImageReport> {
    let report = |(target, body): (&Target, &super::writer::Body)| ImageReport {
        source: job.source.to_string(),
        target: target.name(),
        bytes_read: flowed.fetched,
        bytes_written: body.length,
        bytes_zeroed: body.punched,
        seconds,
        digests: flowed.digests.iter().map(ToString::to_string).collect(),
        proved: *proved,
    };
    targets.iter().zip(&flowed.bodies).map(report).collect()
}
