//! The bytes of a document become a value: JSON, or YAML of which JSON is a part.
//!
//! A key that stands twice in one object is a fault, though both languages' readers let one of the two win: which of
//! two disk sizes was meant is not for a program to guess.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::findings::{Findings, push_index, push_key};
use crate::error::{Error, Kind, Result};

/// The largest document in bytes. One of Fuel's for 60 disks has 100 KB.
pub const LIMIT: usize = 16 << 20;

/// Deeper nesting is refused: the format needs 12 levels, and each costs stack. The YAML reader's own limit is 64.
const DEPTH: usize = 60;

/// Reads a document; without a value there is a violation in the findings.
///
/// # Errors
/// `Request` when it is too large or neither JSON nor YAML.
pub fn read(document: &[u8]) -> Result<(Option<Value>, Findings)> {
    let refused = |what: &str| Error::new(Kind::Request, format!("reading the request: $: {what}"));
    if document.len() > LIMIT {
        return Err(refused(&format!("expected at most {LIMIT} bytes, found more")));
    }
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| document.starts_with(mark)) {
        return Err(refused("expected UTF-8 without a byte order mark"));
    }
    let text = std::str::from_utf8(document)
        .map_err(|cause| Error::caused(Kind::Request, "reading the request: $: expected UTF-8", cause))?;
    if text.trim().is_empty() {
        return Err(refused("expected a document, found nothing"));
    }
    let not_json = match json(text) {
        Ok((value, findings)) => return Ok((Some(value), findings)),
        Err(cause) => cause,
    };
    // JSON's errors are the more exact ones; YAML is tried only where the document does not look like JSON.
    if text.trim_start().starts_with(['{', '[', '"']) {
        return Err(Error::caused(Kind::Request, "reading the request: $: it is not JSON", not_json));
    }
    match yaml(text) {
        Ok(value) => Ok((Some(value), Findings::default())),
        Err(YamlFault::Twice(path)) => {
            let mut findings = Findings::default();
            findings.fault(&path, GIVEN_TWICE);
            Ok((None, findings))
        }
        Err(YamlFault::Other(path, cause)) => Err(Error::new(
            Kind::Request,
            format!("reading the request: {path}: it is neither JSON ({not_json}) nor YAML ({cause})"),
        )),
    }
}

const GIVEN_TWICE: &str = "given twice";

fn json(text: &str) -> serde_json::Result<(Value, Findings)> {
    let mut reading = Reading::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node(&mut reading).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, reading.findings))
}

/// Why a text is not YAML that can be used, with a JSON path.
#[derive(Debug)]
pub enum YamlFault {
    /// The key at this path stands there twice.
    Twice(String),
    /// Something else, in one line.
    Other(String, String),
}

/// Reads YAML.
///
/// # Errors
/// Where and why it cannot be read.
pub fn yaml(text: &str) -> std::result::Result<Value, YamlFault> {
    let mut reading = Reading::default();
    let read = serde_saphyr::with_deserializer_from_str(text, |it| Node(&mut reading).deserialize(it));
    let mut path = format!("${}", reading.path);
    read.map_err(|cause| match cause.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            push_key(&mut path, key.as_deref().unwrap_or_default());
            YamlFault::Twice(path)
        }
        serde_saphyr::Error::NonFiniteFloat { value, .. } => {
            YamlFault::Other(path, format!("{value} is a number that is too large; text needs quotes"))
        }
        cause => {
            let cause = cause.to_string();
            YamlFault::Other(path, cause.lines().next().unwrap_or_default().to_owned())
        }
    })
}

/// How far the reading came. After an error the path is still that of the value that was being read.
#[derive(Default)]
struct Reading {
    path: String,
    depth: usize,
    findings: Findings,
}

/// A value of the document.
struct Node<'a>(&'a mut Reading);

