//! Unpacking: one driver for every packed form, so that truncation, corruption and garbage are told apart alike in each.
//!
//! A packed stream is a series of members (gzip's word; frames of zstd and lz4, streams of xz and bzip2). A [`Codec`] knows
//! how a member begins and decodes it from slices; [`Unpack`] feeds it, and sees to what stands between and after members.

mod bzip2;
mod gzip;
mod lz4;
#[cfg(test)]
pub(super) mod packing;
#[cfg(test)]
mod tests;
mod window;
mod xz;
mod zstd;

use std::io::{self, BufRead, Read};

use crate::request::Container;
use crate::units::MaxWindow;

pub(super) use zstd::FrameHeader;

/// How often a codec may neither take nor give anything before it counts as stuck.
const PATIENCE: u8 = 16;

/// A decoder of single members.
pub(super) trait Codec: Send {
    /// The form, for messages.
    fn name(&self) -> &'static str;

    /// What these bytes are, which stand where a member may begin. It is asked again with one more as long as it cannot tell.
    fn lead(&self, bytes: &[u8]) -> Lead;

    /// Prepares for a member.
    fn begin(&mut self) -> Result<(), Fault>;

    /// Goes on with a member: takes what it can from `packed`, gives what it can to `image`.
    ///
    /// `packed` is empty at the end of the stream; `image` never is.
    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault>;

    /// Why only one thread unpacks, where this codec could use several and a person may want to know. It is told once.
    fn why_one_thread(&mut self) -> Option<String> {
        None
    }
}

/// What stands where a member may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// A member.
    Member,
    /// The bytes asked about belong to the form and hold nothing.
    Padding,
    /// More bytes are needed to tell.
    Unfinished,
    /// Nothing of this form.
    Foreign,
}

impl Lead {
    /// Compares with the mark that all members begin with.
    fn by_mark(bytes: &[u8], mark: &[u8]) -> Self {
        if bytes.starts_with(mark) {
            Self::Member
        } else if mark.starts_with(bytes) {
            Self::Unfinished
        } else {
            Self::Foreign
        }
    }
}

/// How far a codec came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes taken.
    pub(super) taken: usize,
    /// Bytes given.
    pub(super) given: usize,
    /// Whether the member has ended and all of it is given.
    pub(super) is_end: bool,
}

/// What a codec finds wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The data are not what the form demands, or not what their checksum says.
    Corrupt(String),
    /// The data may be right, but cannot be unpacked here; the words follow "the stream".
    Refused(String),
}

/// Why unpacking ends early.
#[derive(Debug)]
enum Trouble {
    /// The reader's own error, which passes through.
    Reader(io::Error),
    Truncated,
    Garbage,
    Fault(Fault),
}

impl Trouble {
    fn explained(self, form: &str) -> io::Error {
        let words = match self {
            Self::Reader(error) => return error,
            Self::Truncated => format!("the {form} stream is truncated"),
            Self::Garbage => format!("garbage follows the end of the {form} stream"),
            Self::Fault(Fault::Corrupt(what)) => format!("the {form} stream is corrupt: {what}"),
            Self::Fault(Fault::Refused(what)) => format!("the {form} stream {what}"),
        };
        io::Error::new(io::ErrorKind::InvalidData, words)
    }
}

/// A codec for this packing; none for what is not packed.
pub(super) fn codec(container: Container, window: MaxWindow) -> io::Result<Option<Box<dyn Codec>>> {
    Ok(Some(match container {
        // Neither is a stream to be unpacked.
        Container::Raw | Container::Qcow2 => return Ok(None),
        Container::Gzip => Box::new(gzip::Gzip::new()),
        Container::Zstd => Box::new(zstd::Zstd::new(window.zstd())?),
        Container::Xz => Box::new(xz::Xz::new(window.xz(), super::writing::cores())),
        Container::Bzip2 => Box::new(bzip2::Bzip2::new()),
        Container::Lz4 => Box::new(lz4::Lz4::new()),
    }))
}

/// Unpacks a stream of any number of members.
///
/// Its errors carry words in an [`io::Error`] of kind `InvalidData`; errors of the reader below pass through.
pub(super) struct Unpack<R> {
    packed: R,
    codec: Box<dyn Codec>,
    /// Bytes that were taken to look at and are not fed yet.
    lead: Vec<u8>,
    is_inside: bool,
    has_members: bool,
    idle: u8,
}

