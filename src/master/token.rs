//! Bearer tokens: made here, handed out once, kept only as digests.

use std::fs::File;
use std::io::Read as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Kind, Result};
use crate::request::Secret;

/// Random bytes in a token: 128 bits cannot be guessed over a network, and the kernel line stays short.
const TOKEN_BYTES: usize = 16;

/// A fresh random token in lower-case hex.
///
/// # Errors
/// When the kernel's random source cannot be read.
pub(crate) fn fresh() -> Result<Secret> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context(Kind::Bug, || "reading /dev/urandom")?;
    Ok(Secret::new(hex(&bytes)))
}

/// The SHA-256 of a token. Comparing digests takes the same time however many leading characters agree, in effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenDigest(String);

impl TokenDigest {
    /// The digest of what a peer sent or of what was just made.
    pub(crate) fn of(token: &str) -> Self {
        Self(hex(&Sha256::digest(token.as_bytes())))
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_have_128_bits() {
        let (a, b) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(a.reveal().len(), 32);
    }

    #[test]
    fn digest_is_sha256_in_hex() {
        assert_eq!(TokenDigest::of("abc").0, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
