//! Hashing the image, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::digest::{Digest, Hashers};
use super::piece::{PIECE, Piece};
use crate::units::widen;

/// Hashes pieces until no more come.
pub(super) fn run(mut digests: Hashers, pieces: &Receiver<Arc<Piece>>) -> Vec<Digest> {
    let mut zeros = Vec::new();
    while let Ok(piece) = pieces.recv() {
        if let Some(bytes) = piece.bytes() {
            digests.update(bytes);
            continue;
        }
        zeros.resize(PIECE, 0);
        let mut left = piece.length();
        while left > 0 {
            let count = left.min(widen(PIECE));
            digests.update(usize::try_from(count).ok().and_then(|count| zeros.get(..count)).unwrap_or_default());
            left -= count;
        }
    }
    digests.finish()
}
