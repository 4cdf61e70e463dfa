//! Frames of zstd: their ends are found by walking over the headers of their blocks. RFC 8878, section 3.1.1.

use std::cell::RefCell;
use std::io::{self, BufRead};

use ::zstd::bulk::Decompressor;

use super::{LARGEST, LARGEST_PACKED, Next, Portion, SMALLEST, need, take};
use crate::image::unpack::FrameHeader;
use crate::units::widen;

/// What a block makes at most. RFC 8878, section 3.1.1.2.4.
const BLOCK: u64 = 128 << 10;

/// Proposes runs of whole frames.
pub(super) struct Zstd {
    /// The largest window in bytes.
    allowed: u64,
}

/// What stands at a place of the stream.
enum Found {
    /// A frame that ends there and makes so many bytes at most.
    Frame { end: usize, content: usize },
    /// Something to be skipped, which ends there.
    Skippable { end: usize },
    /// Nothing: the stream has ended.
    End,
    /// Something else, or something too large.
    Other(Option<String>),
}

impl Zstd {
    pub(super) fn new(allowed: u64) -> Self {
        Self { allowed }
    }

    pub(super) fn next(&mut self, ahead: &mut Vec<u8>, packed: &mut impl BufRead) -> io::Result<Next> {
        let (mut end, mut length) = (0, 0);
        loop {
            match self.look(ahead, packed, end)? {
                Found::Frame { end: next, content } if length + content <= LARGEST => {
                    (end, length) = (next, length + content);
                    if length >= SMALLEST {
                        break;
                    }
                }
                Found::Skippable { end: next } => end = next,
                Found::End if end == 0 => return Ok(Next::End),
                Found::Other(why) if length == 0 => return Ok(Next::InOrder(std::mem::take(ahead), why)),
                // What was found before comes first; this is looked at again.
                _ => break,
            }
            if end > LARGEST_PACKED {
                break;
            }
        }
        if length == 0 {
            return Ok(Next::InOrder(std::mem::take(ahead), None));
        }
        Ok(Next::Portion(Box::new(Frames { packed: take(ahead, end), length })))
    }

    /// Looks at what begins at `start`, which is followed to its end if it is not too large.
    fn look(&self, ahead: &mut Vec<u8>, packed: &mut impl BufRead, start: usize) -> io::Result<Found> {
        if !need(ahead, packed, start + 4)? {
            return Ok(if ahead.len() == start { Found::End } else { Found::Other(None) });
        }
        if matches!(ahead[start..start + 4], [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
            return skippable(ahead, packed, start);
        }
        if ahead[start..start + 4] != FrameHeader::MARK {
            return Ok(Found::Other(None));
        }
        let Some(header) = self.header(ahead, packed, start)? else { return Ok(Found::Other(None)) };
        if let Some(told) = header.content.filter(|&told| usize::try_from(told).map_or(true, |told| told > LARGEST)) {
            return Ok(Found::Other(Some(format!("a frame has {} MiB", told >> 20))));
        }
        let mut at = start + header.length;
        // pzstd does not tell: then each block makes what it says, or a block at most.
        let mut made: u64 = 0;
        loop {
            if !need(ahead, packed, at + 3)? {
                return Ok(Found::Other(None));
            }
            let block = u32::from_le_bytes([ahead[at], ahead[at + 1], ahead[at + 2], 0]);
            let size = usize::try_from(block >> 3).unwrap_or(usize::MAX);
            let kind = block >> 1 & 3;
            made += if kind == 2 { header.window.min(BLOCK) } else { widen(size) };
            // A run of one byte takes one, whatever its length.
            at += 3 + if kind == 1 { 1 } else { size };
            if header.content.is_none() && made > widen(LARGEST) {
                return Ok(Found::Other(Some(format!("a frame has more than {} MiB", LARGEST >> 20))));
            }
            if at - start > LARGEST_PACKED || !need(ahead, packed, at)? {
                return Ok(Found::Other(None));
            }
            if block & 1 == 1 {
                break;
            }
        }
        let end = at + if header.has_checksum { 4 } else { 0 };
        let content = usize::try_from(header.content.unwrap_or(made)).unwrap_or(LARGEST);
        Ok(if need(ahead, packed, end)? { Found::Frame { end, content } } else { Found::Other(None) })
    }

    /// The header at `start`, if it is one that can be taken.
    fn header(&self, ahead: &mut Vec<u8>, packed: &mut impl BufRead, start: usize) -> io::Result<Option<FrameHeader>> {
        let mut length = start + 5;
        while need(ahead, packed, length)? {
            match FrameHeader::read(&ahead[start..length]) {
                Some(header) => return Ok(Some(header).filter(|header| header.window <= self.allowed)),
                None => length += 1,
            }
        }
        Ok(None)
    }
}

fn skippable(ahead: &mut Vec<u8>, packed: &mut impl BufRead, start: usize) -> io::Result<Found> {
    if !need(ahead, packed, start + 8)? {
        return Ok(Found::Other(None));
    }
    let length = ahead[start + 4..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let end = usize::try_from(length).ok().and_then(|length| (start + 8).checked_add(length));
    match end.filter(|end| end - start <= LARGEST_PACKED) {
        Some(end) if need(ahead, packed, end)? => Ok(Found::Skippable { end }),
        _ => Ok(Found::Other(None)),
    }
}

/// Whole frames.
struct Frames {
    packed: Vec<u8>,
    length: usize,
}

thread_local! {
    /// A context has tables that are worth keeping.
    static DECODER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Portion for Frames {
    fn length(&self) -> usize {
        self.length
    }

    fn unpack(&self, image: &mut [u8]) -> Result<usize, String> {
        let given = DECODER.with_borrow_mut(|kept| {
            let decoder = match kept {
                Some(decoder) => decoder,
                None => kept.insert(Decompressor::new()?),
            };
            decoder.decompress_to_buffer(&self.packed, image)
        });
        given.map_err(|error| error.to_string())
    }

    fn into_packed(self: Box<Self>) -> Vec<u8> {
        self.packed
    }
}