impl<R: BufRead> Unpack<R> {
    pub(super) fn new(packed: R, codec: Box<dyn Codec>) -> Self {
        Self::going_on(packed, codec, false)
    }

    /// Unpacks the rest of a stream; `has_members`: whether some of it was unpacked already.
    pub(super) fn going_on(packed: R, codec: Box<dyn Codec>, has_members: bool) -> Self {
        Self { packed, codec, lead: Vec::new(), is_inside: false, has_members, idle: 0 }
    }

    /// The reader below.
    pub(super) fn into_inner(self) -> R {
        self.packed
    }

    /// Why only one thread unpacks; see [`Codec::why_one_thread`].
    pub(super) fn why_one_thread(&mut self) -> Option<String> {
        self.codec.why_one_thread()
    }

    /// As far as the next bytes of the image, or to its end.
    fn advance(&mut self, image: &mut [u8]) -> Result<usize, Trouble> {
        loop {
            if !self.is_inside && !self.next_member()? {
                return Ok(0);
            }
            let given = self.step(image)?;
            if given > 0 {
                return Ok(given);
            }
        }
    }

    /// Goes on to the next member; false when there is none.
    fn next_member(&mut self) -> Result<bool, Trouble> {
        loop {
            let lead = if self.lead.is_empty() { Lead::Unfinished } else { self.codec.lead(&self.lead) };
            match lead {
                Lead::Member => break,
                Lead::Padding => self.lead.clear(),
                Lead::Foreign if self.has_members => return Err(Trouble::Garbage),
                Lead::Foreign => return Err(Trouble::Fault(Fault::Corrupt("its mark is missing".to_owned()))),
                Lead::Unfinished => match self.packed.fill_buf().map_err(Trouble::Reader)?.first() {
                    Some(&byte) => {
                        self.lead.push(byte);
                        self.packed.consume(1);
                    }
                    None if self.lead.is_empty() && self.has_members => return Ok(false),
                    None => return Err(Trouble::Truncated),
                },
            }
        }
        self.codec.begin().map_err(Trouble::Fault)?;
        (self.is_inside, self.has_members, self.idle) = (true, true, 0);
        Ok(true)
    }

    /// One step within a member; tells how many bytes it gave.
    fn step(&mut self, image: &mut [u8]) -> Result<usize, Trouble> {
        let is_lead = !self.lead.is_empty();
        let ready = if is_lead { &self.lead[..] } else { self.packed.fill_buf().map_err(Trouble::Reader)? };
        let has_ended = ready.is_empty();
        let step = self.codec.step(ready, image).map_err(Trouble::Fault)?;
        if is_lead {
            self.lead.drain(..step.taken);
        } else {
            self.packed.consume(step.taken);
        }
        self.is_inside = !step.is_end;
        if step.is_end || step.taken > 0 || step.given > 0 {
            self.idle = 0;
        } else if has_ended {
            return Err(Trouble::Truncated);
        } else {
            self.idle += 1;
            if self.idle == PATIENCE {
                return Err(Trouble::Fault(Fault::Corrupt("the decoder is stuck".to_owned())));
            }
        }
        Ok(step.given)
    }
}

impl<R: BufRead> Read for Unpack<R> {
    fn read(&mut self, image: &mut [u8]) -> io::Result<usize> {
        if image.is_empty() {
            return Ok(0);
        }
        self.advance(image).map_err(|trouble| trouble.explained(self.codec.name()))
    }
}

/// Unpacks what the first bytes of a stream give, to refuse early what cannot be unpacked at all.
///
/// # Errors
/// What is wrong with them; that more must follow is not.
pub(super) fn first_bytes(codec: Box<dyn Codec>, head: &[u8]) -> Result<Vec<u8>, String> {
    let mut image = vec![0; super::form::HEAD];
    let mut unpack = Unpack::new(head, codec);
    let length = match unpack.advance(&mut image) {
        Ok(length) => length,
        Err(Trouble::Truncated) => 0,
        Err(trouble) => return Err(trouble.explained(unpack.codec.name()).to_string()),
    };
    image.truncate(length);
    Ok(image)
}

/// How far a decoder's counter moved, which is within the slice that it was given.
fn count(moved: u64, slice: usize) -> usize {
    usize::try_from(moved).map_or(slice, |moved| moved.min(slice))
}
