//! Hashing the image, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::digest::{Digest, Hashers};
use super::piece::Piece;
use super::proof::Segments;

/// Hashes the image.
pub(super) struct Hashing {
    pub(super) digests: Hashers,
    pub(super) segments: Option<Segments>,
    pub(super) pieces: Receiver<Arc<Piece>>,
}

impl Hashing {
    pub(super) fn run(mut self) -> (Vec<Digest>, Vec<u64>) {
        while let Ok(piece) = self.pieces.recv() {
            self.digests.update(piece.bytes());
            if let Some(segments) = &mut self.segments {
                segments.update(piece.bytes());
            }
        }
        (self.digests.finish(), self.segments.map(Segments::finish).unwrap_or_default())
    }
}
