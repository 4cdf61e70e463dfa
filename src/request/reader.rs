//! Hands the values of a document to their readers, who convert them and judge what they mean.
//!
//! Values of the wrong type are not told here: the check against the grammar found them before. A reader gets nothing
//! in their place and goes on, so that the faults that lie deeper are found in the same run.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::findings::{Findings, describe, path_of, push_index};
use super::grammar::{Presence, Rule, Section};

/// A value, what it should be, and where it stands.
#[derive(Clone)]
pub struct Field<'a> {
    value: &'a Value,
    rule: &'static Rule,
    path: String,
    is_secret: bool,
    findings: &'a RefCell<Findings>,
}

/// An object and its keys.
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    section: &'static Section,
    path: String,
    is_secret: bool,
    findings: &'a RefCell<Findings>,
}

impl<'a> Field<'a> {
    /// The document itself.
    pub fn root(value: &'a Value, rule: &'static Rule, findings: &'a RefCell<Findings>) -> Self {
        Self { value, rule, path: "$".to_owned(), is_secret: false, findings }
    }

    /// Where it stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Records a fault of this value.
    pub fn fault(&self, message: impl Into<String>) {
        self.findings.borrow_mut().fault(&self.path, message);
    }

    /// Records a fault of another value.
    pub fn fault_at(&self, path: &str, message: impl Into<String>) {
        self.findings.borrow_mut().fault(path, message);
    }

    /// Records what is odd but harmless of another value.
    pub fn warn_at(&self, path: &str, message: &str) {
        self.findings.borrow_mut().warn(path, message);
    }

    /// Records that something else was expected here.
    pub fn expected(&self, what: &str) {
        self.fault(format!("expected {what}, found {}", describe(self.value, self.is_secret)));
    }

    /// The object.
    pub fn object(&self) -> Option<Object<'a>> {
        match self.rule {
            Rule::Object(section) | Rule::Closed(section) => self.section(section),
            _ => None,
        }
    }

    /// The object and the value of its key `type`.
    pub fn variant(&self) -> Option<(&'static str, Object<'a>)> {
        let Rule::Variants(variants) = self.rule else { return None };
        let (tag, section) = variants.get(self.value.get("type")?.as_str()?)?;
        Some((tag, self.section(section)?))
    }

    fn section(&self, section: &'static Section) -> Option<Object<'a>> {
        let map = self.value.as_object()?;
        let (path, is_secret, findings) = (self.path.clone(), self.is_secret, self.findings);
        Some(Object { map, section, path, is_secret, findings })
    }

    /// Every key of an object whose keys are of the operator's choice.
    pub fn entries(&self) -> Option<impl Iterator<Item = (&'a str, Self)>> {
        let Rule::Map { item, .. } = self.rule else { return None };
        let map = self.value.as_object()?;
        Some(map.iter().map(|(key, value)| {
            let path = path_of(&self.path, key);
            (key.as_str(), Self { value, rule: item, path, ..self.clone() })
        }))
    }

    /// The elements of the list.
    pub fn list(&self) -> Option<impl Iterator<Item = Self>> {
        let Rule::List(item) = self.rule else { return None };
        let items = self.value.as_array()?;
        Some(items.iter().enumerate().map(|(index, value)| {
            let mut path = self.path.clone();
            push_index(&mut path, index);
            Self { value, rule: item, path, ..self.clone() }
        }))
    }

    /// The string.
    pub fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A string that is not empty, or a fault.
    pub fn word(&self) -> Option<String> {
        self.parsed("a string that is not empty", |text| (!text.trim().is_empty()).then(|| text.to_owned()))
    }

    /// The string, or the number as a string.
    pub fn identifier(&self) -> Option<String> {
        match self.value {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The integer.
    pub fn integer(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The boolean, or 0 and 1.
    pub fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(*flag),
            _ => match self.value.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
        }
    }

    /// The plain value, for what is handed on unread.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Parses the string with `parse`; what it refuses is a fault that names `what` was expected.
    pub fn parsed<T>(&self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(self.text()?);
        if parsed.is_none() {
            self.expected(what);
        }
        parsed
    }
}

impl<'a> Object<'a> {
    /// The value under this key, if there is one; null, where it may stand for absence, is none.
    ///
    /// The key is one that the grammar gives to this object and marks as used.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        let key = self.section.key(name);
        debug_assert!(
            key.is_some_and(|key| key.presence != Presence::Unused),
            "the grammar has no used key {name} in {}",
            self.section.name
        );
        let key = key?;
        #[cfg(test)]
        self.findings.borrow_mut().asked.insert((self.section.name, key.name));
        let value = self.map.get(name).filter(|value| !(key.is_nullable && value.is_null()))?;
        let is_secret = self.is_secret || key.is_secret;
        Some(Field { value, rule: &key.rule, path: path_of(&self.path, name), is_secret, findings: self.findings })
    }

    /// What `read` makes of the value under this key: nothing inside `Some` when there is none, `None` when it has a
    /// fault.
    pub fn optional<T>(&self, name: &str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.get(name) {
            Some(field) => read(&field).map(Some),
            None => Some(None),
        }
    }

    /// The value under a key that is required here and not everywhere; its absence is a fault.
    pub fn needed(&self, name: &str) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() {
            self.findings.borrow_mut().fault(&path_of(&self.path, name), "missing, but required");
        }
        field
    }
}
