//! lz4 frames and skippable frames; <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, version 1.6.4.
//!
//! The frame layer is here and not that of `lz4_flex`, which takes a stream that ends between two blocks for a whole one,
//! loses bytes when a read is interrupted, and knows no skippable frames. Blocks are decoded by the crate.

use std::hash::Hasher as _;

use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::zstd::skippable;
use super::{Codec, Fault, Lead, Step};

const MARK: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// How far back a block may refer.
const WINDOW: usize = 64 << 10;

/// The bit of a block's length that says that the block is not packed.
const AS_IS: u32 = 1 << 31;

#[derive(Default)]
pub(super) struct Lz4 {
    state: State,
    /// The bytes of what the state names, gathered until there are as many as are needed.
    gathered: Vec<u8>,
    needed: usize,
    frame: Frame,
    /// The last bytes of the image, for blocks that refer to those before them.
    history: Vec<u8>,
    /// The block that is given out, and how far it is.
    block: Vec<u8>,
    given: usize,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Mark,
    SkipLength,
    Skip(u32),
    Descriptor,
    BlockLength,
    Block {
        length: usize,
        is_packed: bool,
    },
    Checksum,
    End,
}

/// What the descriptor says, and what is known so far.
#[derive(Default)]
struct Frame {
    is_linked: bool,
    has_block_checksums: bool,
    has_checksum: bool,
    size: Option<u64>,
    most: usize,
    hash: XxHash32,
    length: u64,
}

impl Lz4 {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn expect(&mut self, state: State, needed: usize) {
        self.gathered.clear();
        (self.state, self.needed) = (state, needed);
    }

    /// Takes what is still missing.
    fn gather(&mut self, packed: &[u8]) -> usize {
        let count = packed.len().min(self.needed - self.gathered.len());
        self.gathered.extend_from_slice(&packed[..count]);
        count
    }

    /// Uses what is gathered.
    fn proceed(&mut self) -> Result<(), Fault> {
        match self.state {
            State::Mark if self.gathered == MARK => self.expect(State::Descriptor, 2),
            State::Mark => self.expect(State::SkipLength, 4),
            State::SkipLength => self.expect(State::Skip(self.number()), 0),
            State::Descriptor => self.descriptor()?,
            State::BlockLength => self.block_length()?,
            State::Block { length, is_packed } => self.block(length, is_packed)?,
            State::Checksum => {
                same_hash(&self.frame.hash, self.number(), "the image")?;
                self.expect(State::End, 0);
            }
            State::Skip(_) | State::End => {}
        }
        Ok(())
    }

