//! What identifies a machine: MAC address, SMBIOS UUID, serial number. Parsed once, so that nothing a node says reaches
//! a script or a kernel command line unchecked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A MAC address; shown in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads the one spelling that Nailgun's schema allows, `aa:bb:cc:dd:ee:ff` in either case.
    pub(crate) fn from_nailgun(text: &str) -> Option<Self> {
        let has_colons = text.len() == 17 && text.bytes().enumerate().all(|(at, byte)| (at % 3 == 2) == (byte == b':'));
        if has_colons { text.parse().ok() } else { None }
    }

    /// The form of `BOOTIF=`: hardware type and address with hyphens.
    pub(crate) fn bootif(self) -> String {
        format!("01-{}", self.to_string().replace(':', "-"))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Any usual spelling: colons, hyphens, dots or nothing between the digits, either case, with or without the hardware
/// type of `BOOTIF=` in front.
impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("{:?} is not a MAC address", shortened(text));
        if text.len() > 20 || !text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":-.".contains(&byte)) {
            return Err(refused());
        }
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let digits = match digits.len() {
            12 => digits.as_str(),
            14 if digits.starts_with("01") => &digits[2..],
            _ => return Err(refused()),
        };
        let number = u64::from_str_radix(digits, 16).map_err(|_| refused())?;
        let [_, _, octets @ ..] = number.to_be_bytes();
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// An SMBIOS UUID in lower case with hyphens, or nothing when the text is none. All zeroes or all ones mean "not set".
pub(crate) fn smbios_uuid(text: &str) -> Option<String> {
    let uuid = uuid::Uuid::try_parse(text.trim()).ok()?;
    (!uuid.is_nil() && !uuid.is_max()).then(|| uuid.hyphenated().to_string())
}

/// A serial number that says something: at most 64 printable ASCII characters, and none of the makers' fillers.
pub(crate) fn serial(text: &str) -> Option<String> {
    const FILLERS: [&str; 6] =
        ["not specified", "none", "to be filled by o.e.m.", "default string", "system serial number", "0"];
    let text = text.trim();
    let is_printable = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let is_filler = FILLERS.contains(&text.to_ascii_lowercase().as_str());
    (is_printable && !is_filler).then(|| text.to_owned())
}

/// Foreign text for a message: without control characters, at most 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = clean.clone().take(80).collect();
    if clean.count() > 80 {
        short.push_str("..");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_the_same_mac() {
        let expected = "52:54:00:0a:bc:de";
        for text in ["52:54:00:0A:BC:DE", "52-54-00-0a-bc-de", "5254000abcde", "5254.000a.bcde", "01-52-54-00-0a-bc-de"]
        {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "52:54:00:0a:bc", "52:54:00:0a:bc:dg", "52:54:00:0a:bc:de:ff", "52:54:00:0a:bc:de\nboot"] {
            assert!(text.parse::<Mac>().is_err(), "{text:?} was taken");
        }
        assert_eq!(Mac::from_nailgun("52-54-00-0a-bc-de"), None);
        assert_eq!(Mac::from_nailgun(expected).unwrap().bootif(), "01-52-54-00-0a-bc-de");
    }

    #[test]
    fn fillers_identify_nothing() {
        assert_eq!(serial(" EX0000001 "), Some("EX0000001".to_owned()));
        assert_eq!(serial("Not Specified"), None);
        assert_eq!(serial("a\nb"), None);
        assert_eq!(smbios_uuid("00000000-0000-0000-0000-000000000000"), None);
        assert_eq!(
            smbios_uuid("4C4C4544-0000-1000-8000-000000000001").as_deref(),
            Some("4c4c4544-0000-1000-8000-000000000001")
        );
    }
}
