//! An http or https address whose secrets are never shown.

use std::fmt;
use std::str::FromStr;

use crate::request::Secret;

use super::{Error, Fault};

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// User name and password for Basic authentication, from `user:password@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Secret,
    pub(super) password: Secret,
}

/// An http or https address.
///
/// It is shown without user name and password and with its query as `?***`: both may hold credentials, the query that of
/// a presigned address.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// Host and port as written.
    authority: String,
    /// Begins with a slash, holds no query.
    path: String,
    query: Option<String>,
    login: Option<Login>,
}

impl Url {
    /// How its server is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last part of its path without percent encoding; nothing when the path ends in a slash.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.path.rsplit('/').next().filter(|name| !name.is_empty()).map(decoded)
    }

    /// The address whose path ends with this suffix beside its own.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self { path: format!("{}{suffix}", self.path), ..self.clone() }
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host_and_port().0
    }

    /// What goes to the server: everything but the login.
    pub(super) fn bare(&self) -> String {
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{}://{}{}{query}", self.scheme.as_str(), self.authority, self.path)
    }

    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether both are served by the same scheme, host and port, so that one may see the credentials of the other.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        let origin = |url: &Self| {
            let (host, port) = url.host_and_port();
            (url.scheme, host.to_ascii_lowercase(), port)
        };
        origin(self) == origin(other)
    }

    /// The address that a `Location` header of this one names. RFC 3986, section 5.2.
    pub(super) fn join(&self, reference: &str) -> Result<Self, Error> {
        let reference = reference.split('#').next().unwrap_or_default();
        if has_scheme(reference) {
            return reference.parse();
        }
        if reference.starts_with("//") {
            return format!("{}:{reference}", self.scheme.as_str()).parse();
        }
        let (path, query) = split_query(reference);
        let path = match path {
            "" => self.path.clone(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => {
                let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
                without_dots(&format!("{folder}{relative}"))
            }
        };
        let joined = Self { path, query: query.map(str::to_owned), login: None, ..self.clone() };
        joined.checked()
    }

    fn host_and_port(&self) -> (&str, u16) {
        let default = self.scheme.default_port();
        if let Some((host, rest)) = self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(default));
        }
        match self.authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().unwrap_or(default)),
            None => (&self.authority, default),
        }
    }

    /// Refuses what the client could not send.
    fn checked(self) -> Result<Self, Error> {
        if self.host().is_empty() {
            return Err(Error::new(Fault::Url, format!("address {self} has no host")));
        }
        match ureq::http::Uri::try_from(self.bare()) {
            Ok(_) => Ok(self),
            Err(cause) => Err(Error::new(Fault::Url, format!("address {self}: {cause}"))),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            // The text itself is not shown: it may hold a password.
            _ => return Err(Error::new(Fault::Url, "address is neither http:// nor https://")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let login = Login { user: Secret::new(decoded(user)), password: Secret::new(decoded(password)) };
                (Some(login), authority)
            }
            None => (None, authority),
        };
        let (path, query) = split_query(rest);
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Self { scheme, authority: authority.to_owned(), path, query: query.map(str::to_owned), login }.checked()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.query.is_some() { "?***" } else { "" };
        write!(f, "{}://{}{}{query}", self.scheme.as_str(), self.authority, self.path)
    }
}

/// As [`fmt::Display`]: without credentials.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn split_query(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    }
}

/// Resolves `.` and `..`. RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            plain => {
                kept.push(plain);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Undoes percent encoding; what is not valid encoding or not UTF-8 stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn login_and_query_are_used_and_never_shown() {
        let url = url("https://us%40er:p%3Aw@Host:8443/a/b.gz?X-Signature=s3cret#top");
        assert_eq!(url.to_string(), "https://Host:8443/a/b.gz?***");
        assert_eq!(format!("{url:?}"), "https://Host:8443/a/b.gz?***");
        assert_eq!(url.bare(), "https://Host:8443/a/b.gz?X-Signature=s3cret");
        let login = url.login().unwrap();
        assert_eq!((login.user.reveal(), login.password.reveal()), ("us@er", "p:w"));
    }

    #[test]
    fn refused_addresses_do_not_show_their_password() {
        for text in ["ftp://u:hunter2@h/x", "u:hunter2@h", "http://u:hunter2@", "http://u:hunter2@a b/", ""] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn location_is_resolved_against_the_address() {
        let base = url("http://u:p@h:80/a/b/c?q=1");
        let joined = |reference: &str| base.join(reference).unwrap().bare();
        assert_eq!(joined("https://other/x"), "https://other/x");
        assert_eq!(joined("//other/x"), "http://other/x");
        assert_eq!(joined("/x/./y/../z"), "http://h:80/x/z");
        assert_eq!(joined("d?e=f#g"), "http://h:80/a/b/d?e=f");
        assert_eq!(joined("../../../d"), "http://h:80/d");
        assert_eq!(joined("?r=2"), "http://h:80/a/b/c?r=2");
        assert_eq!(joined(".."), "http://h:80/a/");
        assert!(base.join("ftp://h/").is_err());
        assert!(base.join("javascript:alert(1)").is_err());
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        assert!(url("http://h/a").is_same_origin(&url("http://H:80/b")));
        assert!(url("https://[::1]/a").is_same_origin(&url("https://[::1]:443/b")));
        assert!(!url("http://h/a").is_same_origin(&url("https://h/a")));
        assert!(!url("http://h/a").is_same_origin(&url("http://h:81/a")));
        assert_eq!(url("http://[fe80::1]:81/").host(), "fe80::1");
    }
}