impl Node<'_> {
    /// Reads one level deeper, at the path that `push` appends.
    fn below<E: de::Error, T>(
        &mut self,
        push: impl FnOnce(&mut String),
        read: impl FnOnce(Node<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        if self.0.depth == DEPTH {
            return Err(E::custom(format_args!("nested deeper than {DEPTH} levels")));
        }
        let length = self.0.path.len();
        push(&mut self.0.path);
        self.0.depth += 1;
        let read = read(Node(self.0))?;
        self.0.depth -= 1;
        self.0.path.truncate(length);
        Ok(read)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> std::result::Result<Value, E> {
        Ok(Value::from(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> std::result::Result<Value, E> {
        Ok(Value::from(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let index = list.len();
            match self.below(|path| push_index(path, index), |node| items.next_element_seed(node))? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = self.below(|path| push_key(path, &key), |node| members.next_value_seed(node))?;
            let length = self.0.path.len();
            if map.contains_key(&key) {
                push_key(&mut self.0.path, &key);
                let path = format!("${}", self.0.path);
                self.0.findings.fault(&path, GIVEN_TWICE);
                self.0.path.truncate(length);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(document: &[u8]) -> String {
        let error = read(document).unwrap_err();
        assert_eq!(error.kind(), Kind::Request);
        error.to_string()
    }

    fn violations(document: &str) -> Vec<String> {
        read(document.as_bytes()).unwrap().1.violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_that_are_given_twice_are_faults_at_any_depth() {
        let text = r#"{"a": 1, "b": [{"c/d": {"e": 1, "e": 2}, "c/d": 3}], "a": 2, "a": 3}"#;
        assert_eq!(
            violations(text),
            ["$.b[0][\"c/d\"].e: given twice", "$.b[0][\"c/d\"]: given twice", "$.a: given twice", "$.a: given twice"]
        );
        assert_eq!(violations("a:\n  b:\n  - x: 1\n    y: 2\n    x: 3\n"), ["$.a.b[0].x: given twice"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_reason() {
        assert_eq!(refused(&[b' '; LIMIT + 1]), "reading the request: $: expected at most 16777216 bytes, found more");
        assert_eq!(refused(b""), "reading the request: $: expected a document, found nothing");
        let mark = "reading the request: $: expected UTF-8 without a byte order mark";
        assert_eq!(refused(b"\xef\xbb\xbf{}"), mark);
        assert_eq!(refused(b"\xff\xfe{\0}\0"), mark);
        assert_eq!(
            refused(b"{\"a\": \"\xc3\"}"),
            "reading the request: $: expected UTF-8: invalid utf-8 sequence of 1 bytes from index 7"
        );
        assert_eq!(
            refused(b"{\"a\": [1, 1e400]}"),
            "reading the request: $: it is not JSON: number out of range at line 1 column 15"
        );
        assert_eq!(
            refused("[".repeat(1000).as_bytes()),
            "reading the request: $: it is not JSON: nested deeper than 60 levels at line 1 column 61"
        );
        let deep = refused(format!("a: {}{}", "[".repeat(100), "]".repeat(100)).as_bytes());
        assert!(deep.starts_with("reading the request: $.a[0][0]") && deep.contains("nested deeper than 60"), "{deep}");
        let large = refused(b"a:\n- 1e400\n");
        assert!(large.starts_with("reading the request: $.a[0]: it is neither JSON ("), "{large}");
        assert!(large.ends_with("nor YAML (1e400 is a number that is too large; text needs quotes)"), "{large}");
    }

    #[test]
    fn numbers_beyond_64_bits_are_kept_as_floats_that_no_integer_rule_takes() {
        for text in ["{\"a\": 1180591620717411303424}", "a: 1180591620717411303424"] {
            let (value, findings) = read(text.as_bytes()).unwrap();
            assert_eq!(value.unwrap()["a"].as_i64(), None, "{text}");
            assert_eq!(findings.violations, []);
        }
    }
}
