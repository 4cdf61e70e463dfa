//! gzip, RFC 1952.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, Fault, Lead, Step};

/// The largest window there is, 2^15 bytes.
const WINDOW_BITS: u8 = 15;

pub(super) struct Gzip(Decompress);

impl Gzip {
    pub(super) fn new() -> Self {
        Self(Decompress::new_gzip(WINDOW_BITS))
    }
}

impl Codec for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn lead(&self, bytes: &[u8]) -> Lead {
        Lead::by_mark(bytes, b"\x1f\x8b\x08")
    }

    fn begin(&mut self) -> Result<(), Fault> {
        // Resetting would make it a decoder of zlib streams.
        *self = Self::new();
        Ok(())
    }

    fn step(&mut self, packed: &[u8], image: &mut [u8]) -> Result<Step, Fault> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(packed, image, FlushDecompress::None).map_err(|error| {
            let words = error.message().map_or_else(|| error.to_string(), str::to_owned);
            Fault::Corrupt(words)
        })?;
        Ok(Step {
            taken: super::count(self.0.total_in() - before_in, packed.len()),
            given: super::count(self.0.total_out() - before_out, image.len()),
            is_end: status == Status::StreamEnd,
        })
    }
}
