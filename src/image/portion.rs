//! Parts of an image that need not wait for each other.

/// A part of an image that can be unpacked without the parts before it, on any thread.
pub(super) trait Portion: Send {
    /// Bytes of the image that it makes, exactly.
    fn length(&self) -> usize;

    /// Unpacks into `image`, which has [`Self::length`] bytes.
    ///
    /// # Errors
    /// What is wrong with the data.
    fn unpack(&self, image: &mut [u8]) -> std::result::Result<(), String>;
}
