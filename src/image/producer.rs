//! The stage that makes the image: unpacking, and cutting into pieces for the writers and the hasher.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use log::info;

use crate::error::{Error, Kind, Result};
use crate::units::widen;

use super::bounds::Bounds;
use super::fetch::{End, Fetch, Packed, fill};
use super::form::{Form, HEAD};
use super::mapped::Mask;
use super::piece::{GRAIN, PIECE, Piece, Pool, SHORTEST_HOLE, Slab};
use super::portion::{Done, Finished, LARGEST_STRETCH, Line, Stretch, Stretches};
use super::source::own_error;
use super::split::{Next, Rewound, Splitter};
use super::unpack::{Codec, Unpack};

/// Buffers that are not for portions: one that is filled up, the one that it is filled from, the next to be filled up, and what
/// the writers hold since it may belong to the image's last MiB. Pieces have [`PIECE`] and more, so that is one.
const RESERVE: usize = 4;

/// The same for stretches, of which a piece also ends where a hole of [`SHORTEST_HOLE`] begins: of pieces of a grain each with
/// such a hole behind the writers hold four.
const RESERVE_OF_STRETCHES: usize = 7;

/// Cuts the image into pieces for the writers and the hasher.
pub(super) struct Producer {
    pub(super) name: String,
    /// Who gets each piece.
    pub(super) takers: Vec<SyncSender<Arc<Piece>>>,
    pub(super) pool: Pool,
    pub(super) bounds: Bounds,
    mask: Option<Mask>,
    cut: Cut,
}

/// What is cut and not sent yet.
#[derive(Default)]
struct Cut {
    /// Where the next piece begins.
    offset: u64,
    /// A piece whose end is no whole grain, to be filled up.
    carry: Option<(Slab, usize)>,
}

/// The end of a run that nobody wants any more: another thread has failed, and says why.
enum Stop {
    Unwanted,
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

type Outcome<T = ()> = std::result::Result<T, Stop>;

impl Producer {
    pub(super) fn new(
        name: String,
        takers: Vec<SyncSender<Arc<Piece>>>,
        pool: Pool,
        bounds: Bounds,
        mask: Option<Mask>,
    ) -> Self {
        Self { name, takers, pool, bounds, mask, cut: Cut::default() }
    }

    /// A raw image: what is fetched is the image.
    pub(super) fn run_raw<R: Read>(mut self, mut fetch: Fetch<R>) -> Result<Option<End>> {
        let outcome = self.copy(&mut fetch);
        self.finish(outcome, || Ok(fetch.end()))
    }

    /// A packed image, in order.
    pub(super) fn run_packed(mut self, packed: Packed, codec: Box<dyn Codec>) -> Result<Option<End>> {
        let unpack = Unpack::new(Rewound::new([], packed), codec);
        let mut unpacker = Unpacker { name: self.name.clone(), unpack, produced: 0 };
        let outcome = self.copy(&mut unpacker);
        self.finish(outcome, || unpacker.end())
    }

    /// A packed image, in parts side by side as long as the splitter finds some.
    pub(super) fn run_split(
        mut self,
        mut packed: Packed,
        mut splitter: Splitter,
        mut line: Line,
        codec: Box<dyn Codec>,
    ) -> Result<Option<End>> {
        let mut failed = Vec::new();
        let split = self.take_portions(&mut packed, &mut splitter, &mut line, &mut failed);
        let front = match split {
            Ok(None) => return self.finish(Ok(()), || Unpacker::ended(packed)),
            Ok(Some(front)) => [front, splitter.into_ahead()].concat(),
            Err(stop) => return self.finish(Err(stop), || Err(Error::bug("a run that was stopped went on"))),
        };
        let has_members = self.position() > 0;
        let again = failed.into_iter().chain([front]);
        let unpack = Unpack::going_on(Rewound::new(again, packed), codec, has_members);
        let mut unpacker = Unpacker { name: self.name.clone(), unpack, produced: self.position() };
        let outcome = self.copy(&mut unpacker);
        self.finish(outcome, || unpacker.end())
    }

    /// An image that tells where its parts are.
    pub(super) fn run_stretches(mut self, mut image: Box<dyn Stretches>, mut line: Line) -> Result<Option<End>> {
        self.pool.resize(LARGEST_STRETCH);
        let outcome = self.take_stretches(&mut *image, &mut line);
        self.finish(outcome, || image.end())
    }

