//! Packs for tests, by encoders that have nothing to do with the decoders under test.

use std::io::Write as _;

use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder, Stream};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::request::Container;

/// Everything that is packed.
pub(in crate::image) const PACKED: [Container; 5] =
    [Container::Gzip, Container::Zstd, Container::Xz, Container::Bzip2, Container::Lz4];

/// One member, with every checksum that the form knows.
pub(in crate::image) fn pack(bytes: &[u8], container: Container) -> Vec<u8> {
    match container {
        Container::Raw | Container::Qcow2 => bytes.to_vec(),
        Container::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Container::Zstd => {
            let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Container::Xz => xz(bytes, 1 << 20),
        Container::Bzip2 => {
            let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Container::Lz4 => lz4(bytes, BlockMode::Independent),
    }
}

/// One stream with a dictionary of this size.
pub(in crate::image) fn xz(bytes: &[u8], dictionary: u32) -> Vec<u8> {
    let mut options = LzmaOptions::new_preset(0).unwrap();
    let stream = Stream::new_stream_encoder(Filters::new().lzma2(options.dict_size(dictionary)), Check::Crc64);
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream.unwrap());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One stream of blocks that tell their sizes, as `xz -T2` makes them.
pub(in crate::image) fn xz_of_blocks(bytes: &[u8], block: u64) -> Vec<u8> {
    let stream = MtStreamBuilder::new().threads(2).preset(0).block_size(block).check(Check::Crc64).encoder();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream.unwrap());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One frame of small blocks, whose every part has a checksum.
pub(in crate::image) fn lz4(bytes: &[u8], mode: BlockMode) -> Vec<u8> {
    let info = FrameInfo::new()
        .block_mode(mode)
        .block_size(BlockSize::Max64KB)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(bytes.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
