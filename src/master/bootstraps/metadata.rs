//! `metadata.yaml`: what an image says of itself. Upstream's keys, and `raw_sha256`. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::{Algorithm, Digest};
use crate::master::config::is_kernel_text;
use crate::request::{YamlFault, yaml};

/// The name of the metadata in an image's folder and in its archive.
pub const METADATA: &str = "metadata.yaml";

/// Metadata are shorter: a system of 10,000 packages has half a megabyte of them.
pub const METADATA_LIMIT: u64 = 4 << 20;

/// Upstream writes so many.
const UUID_LONGEST: usize = 64;

/// What else lies beside the images, and would be hidden by one of that name.
const TAKEN: [&str; 2] = ["active_bootstrap", "previous_bootstrap"];

/// A file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `vmlinuz`
    Kernel,
    /// `initrd.img`
    Initrd,
    /// `root.squashfs`, which the initrd fetches. An image without one is its initrd alone.
    Root,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::Initrd, Self::Root];

    /// Its key in the metadata.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "rootfs",
        }
    }

    /// Its file's name, which is fixed.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Initrd => "initrd.img",
            Self::Root => "root.squashfs",
        }
    }

    /// The part with this file name.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.file() == name)
    }
}

/// The name of an image: its folder's, and a part of addresses. Builders make a UUID; what people make by hand may have
/// any name of letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ImageId(String);

impl ImageId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_good = text.len() <= UUID_LONGEST
            && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(is_letter)
            && !TAKEN.contains(&text);
        if is_good {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("expected a UUID, found {:?}", text.chars().take(UUID_LONGEST).collect::<String>()))
    }
}

/// What metadata say of one file. What is not said is computed when the image is imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Its size in bytes.
    pub raw_size: Option<u64>,
    /// Its MD5, upstream's digest.
    pub raw_md5: Option<Digest>,
    /// Its SHA-256, which upstream does not have.
    pub raw_sha256: Option<Digest>,
    /// Where its builder meant it to be served. Nothing here goes by it.
    pub uri: Option<String>,
}

impl Module {
    /// Whether nothing is left to be computed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.raw_size.is_some() && self.raw_md5.is_some() && self.raw_sha256.is_some()
    }
}

/// The operating system in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatingSystem {
    /// For example `Ubuntu`.
    pub name: String,
    /// Its major version.
    pub major: u64,
    /// Its minor version.
    pub minor: u64,
}

/// A package repository that an image was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `repo_0`, `repo_1`, ..
    pub name: String,
    /// `deb` or `deb-src`
    pub kind: String,
    /// Its address.
    pub uri: String,
    /// Its suite.
    pub suite: String,
    /// Its components, apart by blanks.
    pub section: String,
    /// The priority of its packages.
    pub priority: Option<i64>,
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub uuid: ImageId,
    /// A name for people; the UUID where none is given.
    pub label: String,
    /// What it wants on the kernel line.
    pub extend_kopts: String,
    /// Its files. Metadata made by hand may name none.
    pub modules: BTreeMap<Part, Module>,
    /// What is in it.
    pub os: Option<OperatingSystem>,
    /// Name and version of every package in it.
    pub all_packages: BTreeMap<String, String>,
    /// What it was made from.
    pub repos: Vec<Repository>,
    /// Top-level keys that nothing here reads; they are kept.
    pub further: Map<String, Value>,
}

/// Keys that are read; the others are [`Metadata::further`].
const KEYS: [&str; 7] = ["all_packages", "extend_kopts", "label", "modules", "os", "repos", "uuid"];

