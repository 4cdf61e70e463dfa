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
    /// Begins with a frame to be skipped, of zstd or lz4, that is longer than what is looked at.
    Skippable,
    Zip,
    Qcow2,
    Tar,
    /// Something else that is no image, by its name.
    Other(&'static str),
    /// A page for people, usually an error.
    Html,
    /// Nothing at all.
    Empty,
}

impl Form {
    /// Looks at the first bytes of a stream, at most 512.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        const MARKS: [(&[u8], Form); 17] = [
            (b"\x1f\x8b\x08", Form::Gzip),
            (b"\x28\xb5\x2f\xfd", Form::Zstd),
            (b"\xfd7zXZ\x00", Form::Xz),
            (b"BZh", Form::Bzip2),
            (b"\x04\x22\x4d\x18", Form::Lz4),
            (b"PK\x03\x04", Form::Zip),
            (b"QFI\xfb", Form::Qcow2),
            // What would be taken for a raw image otherwise.
            (b"\x02\x21\x4c\x18", Form::Other("lz4 in its legacy format")),
            (b"LZIP\x01", Form::Other("lzip")),
            (b"\x89LZO\x00\x0d\x0a\x1a\x0a", Form::Other("lzop")),
            (b"7z\xbc\xaf\x27\x1c", Form::Other("a 7z archive")),
            (b"\x1f\x9d", Form::Other("a file of compress")),
            (b"KDMV", Form::Other("vmdk")),
            (b"# Disk DescriptorFile", Form::Other("vmdk")),
            (b"<<< ", Form::Other("vdi")),
            (b"vhdxfile", Form::Other("vhdx")),
            (b"conectix", Form::Other("vhd")),
        ];
        if head.is_empty() {
            return Self::Empty;
        }
        if let Some((_, form)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
            return form.clone();
        }
        if head.len() >= 8 && matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
            return Self::after_skippable(head);
        }
        // Parameters and dictionary as its tools choose them, then an unknown length: it has no mark.
        if matches!(head, [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..]) {
            return Self::Other("lzma without the frame of xz");
        }
        if head.get(257..262) == Some(b"ustar") {
            return Self::Tar;
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let is_page = |start: &str| text.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()));
        if ["<!doctype", "<html", "<?xml", "<head"].into_iter().any(is_page) { Self::Html } else { Self::Raw }
    }

    /// A frame to be skipped, as zstd and lz4 both have them: what follows tells whose it is.
    fn after_skippable(head: &[u8]) -> Self {
        let length = head.get(4..).and_then(|rest| rest.first_chunk()).map_or(0, |length| u32::from_le_bytes(*length));
        let next = usize::try_from(length).ok().and_then(|length| head.get(8..)?.get(length..)).unwrap_or_default();
        match Self::of(next) {
            found @ (Self::Zstd | Self::Lz4) => found,
            _ => Self::Skippable,
        }
    }

    /// How to unpack it, given what the request says; without a request what was found counts.
    ///
    /// # Errors
    /// What was expected and what was found instead.
    pub(super) fn container(&self, expected: Option<Container>) -> Result<Container, String> {
        match (expected, self) {
            (_, Self::Empty) => Err("it is empty".to_owned()),
            (Some(expected), Self::Skippable) if matches!(expected, Container::Zstd | Container::Lz4) => Ok(expected),
            (expected, found) => match (expected, found.as_container()) {
                (None, Some(found)) => Ok(found),
                (Some(expected), Some(found)) if expected == found => Ok(found),
                (None, None) => Err(format!("it is {found}, which cannot be written as an image")),
                (Some(Container::Raw), _) => Err(format!("expected a raw image, found {found}")),
                (Some(expected), _) => Err(format!("expected {}, found {found}", expected.as_str())),
            },
        }
    }

    fn as_container(&self) -> Option<Container> {
        match self {
            Self::Gzip => Some(Container::Gzip),
            Self::Raw => Some(Container::Raw),
            // zstd's own tools write such frames in front, those of lz4 do not.
            Self::Zstd | Self::Skippable => Some(Container::Zstd),
            Self::Xz => Some(Container::Xz),
            Self::Bzip2 => Some(Container::Bzip2),
            Self::Lz4 => Some(Container::Lz4),
            Self::Qcow2 => Some(Container::Qcow2),
            _ => None,
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
            Self::Skippable => "zstd or lz4",
            Self::Other(name) => name,
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
        assert_eq!(Form::of(b"<<< QEMU VM Virtual Disk Image >>>\n"), Form::Other("vdi"));
        assert_eq!(Form::of(b"KDMV\x01\0\0\0"), Form::Other("vmdk"));
        assert_eq!(Form::of(b"\x02\x21\x4c\x18\x00"), Form::Other("lz4 in its legacy format"));
        let lzma = [&[0x5d, 0, 0, 0x80, 0][..], &[0xff; 8], b"x"].concat();
        assert_eq!(Form::of(&lzma), Form::Other("lzma without the frame of xz"));
        assert_eq!(Form::of(&lzma[..12]), Form::Raw);
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Form::of(&tar), Form::Tar);
    }

    #[test]
    fn what_follows_a_frame_to_be_skipped_tells_whose_it_is() {
        let after = |length: u32, mark: &[u8]| {
            let content = vec![7; length as usize];
            let all = [&b"\x5a\x2a\x4d\x18"[..], &length.to_le_bytes(), &content, mark].concat();
            Form::of(&all[..all.len().min(HEAD)])
        };
        assert_eq!(after(4, b"\x28\xb5\x2f\xfd"), Form::Zstd);
        assert_eq!(after(0, b"\x04\x22\x4d\x18"), Form::Lz4);
        assert_eq!(after(600, b"\x04\x22\x4d\x18"), Form::Skippable);
        assert_eq!(after(4, b"image"), Form::Skippable);
        let container = |expected| Form::Skippable.container(expected);
        assert_eq!(container(None), Ok(Container::Zstd));
        assert_eq!(container(Some(Container::Lz4)), Ok(Container::Lz4));
        assert_eq!(container(Some(Container::Gzip)), Err("expected gzip, found zstd or lz4".to_owned()));
    }

    #[test]
    fn a_contradiction_says_what_was_found() {
        assert_eq!(Form::Gzip.container(None), Ok(Container::Gzip));
        assert_eq!(Form::Raw.container(Some(Container::Raw)), Ok(Container::Raw));
        assert_eq!(Form::Html.container(Some(Container::Gzip)), Err("expected gzip, found an HTML page".to_owned()));
        assert_eq!(Form::Gzip.container(Some(Container::Raw)), Err("expected a raw image, found gzip".to_owned()));
        assert_eq!(
            Form::Zip.container(None),
            Err("it is a zip archive, which cannot be written as an image".to_owned())
        );
        assert_eq!(Form::Xz.container(None), Ok(Container::Xz));
        assert_eq!(Form::Xz.container(Some(Container::Zstd)), Err("expected zstd, found xz".to_owned()));
        assert_eq!(Form::Empty.container(Some(Container::Raw)), Err("it is empty".to_owned()));
    }
}
