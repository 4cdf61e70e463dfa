//! Block maps as `bmaptool` makes them: which blocks of an image hold data, and their digests.
//!
//! The format has no document but its tool, <https://github.com/yoctoproject/bmaptool>: versions 1.0 to 1.2 have no digests, 1.3
//! has those of SHA-1, 1.4 and 2.0 are alike and name the algorithm.

mod document;

use crate::units::widen;

use super::digest::{Algorithm, Digest, Hashers};
use document::{Document, Field, Range};

/// The most bytes of a block map: more than 100,000 ranges with their digests.
pub(super) const MOST: usize = 16 << 20;

/// The largest block that is believed; `bmaptool` takes that of the file system, usually 4 KiB.
const LARGEST_BLOCK: u64 = 1 << 30;

/// Which parts of an image hold data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bmap {
    /// Bytes of the image.
    pub(super) image_size: u64,
    /// What holds data: in order, none empty, none touching what another has, all within the image.
    pub(super) ranges: Vec<Mapped>,
}

/// Bytes of the image that hold data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) start: u64,
    /// The byte behind the last.
    pub(super) end: u64,
    pub(super) checksum: Option<Digest>,
}

/// How a version names its digests.
struct Checksums<'a> {
    /// The algorithm, as digests are written.
    algorithm: &'a str,
    /// The attribute of ranges.
    attribute: &'static str,
    /// The element with the digest of the file.
    element: &'static str,
}

