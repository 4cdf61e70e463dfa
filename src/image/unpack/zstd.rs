//! zstd, RFC 8878: frames and skippable frames.

use std::io;

use ::zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::window::refusal;
use super::{Codec, Fault, Lead, Step};

const MARK: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// As many bytes as a frame header has at most.
const HEADER: usize = 18;

pub(super) struct Zstd {
    decoder: Decoder<'static>,
    /// The largest window in bytes.
    allowed: u64,
    /// The first bytes of the frame, as far as they are taken.
    header: Vec<u8>,
}

impl Zstd {
    pub(super) fn new(allowed: u64) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        // A power of two at least as large; what lies between is refused by the header.
        decoder.set_parameter(DParameter::WindowLogMax(allowed.next_power_of_two().ilog2()))?;
        Ok(Self { decoder, allowed, header: Vec::with_capacity(HEADER) })
    }

    fn note(&mut self, taken: &[u8]) {
        let room = HEADER - self.header.len();
        self.header.extend_from_slice(&taken[..taken.len().min(room)]);
    }

    fn check_window(&self) -> Result<(), Fault> {
        match FrameHeader::read(&self.header) {
            Some(FrameHeader { window: needed, .. }) if needed > self.allowed => {
                Err(Fault::Refused(refusal("window", needed, self.allowed)))
            }
            _ => Ok(()),
        }
    }
}

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        match skippable(bytes) {
            Lead::Foreign => Lead::by_mark(bytes, &MARK),
            lead => lead,
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.header.clear();
        self.decoder.reinit().map_err(|error| Fault::Corrupt(error.to_string()))
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let (mut from, mut to) = (InBuffer::around(packed), OutBuffer::around(image));
        let outcome = self.decoder.run(&mut from, &mut to);
        let (taken, given) = (from.pos(), to.pos());
        let is_new = self.header.len() < HEADER;
        // A window that is refused ends the decoder before it has taken the header.
        let seen = if outcome.is_ok() { taken } else { packed.len() };
        if is_new {
            self.note(&packed[..seen]);
            self.check_window()?;
        }
        let hint = outcome.map_err(|error| Fault::Corrupt(error.to_string()))?;
        Ok(Step { taken, given, is_end: hint == 0 })
    }
}

/// Whether a skippable frame begins here; zstd and lz4 share its sixteen marks.
pub(super) fn skippable(bytes: &[u8]) -> Lead {
    match bytes {
        [0x50..=0x5f, rest @ ..] => Lead::by_mark(rest, &[0x2a, 0x4d, 0x18]),
        _ => Lead::Foreign,
    }
}

/// What the header of a frame says, mark included. RFC 8878, section 3.1.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) struct FrameHeader {
    /// Its own bytes.
    pub(in crate::image) length: usize,
    /// How far back the frame refers, in bytes.
    pub(in crate::image) window: u64,
    /// What the frame makes, where it tells.
    pub(in crate::image) content: Option<u64>,
    /// Whether four bytes of checksum follow the last block.
    pub(in crate::image) has_checksum: bool,
}

impl FrameHeader {
    /// The bytes that a frame begins with.
    pub(in crate::image) const MARK: [u8; 4] = MARK;

    /// The header that these bytes begin with; nothing as long as they are not all of it.
    pub(in crate::image) fn read(bytes: &[u8]) -> Option<Self> {
        let (&flags, fields) = bytes.strip_prefix(&MARK)?.split_first()?;
        let is_single_segment = flags & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
        let (size, base) = match (flags >> 6, is_single_segment) {
            (0, false) => (0, 0),
            (0, true) => (1, 0),
            (1, _) => (2, 256),
            (2, _) => (4, 0),
            _ => (8, 0),
        };
        let before = usize::from(!is_single_segment) + dictionary;
        let mut told = [0; 8];
        told[..size].copy_from_slice(fields.get(before..before + size)?);
        // More than there are numbers is more than anybody allows.
        let told = u64::from_le_bytes(told).saturating_add(base);
        let window = if is_single_segment {
            told
        } else {
            let descriptor = fields.first()?;
            let base = 1_u64 << (10 + (descriptor >> 3));
            base + base / 8 * u64::from(descriptor & 7)
        };
        let length = MARK.len() + 1 + before + size;
        Some(Self { length, window, content: (size > 0).then_some(told), has_checksum: flags & 4 != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_window_content_and_checksum() {
        let of = |rest: &[u8]| {
            FrameHeader::read(&[&MARK, rest].concat()).map(|it| (it.length, it.window, it.content, it.has_checksum))
        };
        assert_eq!(of(&[0x00]), None);
        assert_eq!(of(&[0x00, 0x00, 1]), Some((6, 1 << 10, None, false)));
        // 2^31: exponent 21.
        assert_eq!(of(&[0x04, 21 << 3]), Some((6, 1 << 31, None, true)));
        assert_eq!(of(&[0x04, (17 << 3) | 1]), Some((6, (1 << 27) + (1 << 24), None, true)));
        assert_eq!(of(&[0x20, 7]), Some((6, 7, Some(7), false)));
        assert_eq!(of(&[0x60, 1, 1]), Some((7, 0x101 + 256, Some(0x101 + 256), false)));
        assert_eq!(of(&[0x42, 0, 9, 9, 1, 1]), Some((10, 1 << 10, Some(0x101 + 256), false)));
        assert_eq!(of(&[0xa3, 9, 9, 9, 9, 0, 0, 0, 1]), Some((13, 1 << 24, Some(1 << 24), false)));
        assert_eq!(of(&[0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(FrameHeader::read(b"\x50\x2a\x4d\x18\x00\x00"), None);
    }
}
