//! What a server says of a file, by which another file at the same address is known.

use crate::error::{Error, Kind, Result};

/// What one answer says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) length: Option<u64>,
    pub(super) tag: Option<&'a str>,
    pub(super) modified: Option<&'a str>,
}

impl Told<'_> {
    /// How a later answer tells of another file, if so.
    pub(super) fn difference(&self, later: &Self) -> Option<String> {
        if let (Some(before), Some(now)) = (self.tag, later.tag)
            && before != now
        {
            return Some(format!("its ETag was {before} and is {now}"));
        }
        // With a tag the date adds nothing: servers of one name may have copied the file at different times.
        if let (Some(before), Some(now), None) = (self.modified, later.modified, self.tag)
            && before != now
        {
            return Some(format!("it was last modified {before} and is {now}"));
        }
        if let (Some(before), Some(now)) = (self.length, later.length)
            && before != now
        {
            return Some(format!("it had {before} bytes and has {now}"));
        }
        None
    }
}

/// A file on a server, as a connection found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edition {
    pub(super) url: String,
    pub(super) length: Option<u64>,
    pub(super) tag: Option<String>,
    pub(super) modified: Option<String>,
    /// Whether the server can be asked for ranges of this very file alone.
    pub(super) has_validator: bool,
}

impl Edition {
    fn as_told(&self) -> Told<'_> {
        Told { length: self.length, tag: self.tag.as_deref(), modified: self.modified.as_deref() }
    }

    /// Each connection keeps to the file that it found first: they must have found the same.
    ///
    /// # Errors
    /// `Image`: the other connection found another.
    pub(super) fn require_same(&self, other: &Self) -> Result<()> {
        let url = &other.url;
        let words = if self.url == *url {
            self.as_told().difference(&other.as_told()).map(|how| format!("the image on the server has changed: {how}"))
        } else {
            match (self.length, other.length) {
                (Some(first), Some(now)) if first != now => {
                    Some(format!("the image there is another one: it has {now} bytes, not {first}"))
                }
                _ => None,
            }
        };
        words.map_or(Ok(()), |words| Err(Error::new(Kind::Image, format!("reading {url}: {words}"))))
    }

    /// What cannot be told of a file that is read in parts, if so.
    pub(super) fn doubt(&self, has_digest: bool) -> Option<String> {
        let words = "the server gives neither a strong ETag nor a date, and no digest is known: \
                     that all parts are of one file cannot be told";
        (!self.has_validator && !has_digest).then(|| format!("{}: {words}", self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(url: &str, length: u64, tag: Option<&str>, modified: Option<&str>) -> Edition {
        Edition {
            url: url.to_owned(),
            length: Some(length),
            tag: tag.map(str::to_owned),
            modified: modified.map(str::to_owned),
            has_validator: tag.is_some() || modified.is_some(),
        }
    }

    #[test]
    fn two_connections_must_have_found_the_same_tag_date_and_length() {
        let first = edition("http://a/i", 10, Some("\"v1\""), Some("Monday"));
        let words = |other: Edition| first.require_same(&other).map_err(|error| error.to_string());
        assert_eq!(words(first.clone()), Ok(()));
        assert_eq!(words(edition("http://a/i", 10, Some("\"v1\""), Some("Tuesday"))), Ok(()), "copied at another time");
        assert_eq!(
            words(edition("http://b/i", 10, Some("\"other\""), None)),
            Ok(()),
            "another server has its own tags"
        );
        let changed = |how: &str| Err(format!("reading http://a/i: the image on the server has changed: {how}"));
        assert_eq!(
            words(edition("http://a/i", 10, Some("\"v2\""), None)),
            changed("its ETag was \"v1\" and is \"v2\"")
        );
        assert_eq!(words(edition("http://a/i", 11, Some("\"v1\""), None)), changed("it had 10 bytes and has 11"));
        assert_eq!(
            words(edition("http://b/i", 11, Some("\"v1\""), None)),
            Err("reading http://b/i: the image there is another one: it has 11 bytes, not 10".to_owned())
        );

        let dated = edition("http://a/i", 10, None, Some("Monday"));
        assert_eq!(
            dated.require_same(&edition("http://a/i", 10, None, Some("Tuesday"))).unwrap_err().to_string(),
            "reading http://a/i: the image on the server has changed: it was last modified Monday and is Tuesday"
        );
    }
}
