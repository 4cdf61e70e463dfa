//! Streams: an image goes from where it lies to the medium, and is proved there.
//!
//! [`write()`] fetches, unpacks, hashes, writes and reads back at the same time (`pipeline`). What makes an image start or
//! mount is written last, when digests and sizes that the request gives are met and the medium has given back what was
//! written; a difference is an error, never a warning.
//! [`probe`] asks beforehand whether an image is there and is what the request says, so that nothing is destroyed for one
//! that is not.

mod apart;
mod archive;
pub mod beside;
mod bmap;
mod bounds;
mod cancel;
mod digest;
mod edition;
mod fetch;
mod form;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod hashed;
mod hashing;
mod http_source;
mod ledger;
mod location;
mod mapped;
mod medium;
mod mirrors;
mod patience;
mod piece;
mod pipeline;
mod portion;
mod producer;
mod proof;
mod published;
mod qcow2;
mod ranged;
mod signature;
mod source;
mod split;
pub mod sums;
mod target;
#[cfg(test)]
mod testing;
mod unpack;
mod writer;
mod writing;
mod zeros;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Client;
use crate::report::{ImageReport, Reporter};
use crate::request::Container;
use crate::units::{Bytes, MaxWindow, widen};

#[cfg(all(test, feature = "master"))]
pub(crate) use archive::making;
pub use archive::{Data, each_file};
pub use cancel::Cancel;
pub use digest::{Algorithm, Digest, contradiction};
pub use form::Form;
pub use location::Location;
pub use signature::{MinisignKey, Signed};
use source::Access;
pub use source::Source;
pub use target::TargetKind;
pub use writing::{Written, write};

use bounds::Bounds;
use form::HEAD;
use qcow2::Qcow2;
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
    /// Where it goes; every target gets the same.
    pub targets: Vec<PathBuf>,
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
    /// A signature over the file as published.
    pub signed: Option<Signed>,
    /// A map of the blocks that matter, of bmaptool.
    pub bmap: Option<Location>,
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
            targets: vec![target.into()],
            target_kind: TargetKind::Device,
            container: None,
            size: None,
            container_size: None,
            digests: Vec::new(),
            container_digests: Vec::new(),
            signed: None,
            bmap: None,
            read_back: true,
            cancel: Cancel::default(),
            patience: PATIENCE,
            max_window: MaxWindow::default(),
        }
    }

    /// Whether a digest or a signature of the image is known.
    #[must_use]
    pub fn has_proof(&self) -> bool {
        !self.digests.is_empty() || !self.container_digests.is_empty() || self.signed.is_some()
    }

    /// How its image is reached.
    fn access<'a>(&'a self, client: &'a Client) -> Access<'a> {
        Access {
            source: &self.source,
            mirrors: &self.mirrors,
            has_digest: self.has_proof(),
            signed: self.signed.as_ref(),
            client,
            cancel: &self.cancel,
            patience: self.patience,
        }
    }
}

impl Job {
    /// The first target, or the only one.
    pub(crate) fn target(&self) -> &Path {
        self.targets.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// The targets, for messages.
    #[must_use]
    pub fn target_names(&self) -> String {
        self.targets.iter().map(|target| target.display().to_string()).collect::<Vec<_>>().join(" and ")
    }
}

/// What is known of an image before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its length as published, where the server tells.
    pub length: Option<u64>,
    /// What it is by its first bytes.
    pub form: Form,
    /// Its length unpacked, where that is known before it is unpacked: of a raw image, where the server tells, and of qcow2.
    pub image_size: Option<u64>,
    head: Vec<u8>,
}

/// What a target holds, and the target's name.
pub type Room = (u64, String);

impl Probe {
    /// Compares an archive of files with what its job says, as [`Probe::check`] does an image.
    ///
    /// # Errors
    /// `Image` with what was expected and what was found.
    pub fn check_archive(&self, job: &Job) -> Result<()> {
        let codec = archive::codec(&self.head, job.container, job.max_window)?;
        check_container_size(self.length, job.container_size)?;
        match self.length {
            Some(length) if codec.is_none() => bounds(job, None).check_exact(length),
            _ => Ok(()),
        }
    }

