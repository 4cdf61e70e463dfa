//! A package repository of a bootstrap: upstream's form, and the key that must have signed it. Pure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Kind, Result};

/// What stands in a line of apt's sources first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RepositoryType {
    /// Packages.
    #[default]
    #[serde(rename = "deb")]
    Deb,
    /// Sources; nothing is installed from them.
    #[serde(rename = "deb-src")]
    DebSrc,
}

impl fmt::Display for RepositoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deb => "deb",
            Self::DebSrc => "deb-src",
        })
    }
}

/// A package repository. Upstream's keys, and `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its name, a part of file names; `repo_N` where none is given.
    #[serde(default)]
    pub name: String,
    /// What it holds.
    #[serde(default, rename = "type")]
    pub kind: RepositoryType,
    /// Where it is: what stands before `/dists/`, or the folder of a flat repository.
    pub uri: String,
    /// Its suite or code name; for a flat repository a path that ends in `/`.
    pub suite: String,
    /// Its components, apart by blanks; none for a flat repository.
    #[serde(default)]
    pub section: String,
    /// The priority of its packages, as in `apt_preferences`; 500 where none is given.
    #[serde(default, deserialize_with = "priority")]
    pub priority: Option<i32>,
    /// The file with the keys of which one must have signed it; the distribution's keyring where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Upstream's settings hold numbers, and what its command line leaves behind holds their digits.
fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(i32),
        Digits(String),
    }
    match Option::<Form>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Form::Number(number)) => Ok(Some(number)),
        Some(Form::Digits(text)) if text.is_empty() => Ok(None),
        Some(Form::Digits(text)) => {
            text.parse().map(Some).map_err(|_| serde::de::Error::custom(format!("priority: {text:?} is no number")))
        }
    }
}

/// Upstream's form on the command line: `type uri codename [sections][,priority]`; after the type apt's `[signed-by=FILE]`
/// may stand.
impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fault = |words: &str| Error::new(Kind::Usage, format!("repository {text:?}: {words}"));
        let (place, priority) = match text.rsplit_once(',') {
            Some((place, number)) => (place, Some(number.trim())),
            None => (text, None),
        };
        let priority = priority
            .map(|number| number.parse().map_err(|_| fault("expected a number after the comma")))
            .transpose()?;
        let mut words = place.split_whitespace().peekable();
        let kind = match words.next() {
            Some("deb") => RepositoryType::Deb,
            Some("deb-src") => RepositoryType::DebSrc,
            _ => return Err(fault("expected deb or deb-src first")),
        };
        let key = match words.next_if(|word| word.starts_with('[')) {
            Some(options) => Some(signed_by(options).map_err(|words| fault(&words))?),
            None => None,
        };
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            return Err(fault("expected 'type uri codename [sections][,priority]'"));
        };
        let section = words.collect::<Vec<_>>().join(" ");
        let (uri, suite) = (uri.to_owned(), suite.to_owned());
        Ok(Self { name: String::new(), kind, uri, suite, section, priority, key })
    }
}

fn signed_by(options: &str) -> std::result::Result<PathBuf, String> {
    let inner = options.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    match inner.split_once('=') {
        Some(("signed-by", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("trusted", _)) => {
            Err("a repository is trusted by its key: expected [signed-by=FILE]; without a signature \
                                     name its address in allow_unsigned"
                .to_owned())
        }
        _ => Err(format!("expected [signed-by=/FILE], found {options}")),
    }
}

impl Repository {
    /// Checks what becomes a line of a file.
    ///
    /// # Errors
    /// `Usage` with the field at fault.
    pub fn check(&self) -> Result<()> {
        let fault = |field: &str, expected: &str, found: &str| {
            let name = &self.name;
            Err(Error::new(Kind::Usage, format!("repository {name}: {field}: expected {expected}, found {found:?}")))
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.bytes().all(is_name) {
            return fault("name", "letters, digits, `.`, `_` and `-`", &self.name);
        }
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']' | b'#'))
        };
        let scheme = self.uri.split_once(':').map_or("", |(scheme, _)| scheme);
        if !is_word(&self.uri) || !matches!(scheme, "http" | "https" | "file" | "copy") {
            return fault("uri", "an http, https, file or copy address", &self.uri);
        }
        if has_user(&self.uri) {
            // Not shown: it may be a password.
            return Err(Error::new(Kind::Usage, format!("repository {}: uri: expected no user in it", self.name))
                .advise("it would be in every image; put it into /etc/apt/auth.conf of this machine"));
        }
        if !is_word(&self.suite) {
            return fault("suite", "one word", &self.suite);
        }
        if !self.section.split_whitespace().all(is_word) || self.section.contains('\n') {
            return fault("section", "components", &self.section);
        }
        match (self.suite.ends_with('/'), self.section.trim().is_empty()) {
            (true, false) => return fault("section", "nothing, as the suite ends in `/`", &self.section),
            (false, true) => return fault("section", "at least one component", &self.section),
            _ => {}
        }
        match &self.key {
            Some(key) if !key.is_absolute() || !is_word(&key.to_string_lossy()) => {
                fault("key", "an absolute path without blanks", &key.to_string_lossy())
            }
            _ => Ok(()),
        }
    }

    /// The line of apt's sources, signed by this file; by nobody where there is none.
    #[must_use]
    pub fn line(&self, key: Option<&Path>) -> String {
        let trust = key.map_or_else(|| "trusted=yes".to_owned(), |key| format!("signed-by={}", key.display()));
        let section = self.section.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{} [{trust}] {} {} {section}", self.kind, self.uri, self.suite).trim_end().to_owned()
    }

    /// Whether this is the address of the repository; a slash at the end makes no difference.
    #[must_use]
    pub fn is_at(&self, uri: &str) -> bool {
        self.uri.trim_end_matches('/') == uri.trim_end_matches('/')
    }
}

