//! Bytes at any place of an image, for forms that are not read from their start to their end.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::http;
use crate::units::widen;

use super::cancel::Cancel;
use super::digest::Digest;
use super::edition::Edition;
use super::mirrors::{Mirrors, Progress};
use super::published::{Answer, Body, Failure};
use super::source::{Access, FileSource, Place};

/// How much is read and thrown away to stay on a connection. A new one costs a round trip or two, TLS another, and restarts
/// the window of TCP: at 1 Gbit/s and 10 ms that is about as much.
const WORTH_SKIPPING: u64 = 1 << 20;

/// Bytes that are thrown away at once.
const SKIP: usize = 64 << 10;

/// Bytes at any place of something published.
///
/// It may stay open while it is read in order: a read that goes on where the last one ended, or a little further, uses the
/// same connection.
pub(super) trait Ranged: Send {
    /// All bytes there are.
    fn length(&self) -> u64;

    /// Fills the buffer with the bytes from `offset` on.
    ///
    /// # Errors
    /// `Image` when there are fewer, when they cannot be had, or when the file has changed meanwhile.
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Bytes that were read of it, each as often as it was.
    fn fetched(&self) -> u64;

    /// What a server says of it.
    fn edition(&self) -> Option<Edition> {
        None
    }

    /// Digests of all bytes there are, where they are computed; what nobody asked for until then is read for them.
    ///
    /// # Errors
    /// As of reading.
    fn finish(&mut self) -> Result<Vec<Digest>> {
        Ok(Vec::new())
    }
}

/// Opens an image for reading at any place.
///
/// # Errors
/// `Image` when it is absent or unreachable, when the server does not send parts of files, or when a signature over the whole
/// file is to be checked.
pub(super) fn open(access: &Access<'_>) -> Result<Box<dyn Ranged>> {
    if let Some(signed) = access.signed {
        let words = format!(
            "signature {}: it is over the whole file, and images of this form are read in parts",
            signed.signature
        );
        return Err(
            Error::new(Kind::Image, words).advise("sign a list of checksums that has a digest of the unpacked image")
        );
    }
    Ok(match access.place()? {
        Place::Servers(urls) => Box::new(HttpRanged::open(&urls, access)?),
        Place::File(path) => Box::new(FileRanged::open(&path)?),
    })
}

/// Refuses what lies beyond the end.
fn check_end(offset: u64, wanted: usize, length: u64) -> std::result::Result<(), String> {
    match offset.checked_add(widen(wanted)) {
        Some(end) if end <= length => Ok(()),
        _ => Err(format!("{wanted} bytes are wanted from byte {offset} on, and there are {length} in all")),
    }
}

/// A file or device of this machine.
struct FileRanged {
    file: File,
    length: u64,
    fetched: u64,
    name: String,
}

impl FileRanged {
    fn open(path: &Path) -> Result<Self> {
        let (file, length, name) = FileSource::open(path)?.into_parts();
        Ok(Self { file, length, fetched: 0, name })
    }
}

impl Ranged for FileRanged {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = |error: String| Error::new(Kind::Image, format!("reading {}: {error}", self.name));
        check_end(offset, buffer.len(), self.length).map_err(read)?;
        self.file.read_exact_at(buffer, offset).map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the file has become shorter".to_owned(),
                _ => error.to_string(),
            };
            read(format!("at byte {offset} of {}: {cause}", self.length))
        })?;
        self.fetched = self.fetched.saturating_add(widen(buffer.len()));
        Ok(())
    }

    fn fetched(&self) -> u64 {
        self.fetched
    }
}

/// A file on servers.
struct HttpRanged {
    mirrors: Mirrors,
    cancel: Cancel,
    length: u64,
    /// Sends the bytes from the position on.
    body: Option<Body>,
    progress: Progress,
    scratch: Vec<u8>,
}

impl HttpRanged {
    fn open(urls: &[http::Url], access: &Access<'_>) -> Result<Self> {
        let mut mirrors = Mirrors::new(access.client, urls, access.cancel.clone(), access.patience)?;
        let progress = Progress::default();
        let (length, body) = loop {
            let opened = mirrors.current_mut().ask(Some(0)).and_then(first_part);
            match opened.and_then(|body| known_length(&mirrors).map(|length| (length, body))) {
                Ok(opened) => break opened,
                Err(failure) => mirrors.failed(failure, progress)?,
            }
        };
        mirrors.answered(access.patience);
        if !access.has_digest {
            // Nothing would tell if the bytes of another server were those of another image.
            mirrors.settle();
        }
        Ok(Self { mirrors, cancel: access.cancel.clone(), length, body, progress, scratch: Vec::new() })
    }

