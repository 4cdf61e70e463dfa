//! xz: streams with any number of blocks, several of which are unpacked at a time, and the padding between streams.

mod block;
#[cfg(test)]
mod tests;

use liblzma::stream::{Action, Error, MtStreamBuilder, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::window::refusal;
use super::{Codec, Fault, Lead, Step};
use block::Block;

const MARK: &[u8] = b"\xfd7zXZ\x00";

/// What the decoder takes beside its dictionary.
const OVERHEAD: u64 = 1 << 20;

/// What blocks that are unpacked side by side may take: two of `xz -6` that pack to two fifths or less, as images do. All of
/// the program stays within 128 MiB with it.
const SIDE_BY_SIDE: u64 = 84 << 20;

/// Bytes of a stream's header, and of the longest header of a block.
const HEADER: usize = 12;
const LONGEST: usize = 1024;

pub(super) struct Xz {
    stream: Option<Stream>,
    /// The largest dictionary in bytes.
    allowed: u64,
    threads: u32,
    /// What was taken of the stream, as far as the header of its first block.
    head: Vec<u8>,
    /// Whether the first block was looked at, or need not be.
    is_known: bool,
    why: Option<String>,
}

impl Xz {
    pub(super) fn new(allowed: u64, threads: usize) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).min(1024);
        Self { stream: None, allowed, threads, head: Vec::new(), is_known: threads < 2, why: None }
    }

    fn decoder(&self) -> Result<Stream, Error> {
        let limit = limit(self.allowed);
        if self.threads < 2 {
            // A check that is not known here would be left out in silence.
            return Stream::new_stream_decoder(limit, TELL_UNSUPPORTED_CHECK);
        }
        let mut builder = MtStreamBuilder::new();
        builder.threads(self.threads).memlimit_threading(SIDE_BY_SIDE).memlimit_stop(limit).timeout_ms(0);
        builder.decoder()
    }

    /// Looks at what the decoder took without complaint.
    fn look(&mut self, taken: &[u8]) -> Result<(), Fault> {
        if self.head.len() < HEADER {
            self.head.extend_from_slice(taken);
            // Several threads have no flag to tell it. Section 2.1.1.2.
            let is_known = matches!(self.head.get(7), None | Some(0 | 1 | 4 | 10));
            return if self.head.len() < HEADER || is_known { Ok(()) } else { Err(unknown_check()) };
        }
        if !self.is_known {
            let room = (HEADER + LONGEST - self.head.len()).min(taken.len());
            self.head.extend_from_slice(&taken[..room]);
            let header = &self.head[HEADER..];
            if let Some(header) = header.first().and_then(|&first| header.get(..block::length_of_header(first))) {
                self.is_known = true;
                self.why = Block::read(header).and_then(|block| why_one_thread(block, limit(self.allowed)));
            }
        }
        Ok(())
    }
}

impl Codec for Xz {
    fn name(&self) -> &'static str {
        "xz"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        // Padding comes in groups of four zeros. The .xz file format 1.2.1, section 2.2.
        match bytes {
            [0, 0, 0, 0] => Lead::Padding,
            [0] | [0, 0] | [0, 0, 0] => Lead::Unfinished,
            _ => Lead::by_mark(bytes, MARK),
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        // The threads of the stream before end first.
        self.stream = None;
        self.head.clear();
        self.stream = Some(self.decoder().map_err(|error| Fault::Refused(format!("cannot be unpacked: {error}")))?);
        Ok(())
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let Some(stream) = &mut self.stream else { return Err(Fault::Corrupt("its mark is missing".to_owned())) };
        // The header comes alone, so that it is looked at before any data.
        let alone = HEADER.saturating_sub(self.head.len());
        let packed = if alone > 0 { &packed[..alone.min(packed.len())] } else { packed };
        // At its end a stream gives what its threads still have.
        let action = if packed.is_empty() { Action::Finish } else { Action::Run };
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream.process(packed, image, action);
        let taken = super::count(stream.total_in() - before_in, packed.len());
        let given = super::count(stream.total_out() - before_out, image.len());
        let status = status.map_err(|error| fault(&error, stream, action, self.allowed))?;
        self.look(&packed[..taken])?;
        Ok(Step { taken, given, is_end: status == Status::StreamEnd })
    }

    fn why_one_thread(&mut self) -> Option<String> {
        self.why.take()
    }
}

/// Why blocks like this one are not unpacked side by side.
fn why_one_thread(block: Block, limit: u64) -> Option<String> {
    let (Some(memory), Some(image)) = (block.memory(), block.image) else {
        return Some("its blocks do not tell their sizes".to_owned());
    };
    let is_one = memory > SIDE_BY_SIDE.min(limit) / 2;
    is_one.then(|| format!("a block has {} MiB", image >> 20))
}

fn unknown_check() -> Fault {
    Fault::Refused("has a checksum of a kind that is not known".to_owned())
}

fn fault(error: &Error, stream: &mut Stream, action: Action, allowed: u64) -> Fault {
    match error {
        Error::Data => Fault::Corrupt("its data or a checksum is wrong".to_owned()),
        Error::Options => Fault::Corrupt("it uses options that are not known".to_owned()),
        Error::UnsupportedCheck => unknown_check(),
        Error::MemLimit => Fault::Refused(refusal("dictionary", needed(stream, action), allowed)),
        Error::Mem => Fault::Refused(format!("cannot be unpacked: {error}")),
        error => Fault::Corrupt(error.to_string()),
    }
}

/// Dictionaries of up to 3 GiB, which have 2^n or 3 * 2^n bytes.
fn dictionaries() -> impl Iterator<Item = u64> {
    (20..32).flat_map(|log| [1_u64 << log, 3 << (log - 1)])
}

/// The decoder's limit that lets all dictionaries pass that are allowed, and no other. It bounds what all threads take, too,
/// so it is as high as can be.
fn limit(allowed: u64) -> u64 {
    dictionaries().find(|&size| size > allowed).map_or(allowed.saturating_add(OVERHEAD), |next| next - 1)
}

/// The dictionary that the stream needs: the smallest limit with which its decoder goes on.
fn needed(stream: &mut Stream, action: Action) -> u64 {
    let mut goes_on = |size: &u64| {
        let is_set = stream.set_memlimit(size + OVERHEAD).is_ok();
        // Several threads compare it with what the block needs only when they begin with it.
        is_set && !matches!(stream.process(&[], &mut [], action), Err(Error::MemLimit))
    };
    dictionaries().find(|size| goes_on(size)).unwrap_or(1 << 32)
}
