//! Archives of a root file system: unpacked to a folder, with everything that a file has, and with no way out of it.
//!
//! GNU tar's forms and POSIX's (`header`, `pax`, `sparse`) are read here: a crate that reads them all there is none, and
//! names and rights are too dear to be taken from two places. The tree is made by `tree`, where the kernel keeps every path
//! below the target. Nothing of an archive is in memory but what the end needs: rights of folders, and 24 bytes a file for
//! the read-back.

mod acl;
mod check;
mod content;
mod entry;
mod header;
#[cfg(test)]
pub(crate) mod making;
mod name;
mod pax;
mod plain;
mod reader;
mod settings;
mod sparse;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_gnu;
mod tree;
mod trouble;

use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use log::{debug, warn};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Client;
use crate::report::{ImageReport, Reporter};
use crate::request::Container;
use crate::units::{Bytes, MaxWindow, widen};

use super::bounds::Bounds;
use super::form::Form;
use super::pipeline::Flowed;
use super::unpack::{self, Codec};
use super::writing::check_digests;
use super::{Job, check_container_size, medium, read_head, source};

pub use plain::{Data, each_file};

use content::Content;
use entry::{Entry, Layout, What};
use header::Part;
use reader::Reader;
use stream::{Flow, Stream};
use tree::Tree;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Reads an archive and makes nothing of it.
#[cfg(fuzzing)]
pub(super) fn read_all(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut buffer = [0; 4096];
    while let Ok(Some(entry)) = reader.next() {
        if let Ok(name) = name::clean(&entry.name) {
            assert!(!name.starts_with(b"/") && !name.split(|&byte| byte == b'/').any(|part| part == b".."));
        }
        while reader.read_data(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// Unpacks an archive to the folder that is the job's target, and proves it there.
///
/// # Errors
/// As [`super::write()`]. What is in the folder then is not proved, which the advice says once something may be there.
pub(super) fn unpack(job: &Job, client: &Client, reporter: &Reporter) -> Result<ImageReport> {
    let began = Instant::now();
    let folder = job.target().display();
    let within = |error: Error| error.within(format!("unpacking {} to {folder}", job.source));
    let mut tree = Tree::open(job.target(), job.read_back).map_err(|trouble| within(trouble.about(b"")))?;
    let done = unpack_and_check(job, client, reporter, &mut tree);
    let (flowed, proved) = done.map_err(|error| {
        let error = within(error);
        if !tree.is_begun() {
            return error;
        }
        let left = format!("what is in {folder} is not proved: do not use it, and empty it before another try");
        let advice = error.advice().map_or_else(|| left.clone(), |advice| format!("{advice}; {left}"));
        error.advise(advice)
    })?;
    Ok(ImageReport {
        source: job.source.to_string(),
        target: folder.to_string(),
        bytes_read: flowed.fetched,
        bytes_written: flowed.written,
        bytes_zeroed: 0,
        seconds: began.elapsed().as_secs_f64(),
        digests: flowed.digests.iter().map(ToString::to_string).collect(),
        proved,
    })
}

fn unpack_and_check(job: &Job, client: &Client, reporter: &Reporter, tree: &mut Tree) -> Result<(Flowed, bool)> {
    let flowed = extract(job, client, reporter, tree)?;
    let proved = check_digests(job, &flowed)?;
    tree.finish().map_err(|(name, trouble)| trouble.about(&name))?;
    tree.flush().context(Kind::Medium, || "flushing the file system")?;
    if let Some(contents) = tree.contents.take() {
        debug!("{}: reading {} bytes back", job.target().display(), flowed.written);
        let on_read = |read| reporter.progress(&job.step, read, Some(flowed.written));
        check::read_back(tree.root(), contents.sorted(), &job.cancel, on_read)?;
    }
    Ok((flowed, proved))
}

/// Opens the source, and compares what can be compared beforehand.
fn open(job: &Job, client: &Client) -> Result<(Stream, Bounds)> {
    let mut bounds = Bounds { size: job.size.map(Bytes::get), room: None };
    let opening = (job.clone(), client.clone());
    let (source, head, codec) = job.cancel.aside(move || {
        let (job, client) = opening;
        let mut source = source::open(&job.access(&client))?;
        check_container_size(source.length(), job.container_size)?;
        let head = read_head(&mut source)?;
        let codec = codec(&head, job.container, job.max_window)?;
        Ok((source, head, codec))
    })?;
    if codec.is_none()
        && let Some(length) = source.length()
    {
        bounds.check_exact(length)?;
        bounds.size = Some(length);
    }
    if !job.has_proof() && codec.is_none() && bounds.size.is_none() {
        warn!("{}: neither its length nor a digest is known", job.source);
    }
    let stream = Stream::start(Flow {
        name: job.source.to_string(),
        source: Cursor::new(head).chain(source),
        codec,
        digests: job.digests.clone(),
        container_digests: job.container_digests.clone(),
        cancel: job.cancel.clone(),
    })?;
    Ok((stream, bounds))
}

/// Makes all entries.
fn extract(job: &Job, client: &Client, reporter: &Reporter, tree: &mut Tree) -> Result<Flowed> {
    let (stream, bounds) = open(job, client)?;
    let mut reader = Reader::new(stream);
    let mut maker = Maker { tree, written: 0, buffer: vec![0; BUFFER], entries: 0 };
    while let Some(entry) = reader.next()? {
        job.cancel.check()?;
        bounds.check(reader.position())?;
        maker.make(&entry, &mut reader, |position| {
            reporter.progress(&job.step, position, bounds.size);
            job.cancel.check()
        })?;
    }
    let (written, entries, position) = (maker.written, maker.entries, reader.position());
    bounds.check_exact(position)?;
    if entries == 0 {
        return Err(Error::new(Kind::Image, "the archive is empty"));
    }
    let ends = reader.into_inner().ends()?;
    Ok(Flowed {
        fetched: ends.fetched,
        length: ends.fetched,
        written,
        digests: ends.digests,
        container_digests: ends.container_digests,
        ..Flowed::default()
    })
}

/// What unpacks an archive that begins so; nothing for a plain one.
///
/// # Errors
/// `Image`: it is no archive, or packed in another way than expected.
pub(super) fn codec(head: &[u8], expected: Option<Container>, max_window: MaxWindow) -> Result<Option<Box<dyn Codec>>> {
    let fault = |reason: String| Error::new(Kind::Image, reason);
    let form = Form::of(head);
    if form == Form::Empty {
        return Err(fault("it is empty".to_owned()));
    }
    if form == Form::Tar || header::is_header(head) {
        return match expected {
            None | Some(Container::Raw) => Ok(None),
            Some(expected) => Err(fault(format!("expected {}, found a tar archive", expected.as_str()))),
        };
    }
    let no_archive = || format!("expected a tar archive, found {form}");
    let container = match (form.container(expected), expected) {
        (Ok(Container::Raw | Container::Qcow2), _) | (Err(_), None | Some(Container::Raw)) => {
            return Err(fault(no_archive()));
        }
        (container, _) => container.map_err(fault)?,
    };
    let codec = || unpack::codec(container, max_window).context(Kind::Bug, || "preparing to unpack");
    if let Some(codec) = codec()? {
        let first = unpack::first_bytes(codec, head).map_err(fault)?;
        // Fewer bytes do not tell yet.
        let is_whole = first.len() >= header::BLOCK;
        if is_whole && !header::is_header(&first) {
            let found = if header::is_zero(&first) { "zeros".to_owned() } else { Form::of(&first).to_string() };
            return Err(fault(format!("expected a tar archive, found {found} inside")));
        }
    }
    codec()
}

/// Makes entries one after the other.
struct Maker<'a> {
    tree: &'a mut Tree,
    written: u64,
    entries: u64,
    buffer: Vec<u8>,
}

impl Maker<'_> {
    fn make<R: Read>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        mut on_read: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        self.entries = self.entries.saturating_add(1);
        match &entry.what {
            What::File(layout) => self.make_file(entry, layout, reader, &mut on_read),
            _ => self.tree.make(entry).map_err(|trouble| trouble.about(&entry.name)),
        }
    }

    fn make_file<R: Read>(
        &mut self,
        entry: &Entry,
        layout: &Layout,
        reader: &mut Reader<R>,
        on_read: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let about = |trouble: trouble::Trouble| trouble.about(&entry.name);
        let plain = [Part { offset: 0, length: entry.data }];
        let (parts, size) = match layout {
            Layout::Plain => (&plain[..], None),
            Layout::Sparse(map) => (map.parts(), Some(map.size)),
            Layout::Leading(_) => return Err(Error::bug("a sparse map was not read")),
        };
        let made = self.tree.make_file(entry).map_err(about)?;
        let mut content = self.tree.contents.is_some().then(Content::new);
        for part in parts {
            let write = |bytes: &[u8], offset: u64| {
                let written = made.file.write_all_at(bytes, offset);
                written.map_err(|cause| refused(entry, &format!("at byte {offset}"), &cause))?;
                if let Some(content) = &mut content {
                    content.add(offset, bytes);
                }
                Ok(())
            };
            self.copy_part(*part, reader, write, on_read)?;
        }
        if let Some(size) = size {
            let set = made.file.set_len(size);
            set.map_err(|cause| refused(entry, &format!("setting its length to {size}"), &cause))?;
        }
        let hash = content.map(|content| content.finish(size.unwrap_or(entry.data)));
        self.tree.complete(entry, made, hash).map_err(about)
    }

    /// Hands the next data of the archive to `write`, a buffer at a time, with where in the file they go.
    fn copy_part<R: Read>(
        &mut self,
        part: Part,
        reader: &mut Reader<R>,
        mut write: impl FnMut(&[u8], u64) -> Result<()>,
        on_read: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let (mut offset, mut left) = (part.offset, part.length);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let bytes = &mut self.buffer[..most];
            reader.read_data(bytes)?;
            write(bytes, offset)?;
            (offset, left) = (offset.saturating_add(widen(most)), left - widen(most));
            self.written = self.written.saturating_add(widen(most));
            on_read(reader.position())?;
        }
        Ok(())
    }
}

/// The medium did not take a file.
fn refused(entry: &Entry, what: &str, cause: &std::io::Error) -> Error {
    let words = medium::medium_words(cause);
    Error::new(Kind::Medium, format!("making {}: {what}: {words}", name::shown(&entry.name)))
}