/// Whether user and password stand in an address.
fn has_user(uri: &str) -> bool {
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.contains('@')
}

/// Gives names to repositories that have none, as upstream does, and checks all.
///
/// # Errors
/// `Usage` when one is wrong or two have one name.
pub fn settle(repositories: &mut [Repository]) -> Result<()> {
    for (number, repository) in repositories.iter_mut().enumerate() {
        if repository.name.is_empty() {
            repository.name = format!("repo_{number}");
        }
    }
    for (number, repository) in repositories.iter().enumerate() {
        repository.check()?;
        if repositories[..number].iter().any(|other| other.name == repository.name) {
            return Err(Error::new(Kind::Usage, format!("two repositories have the name {}", repository.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Repository> {
        let mut parsed = [text.parse::<Repository>()?];
        settle(&mut parsed)?;
        let [repository] = parsed;
        Ok(repository)
    }

    fn fault(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    }

    #[test]
    fn upstreams_form_is_read() {
        let repository = parse("deb http://a/ubuntu xenial main non-free-firmware,1050").unwrap();
        let expected = Repository {
            name: "repo_0".into(),
            kind: RepositoryType::Deb,
            uri: "http://a/ubuntu".into(),
            suite: "xenial".into(),
            section: "main non-free-firmware".into(),
            priority: Some(1050),
            key: None,
        };
        assert_eq!(repository, expected);
        assert_eq!(parse("deb http://a/mos /").unwrap().section, "");
        assert_eq!(parse("deb http://a/mos ./,-5").unwrap().priority, Some(-5));
        assert_eq!(parse("deb-src http://a b main").unwrap().kind, RepositoryType::DebSrc);
        let signed = parse("deb [signed-by=/k.gpg] http://a b main").unwrap();
        assert_eq!(signed.line(signed.key.as_deref()), "deb [signed-by=/k.gpg] http://a b main");
        assert_eq!(signed.line(None), "deb [trusted=yes] http://a b main");
    }

    #[test]
    fn what_cannot_be_a_line_of_apt_is_refused() {
        for (text, words) in [
            ("rpm http://a b main", r#"repository "rpm http://a b main": expected deb or deb-src first"#),
            ("deb http://a", r#"repository "deb http://a": expected 'type uri codename [sections][,priority]'"#),
            ("deb http://a b main,x", r#"repository "deb http://a b main,x": expected a number after the comma"#),
            ("deb http://a b", r#"repository repo_0: section: expected at least one component, found """#),
            (
                "deb http://a b/ main",
                r#"repository repo_0: section: expected nothing, as the suite ends in `/`, found "main""#,
            ),
            (
                "deb ftp://a b main",
                r#"repository repo_0: uri: expected an http, https, file or copy address, found "ftp://a""#,
            ),
            ("deb http://u:p@a b main", "repository repo_0: uri: expected no user in it"),
            (
                "deb [arch=i386] http://a b main",
                r#"repository "deb [arch=i386] http://a b main": expected [signed-by=/FILE], found [arch=i386]"#,
            ),
        ] {
            assert_eq!(fault(text), words);
        }
        let trusted = fault("deb [trusted=yes] http://a b main");
        assert!(trusted.ends_with("without a signature name its address in allow_unsigned"), "{trusted}");
    }

    #[test]
    fn names_are_given_and_are_not_shared() {
        let named = |name: &str| Repository { name: name.into(), ..parse("deb http://a b main").unwrap() };
        let mut list = [named(""), named("mos")];
        settle(&mut list).unwrap();
        assert_eq!(list.map(|repository| repository.name), ["repo_0", "mos"]);
        let error = settle(&mut [named("mos"), named("mos")]).unwrap_err();
        assert_eq!(error.to_string(), "two repositories have the name mos");
        assert!(settle(&mut [named("../x")]).is_err());
    }

    #[test]
    fn documents_hold_priorities_as_numbers_or_digits() {
        let read = |priority: &str| {
            let text = format!(r#"{{"uri": "http://a", "suite": "b", "section": "main", "priority": {priority}}}"#);
            serde_json::from_str::<Repository>(&text).map(|repository| repository.priority)
        };
        assert_eq!(read("1050").unwrap(), Some(1050));
        assert_eq!(read("\"1050\"").unwrap(), Some(1050));
        assert_eq!(read("null").unwrap(), None);
        assert!(read("\"high\"").is_err());
    }
}