impl Bmap {
    /// Reads a block map, and compares it with the digest of itself that it holds.
    ///
    /// # Errors
    /// What is wrong, with the line and byte where it stands, and the element.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST {
            return Err(format!("the block map has {} bytes, at most {MOST} are read", bytes.len()));
        }
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| format!("at byte {}: it is not UTF-8", error.valid_up_to()))?;
        let document = Document::read(text)?;
        let checksums = checksums(&document)?;
        if let Some(checksums) = &checksums {
            check_own_digest(&document, checksums)?;
        }
        let map = Sizes::of(&document)?;
        let ranges = map.ranges(&document, checksums.as_ref())?;
        Ok(Self { image_size: map.image_size, ranges })
    }

    /// Whether there are digests of everything that holds data.
    pub(super) fn is_proof(&self) -> bool {
        self.ranges.iter().all(|range| range.checksum.is_some())
    }

    /// Bytes that hold data.
    pub(super) fn mapped(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// What the version says of digests; nothing where there are none.
fn checksums<'a>(document: &'a Document<'_>) -> Result<Option<Checksums<'a>>, String> {
    let version = &document.version;
    let numbers = version.text.split_once('.').and_then(|(major, minor)| number(major).zip(number(minor)));
    match numbers {
        Some((1, 0..=2)) => Ok(None),
        Some((1, 3)) => Ok(Some(Checksums { algorithm: "sha1", attribute: "sha1", element: "BmapFileSHA1" })),
        Some((1, 4) | (2, _)) => {
            let kind = document.required("ChecksumType")?;
            if Algorithm::of_name(kind.text).is_none() {
                let found = format!("expected md5, sha1, sha256 or sha512, found {:?}", kind.text);
                return Err(document.fault(kind.at, "ChecksumType", &found));
            }
            Ok(Some(Checksums { algorithm: kind.text, attribute: "chksum", element: "BmapFileChecksum" }))
        }
        _ => {
            let found = format!("its version is {:?}, those from 1.0 to 1.4 and 2.0 are read", version.text);
            Err(document.fault(version.at, "bmap", &found))
        }
    }
}

/// The digest of the file is computed with zeros in its own place.
fn check_own_digest(document: &Document<'_>, checksums: &Checksums<'_>) -> Result<(), String> {
    let field = document.required(checksums.element)?;
    let wrong = |what: &str| document.fault(field.at, checksums.element, what);
    let expected: Digest =
        format!("{}:{}", checksums.algorithm, field.text).parse().map_err(|words: String| wrong(&words))?;
    let bytes = document.text.as_bytes();
    let (before, rest) = bytes.split_at(field.at.min(bytes.len()));
    let mut hashers = Hashers::for_digests(std::slice::from_ref(&expected));
    hashers.update(before);
    hashers.update(&vec![b'0'; field.text.len()]);
    hashers.update(rest.get(field.text.len()..).unwrap_or_default());
    let found = hashers.finish();
    match super::digest::first_difference(std::slice::from_ref(&expected), &found) {
        None => Ok(()),
        Some((expected, found)) => Err(wrong(&format!("the digest of the block map is {found}, expected {expected}"))),
    }
}

/// Sizes and counts, which agree with each other.
struct Sizes {
    image_size: u64,
    block_size: u64,
    blocks: u64,
    mapped: u64,
}

impl Sizes {
    fn of(document: &Document<'_>) -> Result<Self, String> {
        let number_of = |name: &'static str| {
            let field = document.required(name)?;
            let expected = || document.fault(field.at, name, &format!("expected a number, found {:?}", field.text));
            number(field.text).map(|number| (number, field)).ok_or_else(expected)
        };
        let (image_size, _) = number_of("ImageSize")?;
        let (block_size, block_field) = number_of("BlockSize")?;
        let (blocks, blocks_field) = number_of("BlocksCount")?;
        let (mapped, mapped_field) = number_of("MappedBlocksCount")?;
        if !(512..=LARGEST_BLOCK).contains(&block_size) || !block_size.is_multiple_of(512) {
            let found = format!("expected a multiple of 512 up to {LARGEST_BLOCK}, found {block_size}");
            return Err(document.fault(block_field.at, "BlockSize", &found));
        }
        let needed = image_size.div_ceil(block_size);
        if blocks != needed {
            let found = format!("{image_size} bytes in blocks of {block_size} are {needed} blocks, found {blocks}");
            return Err(document.fault(blocks_field.at, "BlocksCount", &found));
        }
        if mapped > blocks {
            let found = format!("{mapped} blocks are mapped of {blocks}");
            return Err(document.fault(mapped_field.at, "MappedBlocksCount", &found));
        }
        Ok(Self { image_size, block_size, blocks, mapped })
    }

    fn ranges(&self, document: &Document<'_>, checksums: Option<&Checksums<'_>>) -> Result<Vec<Mapped>, String> {
        let mut ranges = Vec::with_capacity(document.ranges.len());
        let (mut free, mut mapped) = (0, 0);
        for range in &document.ranges {
            let wrong = |what: String| document.fault(range.blocks.at, "Range", &what);
            let (first, last) = self.blocks(range).map_err(wrong)?;
            if first < free {
                return Err(wrong(format!("it begins with block {first}, and those before {free} are told already")));
            }
            let checksum = checksums.and_then(|kind| Some((kind, range.checksum(kind.attribute)?)));
            let checksum = checksum.map(|(kind, text)| format!("{}:{text}", kind.algorithm).parse::<Digest>());
            // Blocks are fewer than bytes, and the last one need not be whole.
            let end = (last + 1).saturating_mul(self.block_size).min(self.image_size);
            ranges.push(Mapped { start: first * self.block_size, end, checksum: checksum.transpose().map_err(wrong)? });
            (free, mapped) = (last + 1, mapped + (last - first + 1));
        }
        if mapped != self.mapped {
            let field = document.required("MappedBlocksCount")?;
            let found = format!("the ranges have {mapped} blocks, found {}", self.mapped);
            return Err(document.fault(field.at, "MappedBlocksCount", &found));
        }
        Ok(ranges)
    }

    /// The first and the last block of a range.
    fn blocks(&self, range: &Range<'_>) -> Result<(u64, u64), String> {
        let text = range.blocks.text;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let numbers = number(first.trim()).zip(number(last.trim()));
        let (first, last) = numbers.ok_or_else(|| format!("expected BLOCK or FIRST-LAST, found {text:?}"))?;
        if first > last {
            return Err(format!("it begins with block {first} and ends with {last}"));
        }
        if last >= self.blocks {
            return Err(format!("it ends with block {last}, and the image has {}", self.blocks));
        }
        Ok((first, last))
    }
}

/// Digits alone: [`u64::from_str`] takes a sign too.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl<'a> Range<'a> {
    fn checksum(&self, attribute: &str) -> Option<&'a str> {
        match attribute {
            "sha1" => self.sha1,
            _ => self.chksum,
        }
    }
}

impl Document<'_> {
    fn required(&self, element: &'static str) -> Result<&Field<'_>, String> {
        let found = self.fields.iter().find(|(name, _)| *name == element).map(|(_, field)| field);
        found.ok_or_else(|| self.fault(self.text.len(), "bmap", &format!("the element {element} is missing")))
    }

    /// A fault with its place.
    fn fault(&self, at: usize, element: &str, what: &str) -> String {
        document::fault(self.text, widen(at), element, what)
    }
}

#[cfg(test)]
mod tests;
