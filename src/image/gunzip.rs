//! gzip: all members of a stream, with truncation, corruption and trailing garbage told apart.

use std::io::{self, BufRead, Read};

use crate::units::widen;
use flate2::bufread::GzDecoder;

/// Unpacks a gzip stream of any number of members.
///
/// Its errors carry words in an [`io::Error`] of kind `InvalidData`; errors of the reader below pass through.
pub(super) struct Gunzip<R> {
    decoder: GzDecoder<Slot<R>>,
    members: u64,
    /// Bytes unpacked from the current member.
    unpacked: u64,
    has_ended: bool,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(packed: R) -> Self {
        // The header is read with the first bytes, not here: an error of the reader must come out of `read`.
        let mut decoder = GzDecoder::new(Slot(None));
        decoder.reset(Slot(Some(packed)));
        Self { decoder, members: 0, unpacked: 0, has_ended: false }
    }

    /// The reader below.
    pub(super) fn into_inner(self) -> Option<R> {
        self.decoder.into_inner().0
    }

    /// Goes on to the next member, if there is one.
    fn next_member(&mut self) -> io::Result<()> {
        let mut packed = self.decoder.reset(Slot(None));
        self.members = self.members.saturating_add(1);
        self.unpacked = 0;
        let next = loop {
            match packed.fill_buf() {
                Ok(ready) => break Ok(ready.first().copied()),
                // The caller would repeat the call, yet here the member's end would be forgotten.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.decoder.reset(packed);
        match next? {
            None => self.has_ended = true,
            Some(0x1f) => {}
            Some(_) => return Err(garbage()),
        }
        Ok(())
    }

    fn explained(&self, error: io::Error) -> io::Error {
        // What the reader below reports is its own error; the decoder's are plain kinds with words of its own.
        let is_ours = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof);
        if !is_ours {
            return error;
        }
        let is_in_header = self.decoder.header().is_none() && self.unpacked == 0;
        if is_in_header && self.members > 0 {
            return garbage();
        }
        let words = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the gzip stream is truncated".to_owned(),
            _ => format!("the gzip stream is corrupt: {error}"),
        };
        io::Error::new(io::ErrorKind::InvalidData, words)
    }
}

fn garbage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "garbage follows the end of the gzip stream")
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended && !buffer.is_empty() {
            match self.decoder.read(buffer) {
                Ok(0) => self.next_member()?,
                Ok(count) => {
                    self.unpacked = self.unpacked.saturating_add(widen(count));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => return Err(self.explained(error)),
            }
        }
        Ok(0)
    }
}

/// A reader that can be taken out of the decoder between two members, to look at what follows.
struct Slot<R>(Option<R>);

impl<R: Read> Read for Slot<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |inner| inner.read(buffer))
    }
}

impl<R: BufRead> BufRead for Slot<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.as_mut().map_or(Ok(&[]), |inner| inner.fill_buf())
    }

    fn consume(&mut self, amount: usize) {
        if let Some(inner) = &mut self.0 {
            inner.consume(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::image::testing::Choppy;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        Gunzip::new(packed).read_to_end(&mut out).map(|_| out).map_err(|error| error.to_string())
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 2_654_435_761) >> 13).to_le_bytes()[0]).collect()
    }

    #[test]
    fn every_member_is_unpacked_empty_ones_too() {
        let packed = [pack(b"one"), pack(b""), pack(b"two"), pack(b"")].concat();
        assert_eq!(unpack(&packed), Ok(b"onetwo".to_vec()));
    }

    #[test]
    fn truncation_is_an_error_at_every_byte() {
        let packed = pack(&noise(3000));
        for cut in 1..packed.len() {
            assert_eq!(unpack(&packed[..cut]), Err("the gzip stream is truncated".to_owned()), "cut at {cut}");
        }
    }

    #[test]
    fn trailing_garbage_is_told_from_truncation() {
        let whole = pack(b"image");
        for tail in [&b"\0"[..], b"x", b"\x1f", b"\x1f\x8b", b"\x1fxxxxxxxxxxxxxxxxxxxx", &[0; 4096]] {
            let packed = [&whole, tail].concat();
            assert_eq!(unpack(&packed), Err("garbage follows the end of the gzip stream".to_owned()), "{tail:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let packed = pack(&noise(2000));
        for at in 10..packed.len() {
            let mut spoiled = packed.clone();
            spoiled[at] ^= 0x10;
            match unpack(&spoiled) {
                // The bits between the last code and the next byte mean nothing.
                Ok(bytes) => assert!(bytes == noise(2000), "byte {at}"),
                Err(words) => {
                    let is_told = words.starts_with("the gzip stream is ") || words.starts_with("garbage follows");
                    assert!(is_told, "byte {at}: {words}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn short_and_interrupted_reads_change_nothing(
            members in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..4),
            steps in proptest::collection::vec(0usize..40, 1..20),
        ) {
            let packed: Vec<u8> = members.iter().flat_map(|member| pack(member)).collect();
            let reader = std::io::BufReader::with_capacity(7, Choppy::new(packed, steps));
            let mut out = Vec::new();
            Gunzip::new(reader).read_to_end(&mut out).unwrap();
            prop_assert_eq!(out, members.concat());
        }
    }
}
