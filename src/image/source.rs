//! Where bytes come from: a file, or a server (`http_source`).

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};
use crate::http;
use crate::units::widen;

use super::Location;
use super::cancel::Cancel;
use super::http_source::HttpSource;

/// A stream of bytes as they were published, packed or not.
///
/// Its end is the end: what broke off is an error, whatever the transport says. Errors are [`Error`]s of kind `Image` inside
/// [`io::Error`]s.
pub trait Source: Read + Send {
    /// How many bytes it has from the start, where that is known.
    fn length(&self) -> Option<u64>;
}

/// Opens what lies at `location`. A server may be silent for `patience` before it is given up.
pub(super) fn open(
    location: &Location,
    client: &http::Client,
    cancel: &Cancel,
    patience: Duration,
) -> Result<Box<dyn Source>> {
    match location {
        Location::Http(url) => Ok(Box::new(HttpSource::open(client.clone(), url.clone(), cancel.clone(), patience)?)),
        Location::File(path) => Ok(Box::new(FileSource::open(path)?)),
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
