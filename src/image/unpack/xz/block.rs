//! The header of a block, which tells what unpacking it beside others takes. The .xz file format 1.2.1, section 3.1.

const HAS_PACKED: u8 = 0x40;
const HAS_IMAGE: u8 = 0x80;
const LZMA2: u64 = 0x21;

/// What the header of a block tells, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) dictionary: u64,
    pub(super) packed: Option<u64>,
    pub(super) image: Option<u64>,
}

impl Block {
    /// Reads a header; nothing where none stands, as in an empty stream.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        let (&[_, flags], mut rest) = header.split_first_chunk()?;
        let mut told = |flag| if flags & flag == 0 { Some(None) } else { number(&mut rest).map(Some) };
        let (packed, image) = (told(HAS_PACKED)?, told(HAS_IMAGE)?);
        let mut dictionary = 0;
        for _ in 0..=flags & 3 {
            let id = number(&mut rest)?;
            let length = usize::try_from(number(&mut rest)?).ok()?;
            let (options, after) = rest.split_at_checked(length)?;
            if id == LZMA2 {
                dictionary = size_of_dictionary(*options.first()?)?;
            }
            rest = after;
        }
        Some(Self { dictionary, packed, image })
    }

    /// What unpacking it takes if nothing waits for it; nothing where it does not tell.
    pub(super) fn memory(&self) -> Option<u64> {
        self.dictionary.checked_add(self.packed?)?.checked_add(self.image?)
    }
}

/// Bytes of the header that begins with this one; one byte tells that no block follows.
pub(super) fn length_of_header(first: u8) -> usize {
    if first == 0 { 1 } else { (usize::from(first) + 1) * 4 }
}

/// A number of seven bits a byte, the lowest first. Section 1.2.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// 2^n or 3 * 2^n bytes. Section 5.3.1.
fn size_of_dictionary(bits: u8) -> Option<u64> {
    match bits {
        0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
        40 => Some(u64::from(u32::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_its_sizes_and_its_dictionary() {
        // The first block of what `xz -6 -T2` makes, without its checksum.
        let header = b"\x04\xc0\xef\x20\x80\x80\x80\x0c\x21\x01\x16\0\0\0\0\0";
        let block = Block { dictionary: 8 << 20, packed: Some(4207), image: Some(24 << 20) };
        assert_eq!(Block::read(header), Some(block));
        assert_eq!(block.memory(), Some((32 << 20) + 4207));
        // One of `xz -T1 --x86 --lzma2=dict=96MiB`.
        let block = Block { dictionary: 96 << 20, packed: None, image: None };
        assert_eq!(Block::read(b"\x02\x01\x04\x00\x21\x01\x1d\0"), Some(block));
        assert_eq!(block.memory(), None);
    }

    #[test]
    fn a_header_that_is_cut_tells_nothing() {
        let header = b"\x04\xc0\xef\x20\x80\x80\x80\x0c\x21\x01\x16";
        for length in 0..header.len() {
            assert_eq!(Block::read(&header[..length]), None, "{length}");
        }
        assert_eq!(Block::read(b"\x02\x00\x21\x01\x29\0\0\0"), None);
        assert_eq!(Block::read(&[[2, 0x40].as_slice(), &[0xff; 12]].concat()), None);
    }
}
