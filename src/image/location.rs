//! Where an image lies.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::http::Url;

/// Where an image lies. It is shown without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a server.
    Http(Url),
    /// In a file or on a device of this machine.
    File(PathBuf),
}

impl Location {
    /// What lies beside it under its name and this suffix.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        match self {
            Self::Http(url) => Self::Http(url.with_suffix(suffix)),
            Self::File(path) => {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                Self::File(path.into())
            }
        }
    }

    /// The last part of its path, as it would be listed beside it.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        match self {
            Self::Http(url) => url.file_name(),
            Self::File(path) => Some(path.file_name()?.to_string_lossy().into_owned()),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    /// Reads `http://..`, `https://..`, `file:///..` or a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text.split_once("://") {
            Some((scheme, _)) if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => {
                text.parse().map(Self::Http).map_err(|error: crate::http::Error| error.to_string())
            }
            Some((scheme, path)) if scheme.eq_ignore_ascii_case("file") => {
                // RFC 8089: file://localhost/path is file:///path.
                let path = path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
                if path.starts_with('/') {
                    Ok(Self::File(PathBuf::from(path)))
                } else {
                    Err("a file address needs an absolute path: file:///path".to_owned())
                }
            }
            Some((scheme, _)) if is_scheme(scheme) => {
                Err(format!("images are read from http, https and file addresses, not from {scheme}"))
            }
            _ if text.is_empty() => Err("the address of the image is empty".to_owned()),
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_names_of_files_leave_the_query_alone() {
        let location = |text: &str| text.parse::<Location>().unwrap();
        let url = location("http://h/a/disk%20one.img.gz?sig=s");
        assert_eq!(url.file_name().as_deref(), Some("disk one.img.gz"));
        let Location::Http(beside) = url.with_suffix(".minisig") else { unreachable!("it is one still") };
        assert_eq!(beside.path(), "/a/disk%20one.img.gz.minisig");
        assert_eq!(location("/srv/a.img").with_suffix(".minisig"), location("/srv/a.img.minisig"));
        assert_eq!(location("/srv/a.img").file_name().as_deref(), Some("a.img"));
        assert_eq!(location("http://h/").file_name(), None);
    }

    #[test]
    fn addresses_and_paths_are_told_apart() {
        let shown = |text: &str| text.parse::<Location>().map(|location| location.to_string());
        assert_eq!(shown("http://u:hunter2@h/i.gz?sig=s"), Ok("http://h/i.gz?***".to_owned()));
        assert_eq!(shown("HTTPS://h/i.gz"), Ok("https://h/i.gz".to_owned()));
        assert_eq!(shown("file:///tmp/i.img"), Ok("/tmp/i.img".to_owned()));
        assert_eq!(shown("file://localhost/tmp/i.img"), Ok("/tmp/i.img".to_owned()));
        assert_eq!(shown("images/i.img"), Ok("images/i.img".to_owned()));
        assert_eq!(shown("file://host/x"), Err("a file address needs an absolute path: file:///path".to_owned()));
        assert_eq!(
            shown("ftp://h/x"),
            Err("images are read from http, https and file addresses, not from ftp".to_owned())
        );
        assert_eq!(shown(" "), Err("the address of the image is empty".to_owned()));
    }
}
