//! How long an image may be.

use crate::error::{Error, Kind, Result};

/// How long the image may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// Its exact length, where that is known.
    pub(super) size: Option<u64>,
    /// What the target holds, and the target's name.
    pub(super) room: Option<(u64, String)>,
}

impl Bounds {
    /// Whether an image that has at least this many bytes may go on.
    pub(super) fn check(&self, length: u64) -> Result<()> {
        if let Some(size) = self.size.filter(|&size| length > size) {
            return Err(Error::new(
                Kind::Image,
                format!("the image is longer than the {size} bytes that it should have"),
            ));
        }
        match &self.room {
            Some((room, target)) if length > *room => {
                let text = format!("the image has at least {length} bytes, {target} holds {room}");
                Err(Error::new(Kind::Image, text))
            }
            _ => Ok(()),
        }
    }

    /// Whether an image of this exact length is right; told before anything is written, where the length is known then.
    pub(super) fn check_exact(&self, length: u64) -> Result<()> {
        if let Some(size) = self.size.filter(|&size| length != size) {
            return Err(Error::new(Kind::Image, format!("the image has {length} bytes and should have {size}")));
        }
        match &self.room {
            Some((room, target)) if length > *room => {
                Err(Error::new(Kind::Image, format!("the image has {length} bytes, {target} holds {room}")))
            }
            _ => Ok(()),
        }
    }
}
