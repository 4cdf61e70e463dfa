//! The second stage: unpacking, and cutting the image into pieces.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::error::{Error, Kind, Result};
use crate::sys::block::AlignedBuffer;
use crate::units::widen;

use super::bounds::Bounds;
use super::fetch::{End, Fetch, Packed, fill};
use super::form::Form;
use super::piece::{PIECE, Piece, Produced};
use super::unpack::{Codec, Unpack};

/// Cuts the image into pieces for the writer and the hasher.
pub(super) struct Producer {
    pub(super) name: String,
    pub(super) pieces: SyncSender<Produced>,
    pub(super) copies: Option<SyncSender<Arc<Piece>>>,
    pub(super) pool: Receiver<AlignedBuffer>,
    pub(super) home: mpsc::Sender<AlignedBuffer>,
    pub(super) bounds: Bounds,
}

impl Producer {
    pub(super) fn run_raw<R: Read>(self, mut fetch: Fetch<R>) {
        let outcome = self.produce(&mut fetch).map(|_| fetch.end());
        self.finish(outcome);
    }

    pub(super) fn run_packed(self, packed: Packed, codec: Box<dyn Codec>) {
        let mut unpacker = Unpacker { name: self.name.clone(), unpack: Unpack::new(packed, codec), produced: 0 };
        let outcome = self.produce(&mut unpacker);
        self.finish(outcome.and_then(|()| unpacker.end()));
    }

    fn finish(self, outcome: Result<End>) {
        let last = match outcome {
            Ok(end) => Produced::End(end),
            Err(error) => Produced::Failed(error),
        };
        // A writer that is gone has failed itself.
        let _gone = self.pieces.send(last);
    }

    /// Reads to the end; returns early, and well, when nobody wants more.
    fn produce(&self, image: &mut impl Read) -> Result<()> {
        let mut offset: u64 = 0;
        while let Ok(mut buffer) = self.pool.recv() {
            let length = fill(image, &mut buffer)?;
            let end = offset.checked_add(widen(length));
            let end: u64 = end.ok_or_else(|| Error::new(Kind::Image, "the image has more than 2^64 bytes"))?;
            self.bounds.check(end).map_err(|error| error.within(self.name.clone()))?;
            if offset == 0 {
                check_inside(&buffer[..length]).map_err(|error| error.within(self.name.clone()))?;
            }
            if length > 0 {
                let piece = Piece { buffer: Some(buffer), length, offset, home: self.home.clone() };
                let piece = Arc::new(piece);
                let is_hashed = self.copies.as_ref().is_none_or(|copies| copies.send(Arc::clone(&piece)).is_ok());
                if !is_hashed || self.pieces.send(Produced::Piece(piece)).is_err() {
                    return Ok(());
                }
            }
            offset = end;
            if length < PIECE {
                return self.bounds.check_exact(offset).map_err(|error| error.within(self.name.clone()));
            }
        }
        Ok(())
    }
}

/// What is unpacked must be an image, not the next packing.
pub(super) fn check_inside(head: &[u8]) -> Result<()> {
    match Form::of(head) {
        Form::Raw => Ok(()),
        Form::Empty => Err(Error::new(Kind::Image, "the image is empty")),
        found => Err(Error::new(Kind::Image, format!("expected an image, found {found} inside"))),
    }
}

/// Unpacks, and says in errors how far it came.
struct Unpacker {
    name: String,
    unpack: Unpack<Packed>,
    produced: u64,
}

impl Unpacker {
    fn end(self) -> Result<End> {
        self.unpack.into_inner().end.ok_or_else(|| Error::bug("unpacking ended before fetching"))
    }
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.unpack.read(buffer) {
            Ok(count) => {
                self.produced = self.produced.saturating_add(widen(count));
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let text = format!("unpacking {}: after {} bytes of the image: {error}", self.name, self.produced);
                Err(io::Error::other(Error::new(Kind::Image, text)))
            }
            Err(error) => Err(error),
        }
    }
}
