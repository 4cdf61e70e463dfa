//! Reads a JSON value with its path and collects every fault instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// Parts of the document in which a value of the wrong type may be a secret all the same: it is not repeated.
const SECRET_PLACES: [&str; 3] = [".user_accounts", ".mco_", ".bedplate"];

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
}

/// A value and where it stands.
#[derive(Clone)]
pub struct Field<'a> {
    value: &'a Value,
    path: String,
    findings: &'a RefCell<Findings>,
}

/// An object whose unknown keys are told when it goes out of scope.
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    path: String,
    findings: &'a RefCell<Findings>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Field<'a> {
    /// The document itself.
    pub fn root(value: &'a Value, findings: &'a RefCell<Findings>) -> Self {
        Self { value, path: "$".to_owned(), findings }
    }

    /// Where it stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is JSON's null.
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Records a fault of this value.
    pub fn fault(&self, message: impl Into<String>) {
        let violation = Violation { path: self.path.clone(), message: message.into() };
        self.findings.borrow_mut().violations.push(violation);
    }

    /// Records that something else was expected here.
    pub fn expected(&self, what: &str) {
        let is_secret = SECRET_PLACES.iter().any(|place| self.path.contains(place));
        let found = if is_secret { kind(self.value).to_owned() } else { describe(self.value) };
        self.fault(format!("expected {what}, found {found}"));
    }

    /// The object, or a fault.
    pub fn object(&self) -> Option<Object<'a>> {
        match self.value {
            Value::Object(map) => Some(Object {
                map,
                path: self.path.clone(),
                findings: self.findings,
                asked: RefCell::new(BTreeSet::new()),
            }),
            _ => {
                self.expected("an object");
                None
            }
        }
    }

    /// The elements of the list, or a fault.
    pub fn list(&self) -> Option<Vec<Self>> {
        match self.value {
            Value::Array(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, value)| Self {
                        value,
                        path: format!("{}[{index}]", self.path),
                        findings: self.findings,
                    })
                    .collect(),
            ),
            _ => {
                self.expected("a list");
                None
            }
        }
    }

    /// The string, or a fault.
    pub fn string(&self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.expected("a string");
                None
            }
        }
    }

    /// The string, or a fault that does not repeat what was found: it may be the secret all the same.
    pub fn secret(&self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.fault("expected a string");
                None
            }
        }
    }

    /// A string that is not empty, or a fault.
    pub fn word(&self) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            self.expected("a string that is not empty");
            return None;
        }
        Some(text)
    }

    /// The string, or the number as a string, or a fault. Nailgun sends some identifiers either way.
    pub fn identifier(&self) -> Option<String> {
        match self.value {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text.clone()),
            _ => {
                self.expected("a string or a number");
                None
            }
        }
    }

    /// The integer, or a fault.
    pub fn integer(&self) -> Option<i64> {
        match self.value.as_i64() {
            Some(number) => Some(number),
            None => {
                self.expected("an integer");
                None
            }
        }
    }

    /// The boolean, or 0 and 1 as Nailgun writes them, or a fault.
    pub fn flag(&self) -> Option<bool> {
        match (self.value, self.value.as_i64()) {
            (Value::Bool(flag), _) => Some(*flag),
            (_, Some(0)) => Some(false),
            (_, Some(1)) => Some(true),
            _ => {
                self.expected("a boolean, 0 or 1");
                None
            }
        }
    }

    /// The plain value, for what is handed on unread.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Parses the string with `parse`; what it refuses is a fault that names `what` was expected.
    pub fn parsed<T>(&self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.string()?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.expected(what);
        }
        parsed
    }
}

impl<'a> Object<'a> {
    /// The value under this key, if there is one. Null is a value.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.map.get(key).map(|value| Field { value, path: self.path_of(key), findings: self.findings })
    }

    /// The value under this key, if there is one other than null.
    pub fn optional(&self, key: &str) -> Option<Field<'a>> {
        self.get(key).filter(|field| !field.is_null())
    }

    /// The value under this key; its absence is a fault.
    pub fn required(&self, key: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            let violation = Violation { path: self.path_of(key), message: "missing, but required".to_owned() };
            self.findings.borrow_mut().violations.push(violation);
        }
        field
    }

    /// Names keys that have a meaning for others and none here.
    pub fn unused(&self, keys: &[&str]) {
        self.asked.borrow_mut().extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// Every key with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        self.map.keys().filter_map(|key| self.get(key).map(|field| (key.as_str(), field)))
    }

    fn path_of(&self, key: &str) -> String {
        let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_plain { format!("{}.{key}", self.path) } else { format!("{}[{}]", self.path, Value::from(key)) }
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for key in self.map.keys().filter(|key| !asked.contains(*key)) {
            let warning = format!("{}: unknown key, ignored", self.path_of(key));
            self.findings.borrow_mut().warnings.push(warning);
        }
    }
}

/// What kind of value it is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "another string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value in a few words. Strings are shown only when short: a long one may be a key or a password in the wrong place.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= SHOWN => format!("the string {}", Value::from(text.as_str())),
        Value::String(text) => format!("a string of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(map) => format!("an object with {} keys", map.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_collected_with_its_path() {
        let document = serde_json::json!({"a": {"b/c": [1, "x"]}, "d": true, "odd": 0});
        let findings = RefCell::new(Findings::default());
        {
            let root = Field::root(&document, &findings).object().unwrap();
            let list = root.required("a").unwrap().object().unwrap().required("b/c").unwrap().list().unwrap();
            assert_eq!(list[0].string(), None);
            assert_eq!(list[1].integer(), None);
            assert_eq!(root.required("d").unwrap().string(), None);
            assert!(root.required("e").is_none());
        }
        let found = findings.into_inner();
        let violations: Vec<_> = found.violations.iter().map(ToString::to_string).collect();
        assert_eq!(
            violations,
            [
                "$.a[\"b/c\"][0]: expected a string, found the number 1",
                "$.a[\"b/c\"][1]: expected an integer, found the string \"x\"",
                "$.d: expected a string, found the boolean true",
                "$.e: missing, but required",
            ]
        );
        assert_eq!(found.warnings, ["$.odd: unknown key, ignored"]);
    }

    #[test]
    fn secrets_are_not_repeated_in_messages() {
        let document = serde_json::json!({"user_accounts": "root:hunter2"});
        let findings = RefCell::new(Findings::default());
        {
            let root = Field::root(&document, &findings).object().unwrap();
            assert!(root.required("user_accounts").unwrap().list().is_none());
        }
        let violations = findings.into_inner().violations;
        assert_eq!(violations[0].to_string(), "$.user_accounts: expected a list, found another string");
    }

    #[test]
    fn long_strings_are_not_repeated_in_messages() {
        assert_eq!(describe(&Value::from("k".repeat(400))), "a string of 400 characters");
    }
}
