//! A file that is read in parts, with the digests of all of it.

use super::digest::{Digest, Hashers};
use super::ranged::Ranged;
use crate::error::Result;
use crate::units::widen;

/// Bytes that are read at once of what nobody asked for.
const BETWEEN: usize = 256 << 10;

/// Reads in parts, and computes digests of the whole file on the way: what lies between the parts is read too, each byte
/// once as long as the parts come in order. Files of this kind are nearly so.
pub(super) struct Hashed {
    /// Reads on from the position.
    ahead: Box<dyn Ranged>,
    /// Reads what lies before it, and was hashed then.
    back: Box<dyn Ranged>,
    hashers: Hashers,
    position: u64,
    between: Vec<u8>,
}

impl Hashed {
    /// Two readers of one file.
    pub(super) fn new(ahead: Box<dyn Ranged>, back: Box<dyn Ranged>, digests: &[Digest]) -> Self {
        Self { ahead, back, hashers: Hashers::for_digests(digests), position: 0, between: Vec::new() }
    }

    /// Hashes as far as `offset`.
    fn advance(&mut self, offset: u64) -> Result<()> {
        while self.position < offset {
            let left = offset - self.position;
            self.between.resize(usize::try_from(left).map_or(BETWEEN, |left| left.min(BETWEEN)), 0);
            self.ahead.read_exact_at(self.position, &mut self.between)?;
            self.hashers.update(&self.between);
            self.position = self.position.saturating_add(widen(self.between.len()));
        }
        Ok(())
    }
}

impl Ranged for Hashed {
    fn length(&self) -> u64 {
        self.ahead.length()
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let before = self.position.saturating_sub(offset);
        let before = usize::try_from(before).map_or(buffer.len(), |before| before.min(buffer.len()));
        let (known, new) = buffer.split_at_mut(before);
        if !known.is_empty() {
            self.back.read_exact_at(offset, known)?;
        }
        if !new.is_empty() {
            self.advance(offset)?;
            self.ahead.read_exact_at(self.position, new)?;
            self.hashers.update(new);
            self.position = self.position.saturating_add(widen(new.len()));
        }
        Ok(())
    }

    fn fetched(&self) -> u64 {
        self.ahead.fetched().saturating_add(self.back.fetched())
    }

    fn finish(&mut self) -> Result<Vec<Digest>> {
        self.advance(self.length())?;
        Ok(std::mem::take(&mut self.hashers).finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Vec<u8>, Arc<Mutex<Vec<(u64, usize)>>>);

    impl Ranged for Memory {
        fn length(&self) -> u64 {
            widen(self.0.len())
        }

        fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            self.1.lock().unwrap().push((offset, buffer.len()));
            let from = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
            Ok(())
        }

        fn fetched(&self) -> u64 {
            widen(self.1.lock().unwrap().iter().map(|(_, length)| length).sum())
        }
    }

    const ANY: &str = "md5:00000000000000000000000000000000";

    proptest! {
        #[test]
        fn the_digest_is_that_of_the_file_whatever_is_read_of_it(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            reads in proptest::collection::vec((0usize..3000, 0usize..900), 0..12),
        ) {
            let expected = [ANY.parse::<Digest>().unwrap()];
            let mut whole = Hashers::for_digests(&expected);
            whole.update(&bytes);
            let (ahead, back) = (Memory(bytes.clone(), Arc::default()), Memory(bytes.clone(), Arc::default()));
            let mut hashed = Box::new(Hashed::new(Box::new(ahead.clone()), Box::new(back.clone()), &expected));
            for (offset, length) in reads {
                let offset = offset.min(bytes.len());
                let mut found = vec![0; length.min(bytes.len() - offset)];
                hashed.read_exact_at(offset as u64, &mut found).unwrap();
                prop_assert_eq!(&found, &bytes[offset..offset + found.len()]);
            }
            prop_assert_eq!(hashed.finish().unwrap(), whole.finish());
            let again: usize = back.1.lock().unwrap().iter().map(|(_, length)| length).sum();
            prop_assert_eq!(hashed.fetched(), widen(bytes.len() + again));
            let reads = ahead.1.lock().unwrap();
            let read: usize = reads.iter().map(|(_, length)| length).sum();
            prop_assert_eq!(read, bytes.len());
            prop_assert!(reads.is_sorted());
        }
    }
}
