//! The whole format of a provision.json as data: every key, its type, and whether it is used here.
//!
//! The check of a document, the published JSON Schema and the tables of docs/request.md all come from it. A reader can
//! name no other keys, and it reads every key that is marked as used; a test proves both.

mod document;
mod meta;
mod netboot;
mod network;
mod simple;
mod spaces;

pub use document::DOCUMENT;

/// What may stand in a place.
#[derive(Debug)]
pub enum Rule {
    /// A string.
    Text,
    /// An integer that fits 64 bits.
    Integer,
    /// A boolean, or 0 and 1 as Nailgun writes them.
    Flag,
    /// A string or a number; Nailgun sends some identifiers either way.
    Identifier,
    /// A string, a number or a boolean: keys for others, whose type differs between versions.
    Scalar,
    /// Whatever it is; nothing below it is looked at.
    Any,
    /// One of some words.
    Choice(&'static Choice),
    /// A list of what the rule says.
    List(&'static Rule),
    /// An object with keys of the operator's choice.
    Map {
        /// What stands under each key.
        item: &'static Rule,
        /// Keys that must be there.
        required: &'static [&'static str],
    },
    /// An object with the keys of this section.
    Object(&'static Section),
    /// An object of ours with these keys and no others: in a safety clause a slip of the pen must not pass.
    Closed(&'static Section),
    /// An object whose key `type` says which keys it has.
    Variants(&'static Variants),
}

/// One of some words.
#[derive(Debug)]
pub struct Choice {
    /// The words.
    pub words: &'static [&'static str],
    /// Them, for people.
    pub expected: &'static str,
}

/// Objects told apart by their key `type`.
#[derive(Debug)]
pub struct Variants {
    /// Value of `type` and the other keys that come with it.
    pub of: &'static [(&'static str, &'static Section)],
    /// The values of `type`, for people.
    pub expected: &'static str,
}

/// The keys of one kind of object.
#[derive(Debug)]
pub struct Section {
    /// Its name, unlike that of every other section.
    pub name: &'static str,
    /// What the object is.
    pub text: &'static str,
    /// Its keys, in groups that several sections may share.
    pub groups: &'static [&'static [Key]],
}

/// Whether a key must be there, and whether it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Without it there is no request.
    Required,
    /// Used where it is present.
    Optional,
    /// For Cobbler, Astute, Nailgun or the data driver `nailgun_simple`; not used.
    Unused,
}

/// A key of an object.
#[derive(Debug)]
pub struct Key {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub rule: Rule,
    /// Whether it must be there.
    pub presence: Presence,
    /// Whether null stands for its absence.
    pub is_nullable: bool,
    /// Whether its value, or something below it, must not be repeated in messages.
    pub is_secret: bool,
    /// What it means, in one line.
    pub text: &'static str,
}

const fn key(name: &'static str, rule: Rule, presence: Presence, text: &'static str) -> Key {
    let is_nullable = !matches!(presence, Presence::Required);
    Key { name, rule, presence, is_nullable, is_secret: false, text }
}

const fn required(name: &'static str, rule: Rule, text: &'static str) -> Key {
    key(name, rule, Presence::Required, text)
}

const fn optional(name: &'static str, rule: Rule, text: &'static str) -> Key {
    key(name, rule, Presence::Optional, text)
}

const fn unused(name: &'static str, rule: Rule, text: &'static str) -> Key {
    key(name, rule, Presence::Unused, text)
}

impl Key {
    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Null is a fault and does not stand for absence.
    const fn not_null(mut self) -> Self {
        self.is_nullable = false;
        self
    }
}

impl Section {
    /// Every key, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.groups.iter().copied().flatten()
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

impl Variants {
    /// The section that belongs to this value of `type`.
    pub fn get(&self, tag: &str) -> Option<(&'static str, &'static Section)> {
        self.of.iter().copied().find(|(name, _)| *name == tag)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::{DOCUMENT, Presence, Rule, Section};
    use crate::request::findings::Findings;
    use crate::request::{NetbootBackend, nailgun};

    const START: &str = "<!-- keys, written by a test of src/request/grammar -->\n";
    const END: &str = "<!-- end of keys -->\n";

    /// Every section, each once, in the order of the document.
    fn sections() -> Vec<&'static Section> {
        let mut found = Vec::new();
        collect(&Rule::Object(&DOCUMENT), &mut found);
        found
    }

    fn collect(rule: &Rule, found: &mut Vec<&'static Section>) {
        match rule {
            Rule::List(item) | Rule::Map { item, .. } => collect(item, found),
            Rule::Variants(variants) => {
                for (_, section) in variants.of {
                    collect(&Rule::Object(section), found);
                }
            }
            Rule::Object(section) | Rule::Closed(section) if !found.iter().any(|it| std::ptr::eq(*it, *section)) => {
                found.push(section);
                for key in section.keys() {
                    collect(&key.rule, found);
                }
            }
            _ => {}
        }
    }

