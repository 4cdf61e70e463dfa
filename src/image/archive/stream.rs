//! From the source to the bytes of the archive: fetching, hashing and unpacking, on threads of their own.
//!
//! ```text
//! source -> fetch (hash of the file) -> unpack (hash of the archive) -> entries (the caller's thread)
//! ```
//! A plain archive is its file: one thread is enough. Threads are not joined when a run fails, as in `image::pipeline`.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use log::info;

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::cancel::Cancel;
use crate::image::digest::Digest;
use crate::image::fetch::{End, Fetch, PACKETS, Packed};
use crate::image::unpack::{Codec, Unpack};
use crate::units::widen;

/// What flows.
pub(super) struct Flow<R> {
    pub(super) name: String,
    pub(super) source: R,
    pub(super) codec: Option<Box<dyn Codec>>,
    /// Expectations on the archive, and on the file as published.
    pub(super) digests: Vec<Digest>,
    pub(super) container_digests: Vec<Digest>,
    pub(super) cancel: Cancel,
}

/// The archive as it comes.
pub(super) struct Stream {
    archive: Packed,
    /// What fetching came to, where that is another thread's.
    fetched: Option<Receiver<End>>,
}

/// What is known when all was read.
pub(super) struct Ends {
    pub(super) fetched: u64,
    pub(super) digests: Vec<Digest>,
    pub(super) container_digests: Vec<Digest>,
}

impl Stream {
    pub(super) fn start<R: Read + Send + 'static>(flow: Flow<R>) -> Result<Self> {
        let Flow { name, source, codec, digests, container_digests, cancel } = flow;
        let Some(codec) = codec else {
            let both = [digests, container_digests].concat();
            return Ok(Self {
                archive: run("image-fetch", Fetch::new(source, &both, cancel.clone()), cancel)?,
                fetched: None,
            });
        };
        let packed = run("image-fetch", Fetch::new(source, &container_digests, cancel.clone()), cancel.clone())?;
        let (ends, fetched) = mpsc::channel();
        let unpacker = Unpacker { name, unpack: Some(Unpack::new(packed, codec)), produced: 0, ends };
        let archive = run("image-unpack", Fetch::new(unpacker, &digests, cancel.clone()), cancel)?;
        Ok(Self { archive, fetched: Some(fetched) })
    }

    /// What it came to, once the archive was read to its end.
    pub(super) fn ends(self) -> Result<Ends> {
        let early = || Error::bug("an archive ended before its stream");
        let archive = self.archive.end.ok_or_else(early)?;
        Ok(match self.fetched {
            None => {
                Ends { fetched: archive.fetched, container_digests: archive.digests.clone(), digests: archive.digests }
            }
            Some(fetched) => {
                let file = fetched.try_recv().map_err(|_| early())?;
                Ends { fetched: file.fetched, container_digests: file.digests, digests: archive.digests }
            }
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.archive.read(buffer)
    }
}

/// Runs a stage on its own thread; gives what it reads.
fn run<R: Read + Send + 'static>(name: &str, stage: Fetch<R>, cancel: Cancel) -> Result<Packed> {
    let (packets, fetched) = mpsc::sync_channel(PACKETS);
    let (spent, spares) = mpsc::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || stage.run(&packets, &spares));
    started.context(Kind::Bug, || format!("starting thread {name}"))?;
    Ok(Packed::new(fetched, spent, cancel))
}

/// Unpacks, and says in errors how far it came.
struct Unpacker {
    name: String,
    unpack: Option<Unpack<Packed>>,
    produced: u64,
    ends: mpsc::Sender<End>,
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(unpack) = &mut self.unpack else { return Ok(0) };
        let read = unpack.read(buffer);
        if let Some(why) = unpack.why_one_thread() {
            info!("{}: unpacked by one thread: {why}", self.name);
        }
        match read {
            Ok(0) if !buffer.is_empty() => {
                let end = self.unpack.take().and_then(|unpack| unpack.into_inner().end);
                let end = end.ok_or_else(|| io::Error::other(Error::bug("unpacking ended before fetching")))?;
                // Without somebody who waits for it the run is over.
                let _over = self.ends.send(end);
                Ok(0)
            }
            Ok(count) => {
                self.produced = self.produced.saturating_add(widen(count));
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let text = format!("unpacking {}: after {} bytes of the archive: {error}", self.name, self.produced);
                Err(io::Error::other(Error::new(Kind::Image, text)))
            }
            Err(error) => Err(error),
        }
    }
}
