//! Clusters as they lie in the file, and what they unpack to.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};
use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use super::super::portion::Portion;
use super::header::Compression;
use crate::units::widen;

/// Buffers for compressed bytes that wait to be used again.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// A buffer of this length, its content of no meaning.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Bytes of the image that follow the part before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) length: usize,
    pub(super) content: Content,
}

/// Where a part comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Zero,
    /// As it is; from this byte of the buffer.
    Plain(usize),
    /// A compressed cluster, between these bytes of the buffer.
    Packed(usize, usize),
}

/// Some clusters of the image that follow each other, as they lie in the file.
pub(super) struct Clusters {
    /// Where they begin in the image.
    pub(super) start: u64,
    pub(super) length: usize,
    pub(super) cluster: usize,
    pub(super) compression: Compression,
    pub(super) parts: Vec<Part>,
    pub(super) bytes: Vec<u8>,
    pub(super) pool: Pool,
}

impl Portion for Clusters {
    fn length(&self) -> usize {
        self.length
    }

    fn unpack(&self, mut image: &mut [u8]) -> Result<usize, String> {
        let whole = image.len();
        let short = || "reading qcow2: parts of an image do not fit their place".to_owned();
        for part in &self.parts {
            let (now, rest) = image.split_at_mut_checked(part.length).ok_or_else(short)?;
            match part.content {
                Content::Zero => now.fill(0),
                Content::Plain(from) => {
                    let found = from.checked_add(part.length).and_then(|end| self.bytes.get(from..end));
                    now.copy_from_slice(found.ok_or_else(short)?);
                }
                Content::Packed(from, end) => {
                    let packed = self.bytes.get(from..end).ok_or_else(short)?;
                    self.unpack_cluster(packed, now).map_err(|fault| {
                        let done = widen(whole - rest.len() - part.length);
                        format!("reading qcow2: the cluster of byte {} of the image: {fault}", self.start + done)
                    })?;
                }
            }
            image = rest;
        }
        if image.is_empty() { Ok(whole) } else { Err(short()) }
    }
}

impl Clusters {
    /// Unpacks a cluster into `image`, which the end of the image may have cut.
    fn unpack_cluster(&self, packed: &[u8], image: &mut [u8]) -> Result<(), String> {
        DECODERS.with_borrow_mut(|decoders| {
            if image.len() == self.cluster {
                return decoders.unpack(self.compression, packed, image);
            }
            let mut whole = vec![0; self.cluster];
            decoders.unpack(self.compression, packed, &mut whole)?;
            image.copy_from_slice(&whole[..image.len()]);
            Ok(())
        })
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

thread_local! {
    static DECODERS: RefCell<Decoders> = const { RefCell::new(Decoders { zlib: None, zstd: None }) };
}

/// What unpacks clusters; making one for each cluster would cost as much as a small cluster.
struct Decoders {
    zlib: Option<Decompress>,
    zstd: Option<Decompressor<'static>>,
}

impl Decoders {
    /// Unpacks a cluster; the bytes of others may follow.
    fn unpack(&mut self, compression: Compression, packed: &[u8], image: &mut [u8]) -> Result<(), String> {
        let expected = image.len();
        let length = match compression {
            Compression::Zlib => self.inflate(packed, image)?,
            Compression::Zstd => self.unpack_zstd(packed, image)?,
        };
        if length == expected { Ok(()) } else { Err(format!("it unpacks to {length} bytes, expected {expected}")) }
    }

    /// Deflate without a header. Unpacking ends when the cluster is full, as the format wants it.
    fn inflate(&mut self, packed: &[u8], image: &mut [u8]) -> Result<usize, String> {
        let decoder = self.zlib.get_or_insert_with(|| Decompress::new(false));
        decoder.reset(false);
        let outcome = decoder.decompress(packed, image, FlushDecompress::Finish);
        let length = usize::try_from(decoder.total_out()).unwrap_or(usize::MAX);
        match outcome {
            Ok(_) => Ok(length),
            Err(error) => Err(format!(
                "its zlib data are corrupt after {length} bytes: {}",
                error.message().map_or_else(|| error.to_string(), str::to_owned)
            )),
        }
    }

    /// One frame that makes exactly a cluster.
    fn unpack_zstd(&mut self, packed: &[u8], image: &mut [u8]) -> Result<usize, String> {
        let corrupt = |words: &str| format!("its zstd data are corrupt: {words}");
        let frame = zstd_safe::find_frame_compressed_size(packed);
        let frame = frame.map_err(|code| corrupt(zstd_safe::get_error_name(code)))?;
        let frame = packed.get(..frame).ok_or_else(|| corrupt("a frame longer than its sectors"))?;
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => none.insert(Decompressor::new().map_err(|error| error.to_string())?),
        };
        decoder.decompress_to_buffer(frame, image).map_err(|error| corrupt(&error.to_string()))
    }
}
