//! Digests as they are published beside images.

use std::fmt;
use std::str::FromStr;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is named as its standard")]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of this name, in letters of any size.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm whose digests have so many hexadecimal digits.
    pub(super) fn of_digits(digits: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.length() * 2 == digits)
    }

    /// Bytes of a digest.
    const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A digest, written `algorithm:hex`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

impl Digest {
    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let value = match algorithm {
            Algorithm::Md5 => Md5::digest(bytes).to_vec(),
            Algorithm::Sha1 => Sha1::digest(bytes).to_vec(),
            Algorithm::Sha256 => Sha256::digest(bytes).to_vec(),
            Algorithm::Sha512 => Sha512::digest(bytes).to_vec(),
        };
        Self { algorithm, value }
    }

    /// The digest with these hexadecimal digits, when they are as many as its algorithm gives.
    pub(super) fn of_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        if hex.len() != algorithm.length() * 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
        let value = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        Some(Self { algorithm, value })
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |what: String| format!("digest {text:?}: {what}");
        let (name, hex) = text.split_once(':').ok_or_else(|| fault("expected ALGORITHM:HEX".to_owned()))?;
        let algorithm = Algorithm::of_name(name)
            .ok_or_else(|| fault(format!("expected md5, sha1, sha256 or sha512 before the colon, found {name:?}")))?;
        let digits = algorithm.length() * 2;
        Self::of_hex(algorithm, hex)
            .ok_or_else(|| fault(format!("expected {digits} hexadecimal digits after the colon")))
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm.name())?;
        self.value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes the digests of one stream.
#[derive(Default)]
pub(super) struct Hashers(Vec<Hasher>);

enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hashers {
    /// Computes what these expectations need, each algorithm once.
    pub(super) fn for_digests(expected: &[Digest]) -> Self {
        let needed = Algorithm::ALL.into_iter().filter(|&it| expected.iter().any(|digest| digest.algorithm == it));
        Self(
            needed
                .map(|algorithm| match algorithm {
                    Algorithm::Md5 => Hasher::Md5(Md5::new()),
                    Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
                    Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
                    Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
                })
                .collect(),
        )
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.0 {
            match hasher {
                Hasher::Md5(it) => it.update(bytes),
                Hasher::Sha1(it) => it.update(bytes),
                Hasher::Sha256(it) => it.update(bytes),
                Hasher::Sha512(it) => it.update(bytes),
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Digest> {
        let finished = |hasher| match hasher {
            Hasher::Md5(it) => Digest { algorithm: Algorithm::Md5, value: it.finalize().to_vec() },
            Hasher::Sha1(it) => Digest { algorithm: Algorithm::Sha1, value: it.finalize().to_vec() },
            Hasher::Sha256(it) => Digest { algorithm: Algorithm::Sha256, value: it.finalize().to_vec() },
            Hasher::Sha512(it) => Digest { algorithm: Algorithm::Sha512, value: it.finalize().to_vec() },
        };
        self.0.into_iter().map(finished).collect()
    }
}

/// Two digests of one algorithm that cannot both be right.
#[must_use]
pub fn contradiction(digests: &[Digest]) -> Option<(&Digest, &Digest)> {
    digests.iter().find_map(|one| {
        let other = digests.iter().find(|other| other.algorithm == one.algorithm && *other != one)?;
        Some((one, other))
    })
}

/// The first expectation for which nothing was computed.
pub(super) fn first_missing<'a>(expected: &'a [Digest], computed: &[Digest]) -> Option<&'a Digest> {
    expected.iter().find(|wanted| computed.iter().all(|digest| digest.algorithm != wanted.algorithm))
}

/// The first expectation that what was computed does not meet: expected, computed.
pub(super) fn first_difference<'a>(expected: &'a [Digest], computed: &'a [Digest]) -> Option<(&'a Digest, &'a Digest)> {
    expected.iter().find_map(|wanted| {
        let found = computed.iter().find(|digest| digest.algorithm == wanted.algorithm)?;
        (found != wanted).then_some((wanted, found))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1321, FIPS 180-4: the digests of "abc".
    const ABC: [&str; 4] = [
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ];

    #[test]
    fn digests_equal_the_standards_examples() {
        let expected: Vec<Digest> = ABC.iter().map(|text| text.parse().unwrap()).collect();
        let mut hashers = Hashers::for_digests(&expected);
        hashers.update(b"a");
        hashers.update(b"bc");
        let computed = hashers.finish();
        assert_eq!(computed, expected);
        assert_eq!(computed.iter().map(ToString::to_string).collect::<Vec<_>>(), ABC);
        assert_eq!(first_difference(&expected, &computed), None);
    }

    #[test]
    fn a_difference_names_both() {
        let mut hashers = Hashers::for_digests(&[ABC[0].parse().unwrap()]);
        hashers.update(b"abd");
        let computed = hashers.finish();
        let expected = [ABC[0].parse().unwrap()];
        assert_eq!(first_difference(&expected, &computed), Some((&expected[0], &computed[0])));
    }

    #[test]
    fn what_is_not_a_digest_is_refused_with_what_was_expected() {
        let fault = |text: &str| text.parse::<Digest>().unwrap_err();
        assert_eq!(fault("abc"), "digest \"abc\": expected ALGORITHM:HEX");
        assert_eq!(
            fault("crc32:00"),
            "digest \"crc32:00\": expected md5, sha1, sha256 or sha512 before the colon, found \"crc32\""
        );
        assert_eq!(fault("md5:00"), "digest \"md5:00\": expected 32 hexadecimal digits after the colon");
        let umlaut = format!("md5:ä{}", "0".repeat(30));
        assert_eq!(fault(&umlaut), format!("digest {umlaut:?}: expected 32 hexadecimal digits after the colon"));
        assert_eq!("SHA1:A9993E364706816ABA3E25717850C26C9CD0D89D".parse::<Digest>().unwrap().to_string(), ABC[1]);
    }
}
