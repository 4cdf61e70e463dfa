//! One pass over a document: does every value have the type that the grammar gives it, and is every key known?

use serde_json::{Map, Value};

use super::findings::{Findings, describe, push_index, push_key};
use super::grammar::{Presence, Rule, Section, Variants};

/// Records every fault of form.
pub fn check(document: &Value, rule: &'static Rule, findings: &mut Findings) {
    Pass { path: "$".to_owned(), findings }.value(document, rule, false);
}

/// Where the pass is, and what it found. The path is one buffer, so that a document costs no more than its size.
struct Pass<'a> {
    path: String,
    findings: &'a mut Findings,
}

impl Pass<'_> {
    fn value(&mut self, value: &Value, rule: &'static Rule, is_secret: bool) {
        match (rule, value) {
            (Rule::Any, _)
            | (Rule::Text | Rule::Identifier | Rule::Scalar, Value::String(_))
            | (Rule::Identifier | Rule::Scalar, Value::Number(_))
            | (Rule::Flag | Rule::Scalar, Value::Bool(_)) => {}
            (Rule::Integer, Value::Number(number)) if number.as_i64().is_some() => {}
            (Rule::Flag, Value::Number(number)) if matches!(number.as_i64(), Some(0 | 1)) => {}
            (Rule::Choice(choice), Value::String(word)) if choice.words.contains(&word.as_str()) => {}
            (Rule::List(item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.below(|path| push_index(path, index), |pass| pass.value(value, item, is_secret));
                }
            }
            (Rule::Map { item, required }, Value::Object(map)) => {
                for key in required.iter().filter(|key| !map.contains_key(**key)) {
                    self.missing(key);
                }
                for (key, value) in map {
                    self.at(key, |pass| pass.value(value, item, is_secret));
                }
            }
            (Rule::Object(section), Value::Object(map)) => self.section(map, section, None, is_secret),
            (Rule::Closed(section), Value::Object(map)) => {
                let keys: Vec<_> = section.keys().map(|key| key.name).collect();
                for key in map.keys().filter(|key| section.key(key).is_none()) {
                    let expected = format!("unknown key, expected one of {}", keys.join(", "));
                    self.at(key, |pass| pass.findings.fault(&pass.path, expected));
                }
                self.known(map, section, is_secret);
            }
            (Rule::Variants(variants), Value::Object(map)) => self.variant(map, variants, is_secret),
            _ => self.expected(expectation(rule), value, is_secret),
        }
    }

    fn variant(&mut self, map: &Map<String, Value>, variants: &'static Variants, is_secret: bool) {
        match map.get("type") {
            None => self.missing("type"),
            Some(Value::String(tag)) => match variants.get(tag) {
                Some((_, section)) => self.section(map, section, Some("type"), is_secret),
                None => self.at("type", |pass| pass.expected(variants.expected, &map["type"], is_secret)),
            },
            Some(value) => self.at("type", |pass| pass.expected("a string", value, is_secret)),
        }
    }

    fn section(&mut self, map: &Map<String, Value>, section: &'static Section, tag: Option<&str>, is_secret: bool) {
        self.known(map, section, is_secret);
        for key in map.keys().filter(|key| tag != Some(key.as_str()) && section.key(key).is_none()) {
            self.at(key, |pass| pass.findings.warn(&pass.path, "unknown key, ignored"));
        }
    }

    fn known(&mut self, map: &Map<String, Value>, section: &'static Section, is_secret: bool) {
        for key in section.keys() {
            match map.get(key.name) {
                None if key.presence == Presence::Required => self.missing(key.name),
                None => {}
                Some(Value::Null) if key.is_nullable => {}
                Some(value) => self.at(key.name, |pass| pass.value(value, &key.rule, is_secret || key.is_secret)),
            }
        }
    }

    fn at(&mut self, key: &str, look: impl FnOnce(&mut Self)) {
        self.below(|path| push_key(path, key), look);
    }

    fn below(&mut self, push: impl FnOnce(&mut String), look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push(&mut self.path);
        look(self);
        self.path.truncate(length);
    }

    fn missing(&mut self, key: &str) {
        self.at(key, |pass| pass.findings.fault(&pass.path, "missing, but required"));
    }

    fn expected(&mut self, what: &str, value: &Value, is_secret: bool) {
        self.findings.fault(&self.path, format!("expected {what}, found {}", describe(value, is_secret)));
    }
}

fn expectation(rule: &Rule) -> &'static str {
    match rule {
        Rule::Text => "a string",
        Rule::Integer => "an integer",
        Rule::Flag => "a boolean, 0 or 1",
        Rule::Identifier => "a string or a number",
        Rule::Scalar => "a string, a number or a boolean",
        Rule::Any => "anything",
        Rule::Choice(choice) => choice.expected,
        Rule::List(_) => "a list",
        Rule::Map { .. } | Rule::Object(_) | Rule::Closed(_) | Rule::Variants(_) => "an object",
    }
}