    /// Compares with what the job says and with what the target will hold, and looks whether the first bytes can be unpacked.
    ///
    /// # Errors
    /// `Image` with what was expected and what was found.
    pub fn check(&self, job: &Job, room: Option<Room>) -> Result<()> {
        unpacking(&self.form, job.container, &self.head, job.max_window)?;
        check_container_size(self.length, job.container_size)?;
        let bounds = bounds(job, room);
        self.image_size.or(bounds.size).map_or(Ok(()), |size| bounds.check_exact(size))
    }

    /// Asks whether the job's block map is there, whole, and for this image; a job without a map is right.
    ///
    /// # Errors
    /// `Image` when it is absent, unreachable, wrong, for another image, or for one that the target will not hold.
    pub fn check_map(&self, job: &Job, room: Option<Room>, client: &Client) -> Result<()> {
        let Some(location) = &job.bmap else { return Ok(()) };
        let map = mapped::read(location, client, &job.cancel)?;
        let mut bounds = bounds(job, room);
        bounds.size = self.image_size.or(bounds.size);
        bounds.check_exact(map.image_size).map_err(|error| error.within(format!("block map {location}")))
    }
}

/// What a job knows of the length of its image.
fn bounds(job: &Job, room: Option<Room>) -> Bounds {
    Bounds { size: job.size.map(Bytes::get), room }
}

/// Asks whether the image of a job is there and what it is, by fetching its first bytes; and whether its signature is there
/// and can be checked with the key.
///
/// # Errors
/// `Image` when either is absent or unreachable, when the image is empty or no signature can be over its form, when the
/// signature was made with another key or has the legacy form; `Terminated` when the run is to end.
pub fn probe(job: &Job, client: &Client) -> Result<Probe> {
    if let Some(signed) = &job.signed {
        signed.probe(client, &job.cancel)?;
    }
    let asked = (job.clone(), client.clone());
    job.cancel.aside(move || {
        let (job, client) = asked;
        probe_image(&job, &client)
    })
}

fn probe_image(job: &Job, client: &Client) -> Result<Probe> {
    let location = &job.source;
    // The signature is over all of the file, of which only the beginning is read now.
    let access = Access { has_digest: false, signed: None, patience: PROBE_PATIENCE, ..job.access(client) };
    let mut source = source::open(&access)?;
    let head = read_head(&mut source)?;
    let form = Form::of(&head);
    if form == Form::Empty {
        return Err(Error::new(Kind::Image, format!("reading {location}: it is empty")));
    }
    let length = source.length();
    let image_size = match form {
        Form::Raw => length,
        Form::Qcow2 => {
            drop(source);
            // Whether the server sends parts, and the header tells of nothing that cannot be read.
            let parts = || ranged::open(&Access { signed: job.signed.as_ref(), ..access });
            let image = Qcow2::open(parts()?, parts()?).map_err(|error| error.within(location.to_string()))?;
            Some(image.size())
        }
        _ => None,
    };
    Ok(Probe { length, form, image_size, head })
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

/// How an image that begins like this is packed, and what unpacks it; nothing for a raw one.
///
/// # Errors
/// `Image`: it is packed in another way than expected, or its first bytes cannot be unpacked to those of an image.
fn unpacking(
    form: &Form,
    expected: Option<Container>,
    head: &[u8],
    max_window: MaxWindow,
) -> Result<(Container, Option<Box<dyn Codec>>)> {
    let fault = |reason: String| Error::new(Kind::Image, reason);
    let container = form.container(expected).map_err(fault)?;
    let codec = || unpack::codec(container, max_window).context(Kind::Bug, || "preparing to unpack");
    if let Some(codec) = codec()? {
        let first = unpack::first_bytes(codec, head).map_err(fault)?;
        if !first.is_empty() {
            producer::check_inside(&first)?;
        }
    }
    Ok((container, codec()?))
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

/// Writes bytes that are in memory to the start of a block device, flushes, reads them back and compares each one.
///
/// # Errors
/// As [`write()`].
pub fn write_bytes(bytes: &[u8], target: &Path, kind: TargetKind) -> Result<()> {
    let doing = |error: Error| error.within(format!("writing {} bytes to {}", bytes.len(), target.display()));
    Target::open(target, kind).and_then(|mut open| open.write_whole(bytes)).map_err(doing)
}