    /// Hands over what is left, and tells how the source ended; nothing when nobody wanted to know.
    fn finish(mut self, outcome: Outcome, end: impl FnOnce() -> Result<End>) -> Result<Option<End>> {
        match outcome.and_then(|()| self.flush()) {
            Ok(()) => {
                let within = |error: Error| error.within(self.name.clone());
                if self.cut.offset == 0 {
                    check_inside(&[]).map_err(within)?;
                }
                self.bounds.check_exact(self.cut.offset).map_err(within)?;
                self.mask.as_ref().map_or(Ok(()), Mask::finish)?;
                end().map(Some)
            }
            Err(Stop::Unwanted) => Ok(None),
            Err(Stop::Fault(error)) => Err(error),
        }
    }

    /// How much of the image was made.
    fn position(&self) -> u64 {
        let carried = self.cut.carry.as_ref().map_or(0, |(_, length)| widen(*length));
        self.cut.offset.saturating_add(carried)
    }

    /// Reads the image to its end.
    fn copy(&mut self, image: &mut impl Read) -> Outcome {
        loop {
            let mut slab = self.pool.take().ok_or(Stop::Unwanted)?;
            let size = slab.bytes().len();
            let length = fill(image, slab.bytes_mut())?;
            self.put(slab, length)?;
            if length < size {
                return Ok(());
            }
        }
    }

    /// Takes portions until the stream ends (nothing), or goes on in order (with the bytes that were looked at). Portions
    /// that could not be unpacked, and all after them, are in `failed`.
    fn take_portions(
        &mut self,
        packed: &mut impl BufRead,
        splitter: &mut Splitter,
        line: &mut Line,
        failed: &mut Vec<Vec<u8>>,
    ) -> Outcome<Option<Vec<u8>>> {
        let front = loop {
            match splitter.next(packed).map_err(own_error)? {
                Next::Portion(portion) => {
                    if self.position() == 0 && line.length() == 0 {
                        self.pool.resize(splitter.buffer(portion.length()));
                    } else if portion.length() > self.pool.size() {
                        info!("{}: unpacked by one thread: its parts become larger", self.name);
                        break Some(portion.into_packed());
                    }
                    let Some(slab) = self.make_room(line, failed)? else { break Some(portion.into_packed()) };
                    line.push(portion, slab)?;
                }
                Next::End => break None,
                Next::InOrder(front, why) => {
                    why.iter().for_each(|why| info!("{}: unpacked by one thread: {why}", self.name));
                    break Some(front);
                }
            }
            while failed.is_empty()
                && let Some(finished) = line.try_next()?
            {
                self.accept(finished, failed)?;
            }
        };
        while let Some(finished) = line.next()? {
            self.accept(finished, failed)?;
        }
        Ok(if failed.is_empty() { front } else { Some(front.unwrap_or_default()) })
    }

    /// A buffer for a portion, once enough of those before it are written; nothing when one of them has failed.
    fn make_room(&mut self, line: &mut Line, failed: &mut Vec<Vec<u8>>) -> Outcome<Option<Slab>> {
        while line.length() + RESERVE >= self.pool.count() {
            match line.next()? {
                Some(finished) => self.accept(finished, failed)?,
                None => break,
            }
        }
        if !failed.is_empty() {
            return Ok(None);
        }
        self.pool.take().map(Some).ok_or(Stop::Unwanted)
    }

    /// The next finished portion goes out; once one has failed, what was packed is collected.
    fn accept(&mut self, finished: Finished, failed: &mut Vec<Vec<u8>>) -> Outcome {
        match finished {
            Finished::Done(Done { slab, outcome: Ok(length), .. }) if failed.is_empty() => self.put(slab, length),
            Finished::Done(Done { portion, .. }) => {
                failed.push(portion.into_packed());
                Ok(())
            }
            Finished::Hole(length) => self.put_hole(length),
        }
    }

    fn take_stretches(&mut self, image: &mut dyn Stretches, line: &mut Line) -> Outcome {
        loop {
            match image.next().map_err(|error| error.within(self.name.clone()))? {
                Some(Stretch::Hole(length)) => line.push_hole(length),
                Some(Stretch::Data(portion)) => {
                    while line.length() + RESERVE_OF_STRETCHES >= self.pool.count() {
                        let Some(finished) = line.next()? else { break };
                        self.accept_stretch(finished)?;
                    }
                    let slab = self.pool.take().ok_or(Stop::Unwanted)?;
                    line.push(portion, slab)?;
                }
                None => break,
            }
            while let Some(finished) = line.try_next()? {
                self.accept_stretch(finished)?;
            }
        }
        while let Some(finished) = line.next()? {
            self.accept_stretch(finished)?;
        }
        Ok(())
    }

