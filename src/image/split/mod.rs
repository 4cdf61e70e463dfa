//! Cutting packed streams where they can be unpacked side by side: at frames of zstd and at members of gzip.
//!
//! A splitter only proposes. A portion that turns out otherwise when it is unpacked, and everything that a splitter does not
//! understand, goes through [`super::unpack::Unpack`], which alone decides what is wrong with a stream. The bytes that
//! were looked at go there first.

mod gzip;
mod reader;
#[cfg(test)]
mod tests;
mod zstd;

use std::io::{self, BufRead};

use crate::request::Container;
use crate::units::MaxWindow;

use super::portion::Portion;

pub(super) use reader::Rewound;

/// What a portion may make at most, 8 MiB and an empty block of zstd; what does not fit is unpacked in order, by one thread.
pub(super) const LARGEST: usize = (8 << 20) + (256 << 10);

/// What a portion is to make at least: below that the handing over would cost too much.
const SMALLEST: usize = 1 << 20;

/// Packed bytes of one portion at most.
const LARGEST_PACKED: usize = LARGEST + (1 << 20);

/// What comes next in a packed stream.
pub(super) enum Next {
    Portion(Box<dyn Portion>),
    /// The stream has ended where a portion ended.
    End,
    /// From here on it is to be unpacked in order. These bytes were looked at; and why, where a person may want to know.
    InOrder(Vec<u8>, Option<String>),
}

/// Finds portions in a packed stream.
pub(super) struct Splitter {
    kind: Kind,
    /// Bytes read and not given out yet.
    ahead: Vec<u8>,
}

enum Kind {
    Gzip(gzip::Gzip),
    Zstd(zstd::Zstd),
}

impl Splitter {
    /// A splitter for this packing; none where its parts depend on each other, or are left to its library (xz).
    pub(super) fn new(container: Container, window: MaxWindow) -> Option<Self> {
        let kind = match container {
            Container::Gzip => Kind::Gzip(gzip::Gzip::default()),
            Container::Zstd => Kind::Zstd(zstd::Zstd::new(window.zstd())),
            _ => return None,
        };
        Some(Self { kind, ahead: Vec::new() })
    }

    /// What comes next.
    ///
    /// # Errors
    /// Those of the reader.
    pub(super) fn next(&mut self, packed: &mut impl BufRead) -> io::Result<Next> {
        match &mut self.kind {
            Kind::Gzip(gzip) => gzip.next(&mut self.ahead, packed),
            Kind::Zstd(zstd) => zstd.next(&mut self.ahead, packed),
        }
    }

    /// How large buffers should be, given what the first portion makes.
    pub(super) fn buffer(&self, first: usize) -> usize {
        match &self.kind {
            // Members of any size may follow.
            Kind::Gzip(gzip) if !gzip.is_blocked => LARGEST,
            _ => first.next_power_of_two().clamp(2 * SMALLEST, LARGEST),
        }
    }

    /// The bytes that were read and not given out.
    pub(super) fn into_ahead(self) -> Vec<u8> {
        self.ahead
    }
}

/// Reads until `ahead` has so many bytes; false when the stream ends before.
fn need(ahead: &mut Vec<u8>, packed: &mut impl BufRead, length: usize) -> io::Result<bool> {
    while ahead.len() < length {
        let ready = match packed.fill_buf() {
            Ok(ready) => ready,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if ready.is_empty() {
            return Ok(false);
        }
        let count = ready.len().min(length - ahead.len());
        ahead.extend_from_slice(&ready[..count]);
        packed.consume(count);
    }
    Ok(true)
}

/// Takes the first bytes out.
fn take(ahead: &mut Vec<u8>, length: usize) -> Vec<u8> {
    let rest = ahead.split_off(length.min(ahead.len()));
    std::mem::replace(ahead, rest)
}
