//! What reading a document brings to light, and how places in it are written.

use std::fmt;
use std::fmt::Write as _;

use serde_json::Value;

/// More than so many are counted and not told: what is this wrong is not a request.
const TOLD: usize = 10_000;
/// A longer key is cut in a path, so that paths stay short whatever the document is.
const KEY_LENGTH: usize = 80;

/// Longer strings are not repeated.
const SHOWN: usize = 40;

/// A fault of the document: where, and what was expected and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON path, `$.ks_meta.pm_data.ks_spaces[0].size`.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What reading a document brought to light.
#[derive(Debug, Default)]
pub struct Findings {
    /// Faults.
    pub violations: Vec<Violation>,
    /// What is odd but harmless.
    pub warnings: Vec<String>,
    untold_violations: usize,
    untold_warnings: usize,
    /// Sections and keys that a reader asked for.
    #[cfg(test)]
    pub asked: std::collections::BTreeSet<(&'static str, &'static str)>,
}

impl Findings {
    /// Records a fault.
    pub fn fault(&mut self, path: &str, message: impl Into<String>) {
        if self.violations.len() < TOLD {
            self.violations.push(Violation { path: path.to_owned(), message: message.into() });
        } else {
            self.untold_violations += 1;
        }
    }

    /// Records what is odd but harmless.
    pub fn warn(&mut self, path: &str, message: &str) {
        if self.warnings.len() < TOLD {
            self.warnings.push(format!("{path}: {message}"));
        } else {
            self.untold_warnings += 1;
        }
    }

    /// Says how many there were beyond those that are told.
    pub fn close(&mut self) {
        if self.untold_violations > 0 {
            let message = format!("{} further faults are not told", self.untold_violations);
            self.violations.push(Violation { path: "$".to_owned(), message });
        }
        if self.untold_warnings > 0 {
            self.warnings.push(format!("$: {} further warnings are not told", self.untold_warnings));
        }
    }
}

/// Appends a key to a path: `.key`, or `["odd/key"]`.
pub fn push_key(path: &mut String, key: &str) {
    let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match key.char_indices().nth(KEY_LENGTH) {
        Some((end, _)) => _ = write!(path, "[{}...]", Value::from(&key[..end])),
        None if is_plain => _ = write!(path, ".{key}"),
        None => _ = write!(path, "[{}]", Value::from(key)),
    }
}

/// Appends the index of a list's element to a path.
pub fn push_index(path: &mut String, index: usize) {
    _ = write!(path, "[{index}]");
}

/// The path of the value under this key.
pub fn path_of(path: &str, key: &str) -> String {
    let mut path = path.to_owned();
    push_key(&mut path, key);
    path
}

/// A value in a few words; of one that may be a secret only its kind.
pub fn describe(value: &Value, is_secret: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) if is_secret => "a boolean".to_owned(),
        Value::Number(_) if is_secret => "a number".to_owned(),
        Value::String(_) if is_secret => "another string".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if is_short(text) => format!("the string {}", shown(text)),
        Value::String(text) => shown(text),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(map) => format!("an object with {} keys", map.len()),
    }
}

/// A string as JSON writes it, or its length.
pub fn shown(text: &str) -> String {
    if is_short(text) {
        Value::from(text).to_string()
    } else {
        format!("a string of {} characters", text.chars().count())
    }
}

/// A long string may be a key or a password in the wrong place.
fn is_short(text: &str) -> bool {
    text.chars().nth(SHOWN).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_strings_are_not_repeated_in_messages() {
        assert_eq!(describe(&Value::from("k".repeat(400)), false), "a string of 400 characters");
    }

    #[test]
    fn keys_are_written_so_that_they_can_be_told_apart() {
        assert_eq!(path_of("$", "gw"), "$.gw");
        assert_eq!(path_of("$", "netcfg/choose_interface"), "$[\"netcfg/choose_interface\"]");
        assert_eq!(path_of("$", ""), "$[\"\"]");
        assert_eq!(path_of("$", &"k".repeat(1 << 20)), format!("$[\"{}\"...]", "k".repeat(80)));
    }

    #[test]
    fn faults_beyond_ten_thousand_are_counted() {
        let mut findings = Findings::default();
        for _ in 0..TOLD + 3 {
            findings.fault("$.x", "odd");
        }
        findings.close();
        assert_eq!(findings.violations.len(), TOLD + 1);
        assert_eq!(findings.violations[TOLD].to_string(), "$: 3 further faults are not told");
    }
}