    fn fixture(name: &str) -> Value {
        let path = format!("{}/tests/fixtures/provision/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// A document with an object of every section, but that there is one of several ways to switch network boot.
    fn document_with_everything(netboot: &str) -> Value {
        let mut document = fixture("02-controller-three-disks-raid-boot");
        document["bedplate"] = json!({"phone_home": {"url": "http://m/x"}, "network": {"version": 2,
                   "ethernets": {"a": {"match": {}, "routes": [{"to": "default", "via": "10.0.0.1"}], "nameservers": {}}},
                   "bonds": {"b": {"interfaces": ["a"]}}, "vlans": {"c": {"id": 1, "link": "b"}}, "bridges": {"d": {}}},
                   "netboot": {"type": netboot}, "repositories": true, "config_drive": {"place": "partition"}});
        let disk = &mut document["ks_meta"]["pm_data"]["ks_spaces"][0];
        disk["expect"] = json!({"serial": "x", "min_size": 1, "max_size": 2});
        let volumes = disk["volumes"].as_array_mut().unwrap();
        volumes.push(json!({"type": "partition", "mount": "/srv", "size": 301, "disk_label": null}));
        volumes.push(json!({"type": "raid", "mount": "/data", "size": 301}));
        document
    }

    #[test]
    fn readers_read_every_key_that_is_marked_as_used_and_no_other() {
        let mut asked = BTreeSet::new();
        for netboot in NetbootBackend::ALL {
            let document = document_with_everything(netboot.as_str());
            let (request, findings) = nailgun::read(&document, Findings::default());
            assert_eq!(findings.violations, []);
            assert_eq!(request.unwrap().netboot.unwrap().backend, Some(netboot));
            asked.extend(findings.asked);
        }
        let used: BTreeSet<_> = sections()
            .into_iter()
            .flat_map(|section| section.keys().map(move |key| (section.name, key)))
            .filter(|(_, key)| key.presence != Presence::Unused)
            .map(|(section, key)| (section, key.name))
            .collect();
        // A key that the grammar does not know, or knows as unused, panics where it is asked for.
        assert_eq!(asked, used);
    }

    #[test]
    fn sections_and_their_keys_have_names_of_their_own() {
        let sections = sections();
        let names: BTreeSet<_> = sections.iter().map(|section| section.name).collect();
        assert_eq!(names.len(), sections.len());
        for section in sections {
            let names: BTreeSet<_> = section.keys().map(|key| key.name).collect();
            assert_eq!(names.len(), section.keys().count(), "{}", section.name);
        }
    }

    #[test]
    fn secrets_are_marked() {
        let secret: Vec<_> = sections()
            .into_iter()
            .flat_map(|section| section.keys())
            .filter(|key| key.is_secret)
            .map(|key| key.name)
            .collect();
        assert_eq!(
            secret,
            [
                "bedplate",
                "power_pass",
                "user_accounts",
                "mco_pskey",
                "mco_password",
                "uri",
                "mirrors",
                "signature",
                "bmap",
                "password",
                "hashed_password",
                "image",
                "url",
                "url",
                "password",
                "url",
                "headers",
                "token",
                "body",
                "check_url",
                "check_body"
            ]
        );
    }

    #[test]
    fn every_key_stands_in_the_documentation() {
        let path = format!("{}/docs/request.md", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(START).unwrap();
        let (tables, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, format!("{before}{START}{}{END}{after}", documentation())).unwrap();
            return;
        }
        assert!(tables == documentation(), "docs/request.md is stale: run the tests once with UPDATE_GOLDEN=1");
    }

    /// A table for each section; a line for those of the unsupported data driver, whose keys have no meaning here.
    fn documentation() -> String {
        let mut text = String::new();
        for section in sections() {
            if section.name.starts_with("simple_") {
                let keys: Vec<_> = section.keys().map(|key| format!("`{}`", key.name)).collect();
                _ = write!(text, "\n`{}`, not used: {}.\n", section.name, keys.join(", "));
                continue;
            }
            _ = write!(
                text,
                "\n### `{}`\n\n{}\n\n| key | type | meaning |\n|---|---|---|\n",
                section.name, section.text
            );
            for key in section.keys() {
                let kind = kind(&key.rule);
                let (presence, meaning) = match key.presence {
                    Presence::Required => (", required", key.text.to_owned()),
                    Presence::Optional => ("", key.text.to_owned()),
                    Presence::Unused => ("", format!("*not used*: {}", key.text)),
                };
                _ = writeln!(text, "| `{}` | {kind}{presence} | {meaning} |", key.name);
            }
        }
        text.push('\n');
        text
    }

    fn kind(rule: &Rule) -> String {
        match rule {
            Rule::Text | Rule::Choice(_) => "string".to_owned(),
            Rule::Integer => "integer".to_owned(),
            Rule::Flag => "boolean, 0 or 1".to_owned(),
            Rule::Identifier => "string or number".to_owned(),
            Rule::Scalar => "string, number or boolean".to_owned(),
            Rule::Any => "anything".to_owned(),
            Rule::List(item) => format!("list of: {}", kind(item)),
            Rule::Map { item, .. } => format!("any keys, each: {}", kind(item)),
            Rule::Object(section) | Rule::Closed(section) => format!("`{}`", section.name),
            Rule::Variants(variants) => {
                let tags: Vec<_> = variants.of.iter().map(|(tag, _)| format!("`{tag}`")).collect();
                format!("by its `type` {}", tags.join(", "))
            }
        }
    }
}