impl Metadata {
    /// Reads metadata. `uuid` and `extend_kopts` must be there; the rest may be absent, as in those made by hand.
    ///
    /// # Errors
    /// `Image` with the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fault = |words: String| Error::new(Kind::Image, format!("reading {METADATA}: {words}"));
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > METADATA_LIMIT {
            return Err(fault(format!("expected at most {METADATA_LIMIT} bytes, found more")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault("it is not UTF-8".to_owned()))?;
        let value = yaml(text).map_err(|found| {
            fault(match found {
                YamlFault::Twice(path) => format!("{}: given twice", shown(&path)),
                YamlFault::Other(path, cause) => format!("{}: it is not YAML: {cause}", shown(&path)),
            })
        })?;
        let Value::Object(members) = value else {
            return Err(fault("expected a mapping with the keys uuid and extend_kopts".to_owned()));
        };
        Self::read(members).map_err(fault)
    }

    fn read(mut members: Map<String, Value>) -> std::result::Result<Self, String> {
        let uuid: ImageId = text(&members, "", "uuid")?.parse().map_err(|words| format!("uuid: {words}"))?;
        let label = optional(&members, "label").map(|_| text(&members, "", "label")).transpose()?;
        let label = label.filter(|label| !label.is_empty()).unwrap_or_else(|| uuid.to_string());
        if label.chars().any(char::is_control) {
            return Err("label: expected one line of text".to_owned());
        }
        let extend_kopts = text(&members, "", "extend_kopts")?;
        if !is_kernel_text(&extend_kopts) {
            return Err("extend_kopts: expected one line of printable ASCII without ${".to_owned());
        }
        Ok(Self {
            uuid,
            label,
            extend_kopts,
            modules: modules(&members)?,
            os: operating_system(&members)?,
            all_packages: packages(&members)?,
            repos: repositories(&members)?,
            further: {
                KEYS.iter().for_each(|key| drop(members.remove(*key)));
                members
            },
        })
    }

    /// What is said of a part.
    #[must_use]
    pub fn module(&self, part: Part) -> Option<&Module> {
        self.modules.get(&part)
    }

    /// Writes them: keys sorted, every text in quotes, so that all readers of YAML read the same.
    ///
    /// # Errors
    /// `Bug` when the writer refuses.
    pub fn to_yaml(&self) -> Result<String> {
        let options = serde_saphyr::ser_options! { quote_all: true, yaml_12: false };
        let mut text = String::new();
        serde_saphyr::to_fmt_writer_with_options(&mut text, &self.to_value(), options)
            .context(Kind::Bug, || format!("writing {METADATA}"))?;
        Ok(text)
    }

    fn to_value(&self) -> Value {
        let module = |(part, module): (&Part, &Module)| {
            let mut members = Map::from_iter([("file".to_owned(), part.file().into())]);
            let hex = |digest: &Digest| Value::from(hex_of(digest));
            let further = [
                ("raw_md5", module.raw_md5.as_ref().map(hex)),
                ("raw_sha256", module.raw_sha256.as_ref().map(hex)),
                ("raw_size", module.raw_size.map(Value::from)),
                ("uri", module.uri.as_deref().map(Value::from)),
            ];
            members.extend(further.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            (part.key().to_owned(), Value::Object(members))
        };
        let repository = |repo: &Repository| {
            json!({ "name": repo.name, "type": repo.kind, "uri": repo.uri, "suite": repo.suite, "section": repo.section,
                "priority": repo.priority })
        };
        let mut members = self.further.clone();
        members.insert("uuid".to_owned(), self.uuid.as_str().into());
        members.insert("label".to_owned(), self.label.as_str().into());
        members.insert("extend_kopts".to_owned(), self.extend_kopts.as_str().into());
        members.insert("modules".to_owned(), Value::Object(self.modules.iter().map(module).collect()));
        if let Some(os) = &self.os {
            members.insert("os".to_owned(), json!({ "name": os.name, "major": os.major, "minor": os.minor }));
        }
        members.insert("all_packages".to_owned(), json!(self.all_packages));
        members.insert("repos".to_owned(), self.repos.iter().map(repository).collect());
        Value::Object(members)
    }
}

/// The digits of a digest alone.
#[must_use]
pub fn hex_of(digest: &Digest) -> String {
    let text = digest.to_string();
    text.split_once(':').map_or_else(String::new, |(_, hex)| hex.to_owned())
}

/// A path as people write it: `$.modules.kernel` becomes `modules.kernel`.
fn shown(path: &str) -> &str {
    let rest = path.strip_prefix('$').unwrap_or(path);
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    if rest.is_empty() { "the document" } else { rest }
}

fn at(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn optional<'a>(members: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    members.get(key).filter(|value| !value.is_null())
}

fn text(members: &Map<String, Value>, path: &str, key: &str) -> std::result::Result<String, String> {
    match optional(members, key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other @ (Value::Number(_) | Value::Bool(_))) => {
            Err(format!("{}: expected text, found {}: it lacks the quotes", at(path, key), kind(other)))
        }
        Some(other) => Err(format!("{}: expected text, found {}", at(path, key), kind(other))),
        None => Err(format!("{}: it is missing", at(path, key))),
    }
}

fn number(members: &Map<String, Value>, path: &str, key: &str) -> std::result::Result<u64, String> {
    match optional(members, key) {
        Some(value) => value.as_u64().ok_or_else(|| {
            let found = if value.is_number() { value.to_string() } else { kind(value).to_owned() };
            format!("{}: expected a whole number, found {found}", at(path, key))
        }),
        None => Err(format!("{}: it is missing", at(path, key))),
    }
}

fn mapping<'a>(value: &'a Value, path: &str) -> std::result::Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{path}: expected a mapping, found {}", kind(value)))
}

