//! What a stream is, by its first bytes.

use std::fmt;

use crate::request::Container;

/// As many bytes as are looked at: the mark of a tar archive ends at 263.
pub(super) const HEAD: usize = 512;

/// What a stream is, by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as its format")]
pub enum Form {
    Gzip,
    /// Nothing that is known to be packed: taken for the image itself.
    Raw,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    Zip,
    Qcow2,
    Tar,
    /// A page for people, usually an error.
    Html,
    /// Nothing at all.
    Empty,
}

impl Form {
    /// Looks at the first bytes of a stream, at most 512.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        const MARKS: [(&[u8], Form); 7] = [
            (b"\x1f\x8b\x08", Form::Gzip),
            (b"\x28\xb5\x2f\xfd", Form::Zstd),
            (b"\xfd7zXZ\x00", Form::Xz),
            (b"BZh", Form::Bzip2),
            (b"\x04\x22\x4d\x18", Form::Lz4),
            (b"PK\x03\x04", Form::Zip),
            (b"QFI\xfb", Form::Qcow2),
        ];
        if head.is_empty() {
            return Self::Empty;
        }
        if let Some((_, form)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
            return form.clone();
        }
        if head.get(257..262) == Some(b"ustar") {
            return Self::Tar;
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let is_page = |start: &str| text.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()));
        if ["<!doctype", "<html", "<?xml", "<head"].into_iter().any(is_page) { Self::Html } else { Self::Raw }
    }

    /// How to unpack it, given what the request says; without a request what was found counts.
    ///
    /// # Errors
    /// What was expected and what was found instead.
    pub(super) fn container(&self, expected: Option<Container>) -> Result<Container, String> {
        match (expected, self) {
            (Some(Container::Gzip) | None, Self::Gzip) => Ok(Container::Gzip),
            (Some(Container::Raw) | None, Self::Raw) => Ok(Container::Raw),
            (_, Self::Empty) => Err("it is empty".to_owned()),
            (None, found) => Err(format!("it is {found}, which cannot be written as an image")),
            (Some(Container::Gzip), found) => Err(format!("expected gzip, found {found}")),
            (Some(Container::Raw), found) => Err(format!("expected a raw image, found {found}")),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Raw => "raw data",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Zip => "a zip archive",
            Self::Qcow2 => "qcow2",
            Self::Tar => "a tar archive",
            Self::Html => "an HTML page",
            Self::Empty => "nothing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_known_by_their_first_bytes() {
        assert_eq!(Form::of(b""), Form::Empty);
        assert_eq!(Form::of(b"\x1f\x8b\x08\x00"), Form::Gzip);
        assert_eq!(Form::of(b"\x1f\x8b"), Form::Raw);
        assert_eq!(Form::of(b"\xef\xbb\xbf \r\n<!DOCTYPE html>"), Form::Html);
        assert_eq!(Form::of(b"<HTML><body>"), Form::Html);
        assert_eq!(Form::of(&[0; 512]), Form::Raw);
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Form::of(&tar), Form::Tar);
    }

    #[test]
    fn a_contradiction_says_what_was_found() {
        assert_eq!(Form::Gzip.container(None), Ok(Container::Gzip));
        assert_eq!(Form::Raw.container(Some(Container::Raw)), Ok(Container::Raw));
        assert_eq!(Form::Html.container(Some(Container::Gzip)), Err("expected gzip, found an HTML page".to_owned()));
        assert_eq!(Form::Gzip.container(Some(Container::Raw)), Err("expected a raw image, found gzip".to_owned()));
        assert_eq!(Form::Xz.container(None), Err("it is xz, which cannot be written as an image".to_owned()));
        assert_eq!(Form::Empty.container(Some(Container::Raw)), Err("it is empty".to_owned()));
    }
}