    /// Asks for the bytes from the position on.
    fn reopen(&mut self) -> std::result::Result<Body, Failure> {
        let answer = self.mirrors.current_mut().ask(Some(self.progress.position))?;
        let body = first_part(answer)?;
        match known_length(&self.mirrors)? {
            length if length != self.length => {
                let other = format!("the image there is another one: it has {length} bytes, not {}", self.length);
                Err(Failure::Lasting(other))
            }
            _ => body.ok_or_else(|| Failure::Lasting("the server has no bytes from there on".to_owned())),
        }
    }

    /// Makes `offset` the position, on the open connection where it is near.
    fn seek(&mut self, offset: u64) {
        let ahead = offset.checked_sub(self.progress.position).filter(|&ahead| ahead <= WORTH_SKIPPING);
        let is_reached = ahead.is_some_and(|ahead| self.skip(ahead));
        if !is_reached {
            self.body = None;
            self.progress.position = offset;
        }
    }

    /// Whether so many bytes could be thrown away; why not is told by who reads on.
    fn skip(&mut self, mut left: u64) -> bool {
        let Some(body) = &mut self.body else { return false };
        if left > 0 {
            self.scratch.resize(SKIP, 0);
        }
        while left > 0 {
            let most = usize::try_from(left).map_or(SKIP, |left| left.min(SKIP));
            let began = Instant::now();
            let outcome = body.reader.read(&mut self.scratch[..most]);
            self.mirrors.has_waited(began.elapsed(), self.progress.received);
            if self.cancel.check().is_err() || self.mirrors.is_slow(self.progress.received) {
                return false;
            }
            match outcome {
                Ok(count) if count > 0 => {
                    self.progress.advance(count);
                    left = left.saturating_sub(widen(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            self.cancel.check()?;
            if self.mirrors.is_left_as_slow(self.progress)? {
                self.body = None;
            }
            let Some(body) = &mut self.body else {
                match self.reopen() {
                    Ok(body) => self.body = Some(body),
                    Err(failure) => self.mirrors.failed(failure, self.progress)?,
                }
                continue;
            };
            let began = Instant::now();
            let outcome = body.reader.read(buffer);
            self.mirrors.has_waited(began.elapsed(), self.progress.received);
            let failure = match outcome {
                Ok(0) => Failure::Passing("the connection ended early".to_owned()),
                Ok(count) => {
                    self.progress.advance(count);
                    buffer = &mut buffer[count..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Failure::of(&http::read_error(error)),
            };
            self.body = None;
            self.mirrors.failed(failure, self.progress)?;
        }
        Ok(())
    }
}

/// The part that was asked for; nothing when the file ends before it.
fn first_part(answer: Answer) -> std::result::Result<Option<Body>, Failure> {
    match answer {
        Answer::Rest(body) => Ok(Some(body)),
        Answer::End => Ok(None),
        Answer::Whole(_) => Err(Failure::Lasting(
            "images of this form are read in parts, and the server sends only the whole file: it ignores Range"
                .to_owned(),
        )),
    }
}

fn known_length(mirrors: &Mirrors) -> std::result::Result<u64, Failure> {
    mirrors.current().length().ok_or_else(|| {
        Failure::Lasting(
            "images of this form are read in parts, and the server does not tell how long the file is".to_owned(),
        )
    })
}

impl Ranged for HttpRanged {
    fn length(&self) -> u64 {
        self.length
    }

    /// What was read over as well.
    fn fetched(&self) -> u64 {
        self.progress.received
    }

    fn edition(&self) -> Option<Edition> {
        Some(self.mirrors.current().edition())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        check_end(offset, buffer.len(), self.length)
            .map_err(|reason| Error::new(Kind::Image, format!("reading {}: {reason}", self.mirrors.current().url())))?;
        if buffer.is_empty() {
            return Ok(());
        }
        self.seek(offset);
        self.fill(buffer)
    }
}

#[cfg(test)]
mod tests;