    /// The first four bytes that are gathered, as a number.
    fn number(&self) -> u32 {
        self.gathered.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Flags, block size, the fields that they promise, and a checksum of one byte.
    fn descriptor(&mut self) -> Result<(), Fault> {
        let &[flags, block_size, ref fields @ ..] = &self.gathered[..] else { return Ok(()) };
        if flags >> 6 != 1 || flags & 0x02 != 0 || block_size & 0x8f != 0 {
            return corrupt("its header is of an unknown version");
        }
        let (has_size, has_dictionary) = (flags & 0x08 != 0, flags & 0x01 != 0);
        let length = 8 * usize::from(has_size) + 4 * usize::from(has_dictionary) + 1;
        if fields.len() < length {
            self.needed = 2 + length;
            return Ok(());
        }
        let (described, sum) = self.gathered.split_at(1 + length);
        if XxHash32::oneshot(0, described).to_le_bytes()[1..2] != *sum {
            return corrupt("the checksum of its header is wrong");
        }
        if has_dictionary {
            return Err(Fault::Refused("needs a dictionary".to_owned()));
        }
        self.frame = Frame {
            is_linked: flags & 0x20 == 0,
            has_block_checksums: flags & 0x10 != 0,
            has_checksum: flags & 0x04 != 0,
            size: fields.first_chunk().filter(|_| has_size).map(|bytes| u64::from_le_bytes(*bytes)),
            most: match block_size >> 4 {
                4 => 64 << 10,
                5 => 256 << 10,
                6 => 1 << 20,
                7 => 4 << 20,
                _ => return corrupt("its blocks are of an unknown size"),
            },
            ..Frame::default()
        };
        self.history.clear();
        self.expect(State::BlockLength, 4);
        Ok(())
    }

    fn block_length(&mut self) -> Result<(), Fault> {
        let number = self.number();
        if number == 0 {
            if self.frame.size.is_some_and(|size| size != self.frame.length) {
                return corrupt("its length is not what its header says");
            }
            let has_checksum = self.frame.has_checksum;
            self.expect(if has_checksum { State::Checksum } else { State::End }, 4 * usize::from(has_checksum));
            return Ok(());
        }
        let length = usize::try_from(number & !AS_IS).unwrap_or(usize::MAX);
        if length > self.frame.most {
            return corrupt("a block is longer than its header allows");
        }
        let needed = length + 4 * usize::from(self.frame.has_block_checksums);
        self.expect(State::Block { length, is_packed: number & AS_IS == 0 }, needed);
        Ok(())
    }

    fn block(&mut self, length: usize, is_packed: bool) -> Result<(), Fault> {
        let (packed, sum) = self.gathered.split_at(length);
        if let Some(sum) = sum.first_chunk() {
            let mut hash = XxHash32::default();
            hash.write(packed);
            same_hash(&hash, u32::from_le_bytes(*sum), "a block")?;
        }
        self.given = 0;
        if is_packed {
            self.block.resize(self.frame.most, 0);
            match decompress_into_with_dict(packed, &mut self.block, &self.history) {
                Ok(length) => self.block.truncate(length),
                Err(error) => return corrupt(&error.to_string()),
            }
        } else {
            self.block.clear();
            self.block.extend_from_slice(packed);
        }
        self.frame.length = self.frame.length.saturating_add(crate::units::widen(self.block.len()));
        if self.frame.has_checksum {
            self.frame.hash.write(&self.block);
        }
        if self.frame.is_linked {
            self.remember();
        }
        self.expect(State::BlockLength, 4);
        Ok(())
    }

    /// Keeps the end of the image for the next block.
    fn remember(&mut self) {
        let recent = &self.block[self.block.len().saturating_sub(WINDOW)..];
        let surplus = (self.history.len() + recent.len()).saturating_sub(WINDOW);
        self.history.drain(..surplus);
        self.history.extend_from_slice(recent);
    }
}

impl Codec for Lz4 {
    fn name(&self) -> &'static str {
        "lz4"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        match skippable(bytes) {
            Lead::Foreign => Lead::by_mark(bytes, &MARK),
            lead => lead,
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.expect(State::Mark, MARK.len());
        Ok(())
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let waiting = &self.block[self.given..];
        if !waiting.is_empty() {
            let given = waiting.len().min(image.len());
            image[..given].copy_from_slice(&waiting[..given]);
            self.given += given;
            return Ok(Step { taken: 0, given, is_end: false });
        }
        let taken = match self.state {
            State::Skip(left) => {
                let taken = packed.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                self.state = if left == 0 { State::End } else { State::Skip(left) };
                taken
            }
            _ => self.gather(packed),
        };
        if self.gathered.len() == self.needed {
            self.proceed()?;
        }
        Ok(Step { taken, given: 0, is_end: self.state == State::End })
    }
}

fn corrupt(words: &str) -> Result<(), Fault> {
    Err(Fault::Corrupt(words.to_owned()))
}

fn same_hash(computed: &XxHash32, expected: u32, what: &str) -> Result<(), Fault> {
    if computed.finish() == u64::from(expected) { Ok(()) } else { corrupt(&format!("the checksum of {what} is wrong")) }
}