    fn accept_stretch(&mut self, finished: Finished) -> Outcome {
        match finished {
            Finished::Hole(length) => self.put_hole(length),
            Finished::Done(Done { slab, outcome: Ok(length), .. }) => self.put(slab, length),
            Finished::Done(Done { outcome: Err(why), .. }) => {
                let text = format!("unpacking {}: at byte {} of the image: {why}", self.name, self.position());
                Err(Error::new(Kind::Image, text).into())
            }
        }
    }

    /// The image goes on with these bytes. Few of them are copied together: writers hold a number of buffers, however much is
    /// in each.
    fn put(&mut self, slab: Slab, length: usize) -> Outcome {
        if self.cut.carry.is_none() && length >= PIECE && widen(length).is_multiple_of(GRAIN) {
            return self.send(Piece::data(self.cut.offset, slab, length));
        }
        let mut bytes = slab.bytes().get(..length).unwrap_or_default();
        while !bytes.is_empty() {
            let (mut into, filled) = match self.cut.carry.take() {
                Some(carry) => carry,
                None => (self.pool.take().ok_or(Stop::Unwanted)?, 0),
            };
            let room = into.bytes_mut().get_mut(filled..).unwrap_or_default();
            let (now, rest) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.carry_on(into, filled + now.len())?;
            bytes = rest;
        }
        Ok(())
    }

    /// The image goes on with so many zeros.
    fn put_hole(&mut self, length: u64) -> Outcome {
        let to_grain = (GRAIN - self.position() % GRAIN) % GRAIN;
        let Some(hole) = length.checked_sub(to_grain).filter(|&hole| hole >= SHORTEST_HOLE) else {
            return self.put_zeros(length);
        };
        self.put_zeros(to_grain)?;
        self.flush()?;
        let rest = hole % GRAIN;
        self.send(Piece::hole(self.cut.offset, hole - rest))?;
        self.put_zeros(rest)
    }

    /// Zeros among data.
    fn put_zeros(&mut self, mut length: u64) -> Outcome {
        while length > 0 {
            let (mut into, filled) = match self.cut.carry.take() {
                Some(carry) => carry,
                None => (self.pool.take().ok_or(Stop::Unwanted)?, 0),
            };
            let room = into.bytes_mut().get_mut(filled..).unwrap_or_default();
            let count = usize::try_from(length).map_or(room.len(), |length| length.min(room.len()));
            room[..count].fill(0);
            length -= widen(count);
            self.carry_on(into, filled + count)?;
        }
        Ok(())
    }

    /// A buffer that is filled so far: it is sent when it is full.
    fn carry_on(&mut self, slab: Slab, filled: usize) -> Outcome {
        if filled == slab.bytes().len() {
            return self.send(Piece::data(self.cut.offset, slab, filled));
        }
        self.cut.carry = Some((slab, filled));
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        match self.cut.carry.take() {
            Some((slab, filled)) => self.send(Piece::data(self.cut.offset, slab, filled)),
            None => Ok(()),
        }
    }

    fn send(&mut self, piece: Piece) -> Outcome {
        if piece.length() == 0 {
            return Ok(());
        }
        let within = |error: Error| error.within(self.name.clone());
        self.bounds.check(piece.end()).map_err(within)?;
        if let Some(bytes) = piece.bytes().filter(|_| piece.offset == 0) {
            check_inside(bytes).map_err(within)?;
        }
        self.cut.offset = piece.end();
        let piece = Arc::new(match &mut self.mask {
            Some(mask) => mask.apply(piece).map_err(within)?,
            None => piece,
        });
        let is_wanted = self.takers.iter().all(|taker| taker.send(Arc::clone(&piece)).is_ok());
        if is_wanted { Ok(()) } else { Err(Stop::Unwanted) }
    }
}

/// What is unpacked must be an image, not the next packing.
pub(super) fn check_inside(head: &[u8]) -> Result<()> {
    match Form::of(head.get(..HEAD).unwrap_or(head)) {
        Form::Raw => Ok(()),
        Form::Empty => Err(Error::new(Kind::Image, "the image is empty")),
        found => Err(Error::new(Kind::Image, format!("expected an image, found {found} inside"))),
    }
}

/// Unpacks, and says in errors how far it came.
struct Unpacker {
    name: String,
    unpack: Unpack<Rewound<Packed>>,
    produced: u64,
}

impl Unpacker {
    fn end(self) -> Result<End> {
        Self::ended(self.unpack.into_inner().into_inner())
    }

    fn ended(packed: Packed) -> Result<End> {
        packed.end.ok_or_else(|| Error::bug("unpacking ended before fetching"))
    }
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpack.read(buffer);
        if let Some(why) = self.unpack.why_one_thread() {
            info!("{}: unpacked by one thread: {why}", self.name);
        }
        match read {
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
