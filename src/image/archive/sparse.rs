//! Maps of sparse files as PAX headers have them. Pure. GNU tar's manual, "Storing Sparse Files".

use super::header::Part;
use super::pax::number;

/// Parts that one file may have: they are memory.
const MOST: usize = 1 << 20;

/// A sparse file: where its data go, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    parts: Vec<Part>,
    pub(super) size: u64,
}

impl Map {
    /// A map whose parts follow each other, end within the file, and together have exactly the bytes of data.
    pub(super) fn new(parts: Vec<Part>, size: u64, data: u64) -> Result<Self, String> {
        let fault = |what: &str| Err(format!("its sparse map is corrupt: {what}"));
        let (mut end, mut total) = (0_u64, 0_u64);
        if i64::try_from(size).is_err() {
            return fault("the file would be longer than a file can be");
        }
        for Part { offset, length } in &parts {
            let next = offset.checked_add(*length).filter(|&next| *offset >= end && next <= size);
            let Some(next) = next else { return fault("the parts overlap or exceed the file") };
            end = next;
            total = total.saturating_add(*length);
        }
        if total != data {
            return fault(&format!("its parts have {total} bytes, the archive {data}"));
        }
        Ok(Self { parts, size })
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// Parts from offsets and lengths in turn.
pub(super) fn parts(numbers: &[u64]) -> Result<Vec<Part>, String> {
    if !numbers.len().is_multiple_of(2) {
        return Err("its sparse map is corrupt: an offset has no length".to_owned());
    }
    check_count(numbers.len() / 2)?;
    Ok(numbers.chunks_exact(2).map(|pair| Part { offset: pair[0], length: pair[1] }).collect())
}

/// Refuses maps that would fill the memory.
pub(super) fn check_count(count: usize) -> Result<(), String> {
    if count > MOST {
        return Err(format!("its sparse map has more than {MOST} parts"));
    }
    Ok(())
}

/// Form 0.1: all numbers in one record, with commas.
pub(super) fn listed(value: &[u8]) -> Result<Vec<Part>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = value.split(|&byte| byte == b',').map(|digits| number("sparse map", digits));
    parts(&numbers.collect::<Result<Vec<_>, _>>()?)
}

/// Form 1.0: the map stands before the data, in lines, filled up to whole blocks. It is fed block by block.
#[derive(Debug, Default)]
pub(super) struct Leading {
    line: Vec<u8>,
    numbers: Vec<u64>,
    wanted: Option<usize>,
}

impl Leading {
    /// Takes a block; gives the parts when it was the last.
    pub(super) fn feed(&mut self, block: &[u8]) -> Result<Option<Vec<Part>>, String> {
        for &byte in block {
            if byte != b'\n' {
                if self.line.len() == 20 {
                    return Err("its sparse map is corrupt: a number is too long".to_owned());
                }
                self.line.push(byte);
                continue;
            }
            let value = number("sparse map", &self.line)?;
            self.line.clear();
            match self.wanted {
                None => {
                    let count = usize::try_from(value).unwrap_or(usize::MAX);
                    check_count(count)?;
                    self.wanted = Some(count.saturating_mul(2));
                }
                Some(_) => self.numbers.push(value),
            }
            if self.wanted == Some(self.numbers.len()) {
                return parts(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive::header::BLOCK;
    use crate::units::widen;

    /// The map of a whole file that begins with one, and the bytes of whole blocks that it takes.
    fn whole(bytes: &[u8]) -> Result<Option<(Vec<Part>, u64)>, String> {
        let mut leading = Leading::default();
        for (block, count) in bytes.chunks(BLOCK).zip(1_usize..) {
            if let Some(parts) = leading.feed(block)? {
                return Ok(Some((parts, widen(count * BLOCK))));
            }
        }
        Ok(None)
    }

    #[test]
    fn map_of_form_0_1_is_a_list() {
        assert_eq!(listed(b"0,5,10,0"), Ok(vec![Part { offset: 0, length: 5 }, Part { offset: 10, length: 0 }]));
        assert_eq!(listed(b""), Ok(Vec::new()));
        assert_eq!(listed(b"1"), Err("its sparse map is corrupt: an offset has no length".to_owned()));
        assert_eq!(listed(b"1,x"), Err("its sparse map is no number: \"x\"".to_owned()));
    }

    #[test]
    fn map_of_form_1_0_ends_with_its_block() {
        let mut bytes = b"2\n0\n5\n10\n0\n".to_vec();
        bytes.resize(1024, 0);
        let parts = vec![Part { offset: 0, length: 5 }, Part { offset: 10, length: 0 }];
        assert_eq!(whole(&bytes), Ok(Some((parts, 512))));
        assert_eq!(whole(&bytes[..9]), Ok(None));
        assert_eq!(whole(b"0\n"), Ok(Some((Vec::new(), 512))));
        assert_eq!(whole(b"9999999\n"), Err("its sparse map has more than 1048576 parts".to_owned()));
        assert_eq!(whole(&[b'1'; 99]), Err("its sparse map is corrupt: a number is too long".to_owned()));
    }

    #[test]
    fn maps_that_do_not_add_up_are_refused() {
        let map = |parts: &[u64], size, data| Map::new(super::parts(parts).unwrap(), size, data).map(|map| map.size);
        assert_eq!(map(&[0, 5, 10, 0], 10, 5), Ok(10));
        let overlap = Err("its sparse map is corrupt: the parts overlap or exceed the file".to_owned());
        assert_eq!(map(&[0, 5, 4, 1], 10, 6), overlap);
        assert_eq!(map(&[8, 3], 10, 3), overlap);
        assert_eq!(map(&[u64::MAX, 2], 10, 2), overlap);
        assert_eq!(
            map(&[0, 5], 10, 6),
            Err("its sparse map is corrupt: its parts have 5 bytes, the archive 6".to_owned())
        );
        assert!(map(&[], u64::MAX, 0).is_err());
    }
}
