//! The image in pieces.

use std::sync::{Arc, mpsc};

use crate::error::Error;
use crate::sys::block::AlignedBuffer;

use super::fetch::End;

/// Bytes of one write: large enough that the medium is not asked too often, small enough for a pool of them.
pub(super) const PIECE: usize = 1 << 20;

/// A part of the image on its way to the medium. Its buffer goes back to the pool when nobody needs it any more.
pub(super) struct Piece {
    pub(super) buffer: Option<AlignedBuffer>,
    pub(super) length: usize,
    pub(super) offset: u64,
    pub(super) home: mpsc::Sender<AlignedBuffer>,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.length])
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // Without a pool the run is over and the memory is freed.
            let _over = self.home.send(buffer);
        }
    }
}

/// What the writer gets.
pub(super) enum Produced {
    Piece(Arc<Piece>),
    End(End),
    Failed(Error),
}