fn modules(members: &Map<String, Value>) -> std::result::Result<BTreeMap<Part, Module>, String> {
    let Some(found) = optional(members, "modules") else { return Ok(BTreeMap::new()) };
    let found = mapping(found, "modules")?;
    let mut modules = BTreeMap::new();
    for part in Part::ALL {
        let path = format!("modules.{}", part.key());
        let Some(value) = optional(found, part.key()) else { continue };
        modules.insert(part, module(mapping(value, &path)?, &path, part)?);
    }
    match found.keys().find(|key| !Part::ALL.iter().any(|part| part.key() == key.as_str())) {
        Some(stranger) => Err(format!("modules.{stranger}: expected kernel, initrd and rootfs alone")),
        None => Ok(modules),
    }
}

fn module(members: &Map<String, Value>, path: &str, part: Part) -> std::result::Result<Module, String> {
    let file = optional(members, "file").map(|_| text(members, path, "file")).transpose()?;
    if let Some(file) = file.filter(|file| file != part.file()) {
        return Err(format!("{path}.file: expected {}, found {file:?}", part.file()));
    }
    let digest = |algorithm: Algorithm, key: &str, digits: usize| {
        optional(members, key)
            .map(|_| {
                let hex = text(members, path, key)?;
                let name = if algorithm == Algorithm::Md5 { "md5" } else { "sha256" };
                let digest = format!("{name}:{hex}").parse();
                digest.map_err(|_| format!("{path}.{key}: expected {digits} hexadecimal digits"))
            })
            .transpose()
    };
    Ok(Module {
        raw_size: optional(members, "raw_size").map(|_| number(members, path, "raw_size")).transpose()?,
        raw_md5: digest(Algorithm::Md5, "raw_md5", 32)?,
        raw_sha256: digest(Algorithm::Sha256, "raw_sha256", 64)?,
        uri: optional(members, "uri").map(|_| text(members, path, "uri")).transpose()?,
    })
}

fn operating_system(members: &Map<String, Value>) -> std::result::Result<Option<OperatingSystem>, String> {
    let Some(found) = optional(members, "os") else { return Ok(None) };
    let found = mapping(found, "os")?;
    Ok(Some(OperatingSystem {
        name: text(found, "os", "name")?,
        major: number(found, "os", "major")?,
        minor: number(found, "os", "minor")?,
    }))
}

fn packages(members: &Map<String, Value>) -> std::result::Result<BTreeMap<String, String>, String> {
    let Some(found) = optional(members, "all_packages") else { return Ok(BTreeMap::new()) };
    let found = mapping(found, "all_packages")?;
    found.keys().map(|name| Ok((name.clone(), text(found, "all_packages", name)?))).collect()
}

