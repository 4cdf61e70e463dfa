//! Signatures of minisign: over an image as it is published, or over the list of checksums beside it.
//!
//! Only the prehashed form is taken (minisign's own since 0.10): the legacy form signs the bytes themselves, which would all
//! have to be in memory at once.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minisign_verify::{Error as Fault, PublicKey, Signature, StreamVerifier};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Client;

use super::beside;
use super::cancel::Cancel;
use super::location::Location;
use super::source::Source;

/// A public key of minisign.
#[derive(Clone, PartialEq, Eq)]
pub struct MinisignKey {
    key: PublicKey,
    text: String,
}

impl MinisignKey {
    /// The key itself, or the file of that name that holds it, as `minisign -G` writes it.
    ///
    /// # Errors
    /// `Usage` when it is neither.
    pub fn read(key_or_file: &str) -> Result<Self> {
        if let Ok(key) = key_or_file.parse() {
            return Ok(key);
        }
        let reading = || format!("minisign key {key_or_file:?}: it is no key itself; reading it as a file");
        let content = fs::read_to_string(key_or_file).context(Kind::Usage, reading)?;
        let mut lines = content.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.find_map(|line| line.parse().ok()).ok_or_else(|| {
            Error::new(Kind::Usage, format!("minisign key {key_or_file}: the file holds no public key of minisign"))
        })
    }
}

impl FromStr for MinisignKey {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let text = text.trim();
        PublicKey::from_base64(text)
            .map(|key| Self { key, text: text.to_owned() })
            .map_err(|_| format!("{text:?} is no public key of minisign: 56 letters that begin with RW"))
    }
}

impl fmt::Display for MinisignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for MinisignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A signature that must be good.
#[derive(Debug, Clone)]
pub struct Signed {
    /// By whom.
    pub key: MinisignKey,
    /// Where the signature lies.
    pub signature: Location,
    /// Set when it was found good.
    is_proved: Arc<AtomicBool>,
}

impl Signed {
    /// A signature at this place that is to be checked with this key.
    #[must_use]
    pub fn new(key: MinisignKey, signature: Location) -> Self {
        Self { key, signature, is_proved: Arc::default() }
    }

    /// Checks bytes that are in memory.
    ///
    /// # Errors
    /// `Image` when they are not what was signed, or the signature cannot be had.
    pub fn check(&self, bytes: &[u8], client: &Client, cancel: &Cancel) -> Result<()> {
        let signature = self.fetch(client, cancel)?;
        self.key.key.verify(bytes, &signature, false).map_err(|fault| self.fault(&fault))
    }

    /// Asks whether the signature is there and can be checked with the key; what it is over is not looked at.
    pub(super) fn probe(&self, client: &Client, cancel: &Cancel) -> Result<()> {
        let signature = self.fetch(client, cancel)?;
        self.key.key.verify_stream(&signature).map(drop).map_err(|fault| self.fault(&fault))
    }

    /// Passes the source on, and makes its end an error when what came is not what was signed.
    pub(super) fn around(&self, source: Box<dyn Source>, client: &Client, cancel: &Cancel) -> Result<Box<dyn Source>> {
        // The verifier borrows both. They are some hundred bytes, once an image, and the thread that reads may outlive the run.
        let signature: &'static Signature = Box::leak(Box::new(self.fetch(client, cancel)?));
        let key: &'static PublicKey = Box::leak(Box::new(self.key.key.clone()));
        let verifier = key.verify_stream(signature).map_err(|fault| self.fault(&fault))?;
        Ok(Box::new(Verified { source, verifier: Some(verifier), signed: self.clone() }))
    }

    /// Whether all bytes came by and were what was signed.
    pub(super) fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Acquire)
    }

    fn fetch(&self, client: &Client, cancel: &Cancel) -> Result<Signature> {
        let bytes = beside::read(&self.signature, client, cancel)?;
        let text = String::from_utf8_lossy(&bytes);
        Signature::decode(&text).map_err(|fault| self.fault(&fault))
    }

    fn fault(&self, fault: &Fault) -> Error {
        let reason = match fault {
            Fault::InvalidEncoding => "it is no signature of minisign".to_owned(),
            Fault::InvalidSignature => format!("what came is not what the key {} has signed", self.key),
            Fault::UnexpectedKeyId => format!("it was made with another key than {}", self.key),
            Fault::UnexpectedAlgorithm | Fault::UnsupportedLegacyMode => {
                "it has the legacy form, which cannot be checked while an image streams".to_owned()
            }
            other => other.to_string(),
        };
        let error = Error::new(Kind::Image, format!("signature {}: {reason}", self.signature));
        match fault {
            Fault::UnexpectedAlgorithm | Fault::UnsupportedLegacyMode => error
                .advise("sign the file anew with `minisign -S -H -m FILE`; since minisign 0.10 that is its usual form"),
            _ => error,
        }
    }
}

/// A source whose bytes are compared with a signature.
struct Verified {
    source: Box<dyn Source>,
    /// Gone when its word was spoken.
    verifier: Option<StreamVerifier<'static>>,
    signed: Signed,
}

impl Source for Verified {
    fn length(&self) -> Option<u64> {
        self.source.length()
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let Some(verifier) = &mut self.verifier else { return Ok(count) };
        verifier.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let outcome = verifier.finalize();
            self.verifier = None;
            outcome.map_err(|fault| io::Error::other(self.signed.fault(&fault)))?;
            self.signed.is_proved.store(true, Ordering::Release);
        }
        Ok(count)
    }
}
