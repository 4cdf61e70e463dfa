//! Where bytes come from: a file, or a server (`http_source`).

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};
use crate::http;
use crate::units::widen;

use super::Location;
use super::cancel::Cancel;
use super::http_source::HttpSource;
use super::signature::Signed;

/// A stream of bytes as they were published, packed or not.
///
/// Its end is the end: what broke off is an error, whatever the transport says. Errors are [`Error`]s of kind `Image` inside
/// [`io::Error`]s.
pub trait Source: Read + Send {
    /// How many bytes it has from the start, where that is known.
    fn length(&self) -> Option<u64>;
}

/// How an image is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) source: &'a Location,
    /// Further servers that publish the same bytes.
    pub(super) mirrors: &'a [Location],
    /// Whether a digest will tell of bytes that are not those expected.
    pub(super) has_digest: bool,
    /// A signature over the file as published.
    pub(super) signed: Option<&'a Signed>,
    pub(super) client: &'a http::Client,
    pub(super) cancel: &'a Cancel,
    /// How long the servers may make no progress before the image is given up.
    pub(super) patience: Duration,
}

/// What an image is read from.
pub(super) enum Place {
    File(PathBuf),
    Servers(Vec<http::Url>),
}

impl Access<'_> {
    /// # Errors
    /// `Image` when a mirror is no server, or stands beside a file.
    pub(super) fn place(&self) -> Result<Place> {
        let first = match self.source {
            Location::Http(url) => url,
            Location::File(path) if self.mirrors.is_empty() => return Ok(Place::File(path.clone())),
            Location::File(path) => {
                let words = format!("reading {}: an image in a file has no mirrors", path.display());
                return Err(Error::new(Kind::Image, words));
            }
        };
        let mut urls = vec![first.clone()];
        for mirror in self.mirrors {
            match mirror {
                Location::Http(url) => urls.push(url.clone()),
                Location::File(path) => {
                    let words = format!("mirror {}: expected an http or https address", path.display());
                    return Err(Error::new(Kind::Image, words));
                }
            }
        }
        Ok(Place::Servers(urls))
    }
}

/// Opens an image as a stream.
pub(super) fn open(access: &Access<'_>) -> Result<Box<dyn Source>> {
    let source: Box<dyn Source> = match access.place()? {
        Place::Servers(urls) => Box::new(HttpSource::open(&urls, access)?),
        Place::File(path) => Box::new(FileSource::open(&path)?),
    };
    match access.signed {
        Some(signed) => signed.around(source, access.client, access.cancel),
        None => Ok(source),
    }
}

/// An image in a file or on a device of this machine.
pub(super) struct FileSource {
    file: File,
    length: u64,
    position: u64,
    name: String,
}

impl FileSource {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let reading = || format!("reading {name}");
        let mut file = File::open(path).context(Kind::Image, reading)?;
        let metadata = file.metadata().context(Kind::Image, reading)?;
        if metadata.is_dir() {
            return Err(Error::new(Kind::Image, format!("reading {name}: it is a folder")));
        }
        // Block devices have no length in their metadata, so that both are asked the same way.
        let length = file.seek(SeekFrom::End(0)).context(Kind::Image, reading)?;
        file.seek(SeekFrom::Start(0)).context(Kind::Image, reading)?;
        Ok(Self { file, length, position: 0, name })
    }

    /// The file, its length, and what it is called in messages.
    pub(super) fn into_parts(self) -> (File, u64, String) {
        (self.file, self.length, self.name)
    }
}

impl Source for FileSource {
    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}

impl Read for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fault = |position: u64, reason: String| {
            let at = format!("reading {}: at byte {position} of {}: {reason}", self.name, self.length);
            io::Error::other(Error::new(Kind::Image, at))
        };
        match self.file.read(buffer) {
            Ok(0) if self.position < self.length && !buffer.is_empty() => {
                Err(fault(self.position, "the file has become shorter".to_owned()))
            }
            Ok(count) => {
                self.position = self.position.saturating_add(widen(count));
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(fault(self.position, error.to_string())),
        }
    }
}

/// The agent's own error inside an error of reading; any other error becomes one.
pub(super) fn own_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(foreign) => Error::caused(Kind::Image, "reading the image", foreign),
    }
}