fn repositories(members: &Map<String, Value>) -> std::result::Result<Vec<Repository>, String> {
    let Some(found) = optional(members, "repos") else { return Ok(Vec::new()) };
    let found = found.as_array().ok_or_else(|| format!("repos: expected a list, found {}", kind(found)))?;
    let repository = |(number, repo): (usize, &Value)| {
        let path = format!("repos[{number}]");
        let repo = mapping(repo, &path)?;
        let or_empty = |key: &str| match optional(repo, key) {
            Some(_) => text(repo, &path, key),
            None => Ok(String::new()),
        };
        let priority = optional(repo, "priority").map(|value| {
            value.as_i64().ok_or_else(|| format!("{path}.priority: expected a whole number, found {}", kind(value)))
        });
        Ok(Repository {
            name: or_empty("name")?,
            kind: text(repo, &path, "type")?,
            uri: text(repo, &path, "uri")?,
            suite: or_empty("suite")?,
            section: or_empty("section")?,
            priority: priority.transpose()?,
        })
    };
    found.iter().enumerate().map(repository).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Fuel's builder writes them.
    const UPSTREAM: &str = "all_packages: {acpid: '1:2.0.26-1ubuntu2', adduser: 3.113+nmu3ubuntu4}
extend_kopts: biosdevname=0 net.ifnames=1
label: 0b3b4d4b-5a5c-4f4f-8b8b-3a3a3a3a3a3a
modules:
  initrd: {file: initrd.img, raw_md5: 0f343b0931126a20f133d67c2b018a3b, raw_size: 4096, uri: 'http://127.0.0.1:8080/bootstraps/0b3b4d4b-5a5c-4f4f-8b8b-3a3a3a3a3a3a/initrd.img'}
  kernel: {file: vmlinuz, raw_md5: '12345678901234567890123456789012', raw_size: 7, uri: 'http://a/k'}
  rootfs: {file: root.squashfs, raw_md5: d41d8cd98f00b204e9800998ecf8427e, raw_size: 0, uri: 'http://a/r'}
os: {major: 14, minor: 4, name: Ubuntu}
repos:
- {name: ubuntu, priority: null, section: main universe, suite: xenial, type: deb, uri: 'http://a/ubuntu/'}
- {name: mos, priority: 1050, section: main, suite: mos10.0, type: deb, uri: 'http://a/mos/'}
uuid: 0b3b4d4b-5a5c-4f4f-8b8b-3a3a3a3a3a3a
";

    fn fault(text: &str) -> String {
        let error = Metadata::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Image);
        error.to_string().strip_prefix("reading metadata.yaml: ").unwrap().to_owned()
    }

    #[test]
    fn upstreams_metadata_are_read_and_written_without_loss() {
        let read = Metadata::parse(UPSTREAM.as_bytes()).unwrap();
        assert_eq!(read.uuid.as_str(), "0b3b4d4b-5a5c-4f4f-8b8b-3a3a3a3a3a3a");
        assert_eq!(read.module(Part::Initrd).unwrap().raw_size, Some(4096));
        assert_eq!(hex_of(read.modules[&Part::Kernel].raw_md5.as_ref().unwrap()), "12345678901234567890123456789012");
        assert_eq!(read.os, Some(OperatingSystem { name: "Ubuntu".into(), major: 14, minor: 4 }));
        assert_eq!(read.all_packages["acpid"], "1:2.0.26-1ubuntu2");
        assert_eq!((read.repos[0].priority, read.repos[1].priority), (None, Some(1050)));
        assert!(!read.module(Part::Kernel).unwrap().is_complete(), "there is no sha256");
        let written = read.to_yaml().unwrap();
        assert_eq!(Metadata::parse(written.as_bytes()).unwrap(), read);
    }

    #[test]
    fn two_keys_are_enough_for_metadata_made_by_hand() {
        let read = Metadata::parse(b"uuid: my-image\nextend_kopts: ''\nmaker: me\n").unwrap();
        assert_eq!((read.uuid.as_str(), read.label.as_str(), read.extend_kopts.as_str()), ("my-image", "my-image", ""));
        assert!(read.modules.is_empty() && read.repos.is_empty() && read.os.is_none());
        let written = "all_packages: {}\nextend_kopts: ''\nlabel: 'my-image'\nmaker: 'me'\nmodules: {}\nrepos: []\nuuid: 'my-image'\n";
        assert_eq!(read.to_yaml().unwrap(), written);
    }

    #[test]
    fn faults_name_their_field() {
        for (text, words) in [
            ("", "expected a mapping with the keys uuid and extend_kopts"),
            ("extend_kopts: x", "uuid: it is missing"),
            ("uuid: x", "extend_kopts: it is missing"),
            ("uuid: ../x\nextend_kopts: x", "uuid: expected a UUID, found \"../x\""),
            ("uuid: active_bootstrap\nextend_kopts: x", "uuid: expected a UUID, found \"active_bootstrap\""),
            ("uuid: 7\nextend_kopts: x", "uuid: expected text, found a number: it lacks the quotes"),
            ("uuid: x\nextend_kopts: '${x}'", "extend_kopts: expected one line of printable ASCII without ${"),
            ("uuid: x\nextend_kopts: x\nuuid: y", "uuid: given twice"),
            ("uuid: x\nextend_kopts: x\nlabel: \"a\\nb\"", "label: expected one line of text"),
            ("uuid: x\nextend_kopts: x\nmodules: []", "modules: expected a mapping, found a list"),
            ("uuid: x\nextend_kopts: x\nmodules: {boot: {}}", "modules.boot: expected kernel, initrd and rootfs alone"),
            (
                "uuid: x\nextend_kopts: x\nmodules: {kernel: {file: ../../etc/passwd}}",
                "modules.kernel.file: expected vmlinuz, found \"../../etc/passwd\"",
            ),
            (
                "uuid: x\nextend_kopts: x\nmodules: {rootfs: {raw_sha256: '00 init=/bin/sh'}}",
                "modules.rootfs.raw_sha256: expected 64 hexadecimal digits",
            ),
            (
                "uuid: x\nextend_kopts: x\nmodules: {rootfs: {raw_size: -1}}",
                "modules.rootfs.raw_size: expected a whole number, found -1",
            ),
            ("uuid: x\nextend_kopts: x\nos: {name: a, major: 1}", "os.minor: it is missing"),
            (
                "uuid: x\nextend_kopts: x\nall_packages: {a: 5.2}",
                "all_packages.a: expected text, found a number: it lacks the quotes",
            ),
            ("uuid: x\nextend_kopts: x\nrepos: [{type: deb}]", "repos[0].uri: it is missing"),
        ] {
            assert_eq!(fault(text), words, "{text}");
        }
        assert!(fault("uuid: [").contains("it is not YAML: "), "{}", fault("uuid: ["));
    }
}
