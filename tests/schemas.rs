//! The published schemas are those of the types, and what is read and written validates against them.
//!
//! `UPDATE_GOLDEN=1` (`make schema`) writes docs/schema anew. The validator is python3-jsonschema of the distribution: it
//! shares no code with what makes the schemas.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bedplate::commands::erase_node::{self, DiskErasure, Erasure};
use bedplate::error::{Error, Kind};
use bedplate::inventory::{FirmwareMode, Inventory};
use bedplate::plan::Plan;
use bedplate::report::{
    DiskState, ErrorReport, Event, ImageReport, JsonLinesSink, Outcome, Report, Reporter, StepReport,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use support::planning;

/// Each schema's name and content.
fn schemas() -> BTreeMap<&'static str, Value> {
    let mut schemas = schemas_of_agent();
    #[cfg(feature = "master")]
    schemas.extend(bootstraps::schemas());
    schemas
}

fn schemas_of_agent() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("provision", bedplate::request::schema()),
        (
            "plan",
            of::<Plan>(
                "plan",
                "Bedplate plan",
                "What `bedplate plan --json` writes and `bedplate provision --plan` carries out: what is done, what is \
                 lost, and what is true afterwards.",
            ),
        ),
        (
            "report",
            of::<Report>(
                "report",
                "Bedplate report",
                "What a run did. `bedplate provision --report FILE` writes it, and it is sent to the master.",
            ),
        ),
        (
            "event",
            of::<Event>(
                "event",
                "Bedplate event",
                "One line of `bedplate provision --events`: something that happened.",
            ),
        ),
        (
            "inventory",
            of::<Inventory>(
                "inventory",
                "Bedplate inventory",
                "What `bedplate inventory --json` writes: a machine. What could not be read is absent.",
            ),
        ),
        (
            "erase-node",
            of::<Erasure>(
                "erase-node",
                "Bedplate erasure of a node",
                "What `bedplate erase-node --json` writes: what became of the boot sector of every disk.",
            ),
        ),
    ])
}

/// The schema of a type as it is written, with the words of its documentation.
fn of<T: JsonSchema>(name: &str, title: &str, description: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    plain_words(&mut schema);
    schema["$id"] = json!(format!("urn:bedplate:schema:{name}:1"));
    schema["title"] = json!(title);
    schema["description"] = json!(description);
    schema
}

/// Descriptions without the marks of rustdoc's links and the line ends of the source.
fn plain_words(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(words) if key == "description" => {
                        *words = words.replace("[`", "`").replace("`]", "`").replace("\n\n", "\0");
                        *words = words.replace('\n', " ").replace('\0', "\n\n");
                    }
                    other => plain_words(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_words),
        _ => {}
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(format!("{name}.schema.json"))
}

#[test]
fn published_schemas_are_those_of_the_types() {
    for (name, schema) in schemas() {
        // The keys of a Value are sorted.
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file(name), &text).unwrap();
        }
        let published = std::fs::read_to_string(file(name)).unwrap_or_default();
        assert_eq!(published, text, "{} is not up to date: make schema", file(name).display());
    }
}

/// Documents of one schema, each with what it is.
type Documents = Vec<(String, Value)>;

fn value(it: &impl serde::Serialize) -> Value {
    serde_json::to_value(it).unwrap()
}

/// Every fixture's request.
fn requests() -> Documents {
    let read = |name| serde_json::from_slice(&planning::read(&format!("provision/{name}.json"))).unwrap();
    planning::NAMES.iter().map(|name| ((*name).to_owned(), read(*name))).collect()
}

/// Every fixture's plan, also as a UEFI machine gets it; among them one that keeps data.
fn plans() -> Documents {
    let mut plans = Documents::new();
    for name in planning::NAMES {
        let mut machine = planning::machine(name);
        plans.push((name.to_owned(), value(&planning::plan(name, &machine))));
        machine.firmware.mode = FirmwareMode::Uefi;
        // What is kept was laid out for BIOS.
        if name != planning::KEPT {
            plans.push((format!("{name} on UEFI"), value(&planning::plan(name, &machine))));
        }
    }
    plans
}

/// Every saved machine, the one of a fixture, and the one that this test runs on.
fn inventories() -> Documents {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let saved = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let mut inventories: Documents = saved
        .map(|path| (path.display().to_string(), serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()))
        .collect();
    assert_ne!(inventories.len(), 0);
    inventories.push((planning::KEPT.to_owned(), value(&planning::machine(planning::KEPT))));
    inventories.push(("this machine".to_owned(), value(&bedplate::inventory::collect(Path::new("/")))));
    inventories
}

/// The report of a run that went well and of one that did not.
fn reports() -> Documents {
    let step = |bytes| StepReport { step: "write-image /dev/sda3".to_owned(), seconds: 1.5, bytes };
    let image = ImageReport {
        source: "http://10.20.0.2:8080/image.img.gz".to_owned(),
        target: "/dev/sda3".to_owned(),
        bytes_read: 1 << 20,
        bytes_written: 1 << 30,
        bytes_zeroed: 5,
        seconds: 1.5,
        digests: vec!["md5:d41d8cd98f00b204e9800998ecf8427e".to_owned()],
        proved: true,
    };
    let done = Report {
        run: "r1".to_owned(),
        version: "0.1.0".to_owned(),
        outcome: Outcome::Done,
        error: None,
        plan_digest: Some("sha256:00".to_owned()),
        disks: BTreeMap::from([("/dev/sda".to_owned(), DiskState::Complete)]),
        steps: vec![step(Some(1 << 30)), step(None)],
        images: vec![image],
        warnings: vec!["a warning".to_owned()],
        seconds: 3.0,
        peak_memory: Some(20 << 20),
    };
    let error =
        Error::caused(Kind::Medium, "writing to /dev/sda", std::io::Error::other("worn out")).advise("replace it");
    let failed = Report {
        outcome: Outcome::Failed,
        error: Some(ErrorReport::of(&error, Some("partition /dev/sda"))),
        plan_digest: None,
        disks: BTreeMap::from([
            ("/dev/sda".to_owned(), DiskState::NotBootable),
            ("/dev/sdb".to_owned(), DiskState::Untouched),
        ]),
        images: Vec::new(),
        peak_memory: None,
        ..done.clone()
    };
    vec![("a success".to_owned(), value(&done)), ("a failure".to_owned(), value(&failed))]
}

/// What a sink wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An event of every kind, as the sink for JSON lines writes it.
fn events() -> Documents {
    let written = Written::default();
    let reporter = Reporter::new("r1", vec![Box::new(JsonLinesSink::new(written.clone(), "memory"))]);
    let error = Error::new(Kind::Tool, "mkfs.xfs is missing");
    reporter.run_started("provisioning node-1");
    reporter.step_started("mkfs /dev/sda3", "make xfs on /dev/sda3");
    reporter.progress("mkfs /dev/sda3", 1, Some(2));
    reporter.step_finished("mkfs /dev/sda3", Some(2));
    reporter.step_failed("mkfs /dev/sda4", &error);
    reporter.log("a line");
    reporter.run_finished("failed", Some(&error));
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let events: Documents = text.lines().map(|line| (line.to_owned(), serde_json::from_str(line).unwrap())).collect();
    let kinds: Vec<_> = events.iter().map(|(_, event)| event["kind"].as_str().unwrap()).collect();
    let all = ["run_started", "step_started", "progress", "step_finished", "step_failed", "log", "run_finished"];
    assert_eq!(kinds, all);
    events
}

/// Each outcome of an erasure, and the one of a node without disks.
fn erasures() -> Documents {
    use erase_node::Outcome::{Erased, Failed, Left, Refused, WouldBeErased};
    let disk = |outcome| DiskErasure {
        device: "/dev/sda".to_owned(),
        outcome,
        reason: (outcome != Erased).then(|| "it is read-only".to_owned()),
    };
    let all = Erasure { dry_run: false, disks: [Erased, WouldBeErased, Left, Refused, Failed].map(disk).to_vec() };
    let none = Erasure { dry_run: true, disks: Vec::new() };
    vec![("every outcome".to_owned(), value(&all)), ("no disk".to_owned(), value(&none))]
}

/// Everything that must be valid, by schema.
fn documents() -> BTreeMap<&'static str, Documents> {
    let mut documents = documents_of_agent();
    #[cfg(feature = "master")]
    documents.extend(bootstraps::documents());
    documents
}

fn documents_of_agent() -> BTreeMap<&'static str, Documents> {
    BTreeMap::from([
        ("provision", requests()),
        ("plan", plans()),
        ("report", reports()),
        ("event", events()),
        ("inventory", inventories()),
        ("erase-node", erasures()),
    ])
}

/// Changes that make the first document of a schema wrong: what is removed (null) or replaced, and the begin of what is said to it.
const WRONG: [(&str, &str, &str, &str); 17] = [
    ("provision", "/ks_meta", "null", "$: 'ks_meta' is a required property"),
    ("provision", "/ks_meta/pm_data/ks_spaces", "{}", "$.ks_meta.pm_data.ks_spaces: "),
    ("provision", "/ks_meta/image_data/~1", "\"http://10.20.0.2/image\"", "$.ks_meta.image_data./: "),
    ("plan", "/digest", "null", "$: 'digest' is a required property"),
    ("plan", "/firmware", "\"coreboot\"", "$.firmware:"),
    ("plan", "/disks/0/disk/sector_size", "513", "$.disks[0].disk.sector_size: 513 is not one of [512, 4096]"),
    ("plan", "/disks/0/disk/size", "-1", "$.disks[0].disk.size: -1 is less than the minimum of 0"),
    ("plan", "/layout/lvs/0/size_mib", "\"1 MiB\"", "$.layout.lvs[0].size_mib: '1 MiB' is not of type 'integer'"),
    ("plan", "/steps/0/do", "\"format_everything\"", "$.steps[0]"),
    ("report", "/outcome", "\"perhaps\"", "$.outcome:"),
    ("report", "/steps/0/seconds", "null", "$.steps[0]: 'seconds' is a required property"),
    ("event", "/kind", "\"rumour\"", "$.kind:"),
    ("event", "/seq", "\"1\"", "$.seq: '1' is not of type 'integer'"),
    ("inventory", "/disks", "{}", "$.disks: {} is not of type 'array'"),
    ("inventory", "/disks/0/device", "null", "$.disks[0]: 'device' is a required property"),
    ("erase-node", "/disks/0/outcome", "\"gone\"", "$.disks[0].outcome:"),
    ("erase-node", "/dry_run", "null", "$: 'dry_run' is a required property"),
];

/// A document with one place changed.
fn changed(document: &Value, pointer: &str, replacement: &str) -> Value {
    let mut document = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let key = key.replace("~1", "/");
    match serde_json::from_str(replacement).unwrap() {
        Value::Null => assert!(parent.remove(&key).is_some(), "{pointer}"),
        value => assert!(parent.insert(key, value).is_some(), "{pointer}"),
    }
    document
}

#[test]
fn an_independent_validator_accepts_what_is_written_and_refuses_what_is_wrong() {
    let Some(python) = python() else { return };
    let documents = documents();
    let valid =
        documents.iter().flat_map(|(schema, all)| all.iter().map(|(what, it)| (*schema, what.as_str(), it.clone())));
    let wrong = WRONG.iter().map(|(schema, pointer, replacement, _)| {
        (*schema, *pointer, changed(&documents[schema][0].1, pointer, replacement))
    });
    let cases: Vec<_> = valid.chain(wrong).collect();
    let found = validate(&python, &cases);
    let (valid, refused) = found.split_at(cases.len() - WRONG.len());
    for ((schema, what, _), violation) in cases.iter().zip(valid) {
        assert_eq!(violation, &None, "{schema}: {what}");
    }
    for ((schema, pointer, _, expected), violation) in WRONG.iter().zip(refused) {
        let violation = violation.as_deref().unwrap_or("nothing is wrong");
        assert!(violation.starts_with(expected), "{schema} {pointer}: {violation}");
    }
}

/// A Python that has the validator, or nothing where there is none; a machine of the CI has one.
fn python() -> Option<PathBuf> {
    // The distribution's own, also where another comes first in PATH.
    let candidates = ["/usr/bin/python3", "python3"].map(PathBuf::from);
    let has = |python: &PathBuf| {
        let asked = Command::new(python).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(has);
    if found.is_none() {
        let reason = "python3-jsonschema is not installed (make setup)";
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("not run: {reason}");
    }
    found
}

/// The first violation of each document.
fn validate(python: &Path, cases: &[(&str, &str, Value)]) -> Vec<Option<String>> {
    let documents: Vec<_> =
        cases.iter().map(|(schema, _, document)| json!({ "schema": schema, "document": document })).collect();
    let work = json!({ "schemas": schemas(), "documents": documents });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/lint/schemas.py");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It reads everything before it writes anything.
    child.stdin.take().unwrap().write_all(work.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "schemas.py: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the master says of bootstrap images.
#[cfg(feature = "master")]
mod bootstraps {
    use bedplate::master::bootstraps::Imported;
    use bedplate::master::bootstraps::activation::Activation;
    use bedplate::master::bootstraps::metadata::ImageId;
    use bedplate::master::bootstraps::settings::Settings;
    use bedplate::master::bootstraps::store::{List, Listed, Status};
    use bedplate::master::builds::Build;
    use bedplate::master::images::SettingsView;

    use super::{BTreeMap, Documents, Value, json, of, value};

    pub fn schemas() -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            (
                "bootstrap-list",
                of::<List>(
                    "bootstrap-list",
                    "Bedplate bootstrap images",
                    "What `bedplate-master bootstrap list --json` writes: all bootstrap images of a master.",
                ),
            ),
            (
                "bootstrap-import",
                of::<Imported>(
                    "bootstrap-import",
                    "Bedplate import of a bootstrap image",
                    "What `bedplate-master bootstrap import --json` writes.",
                ),
            ),
            (
                "bootstrap-activation",
                of::<Activation>(
                    "bootstrap-activation",
                    "Bedplate activation of a bootstrap image",
                    "What `bedplate-master bootstrap activate --json` and `rollback --json` write: what is active now.",
                ),
            ),
            (
                "bootstrap-build",
                of::<Build>(
                    "bootstrap-build",
                    "Bedplate build of a bootstrap image",
                    "What a master answers of the build that goes on, or of the last one.",
                ),
            ),
            (
                "bootstrap-settings",
                of::<SettingsView>(
                    "bootstrap-settings",
                    "Bedplate settings of bootstrap images",
                    "What a master answers of its settings for the next build.",
                ),
            ),
        ])
    }

    fn id() -> ImageId {
        "11111111-1111-4111-8111-111111111111".parse().unwrap()
    }

    pub fn documents() -> BTreeMap<&'static str, Documents> {
        let image = |status, problem: Option<&str>| Listed {
            uuid: id().to_string(),
            label: "a label".to_owned(),
            status,
            bytes: problem.is_none().then_some(7),
            problem: problem.map(str::to_owned),
        };
        let images = vec![
            image(Status::Active, None),
            image(Status::Previous, Some("there is no vmlinuz")),
            image(Status::Inactive, None),
        ];
        let computed = vec!["modules.rootfs.raw_sha256".to_owned()];
        let imported = Imported { uuid: id(), label: "a label".to_owned(), computed };
        let none = Activation { active: None, previous: Some(id()), cobbler: true };
        let build: Build = serde_json::from_value(json!({
            "state": "failed", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z", "phase": "system",
            "doing": "installing", "phases_done": 3, "phases": 13, "uuid": null, "activated": false, "error": "x", "advice": null,
        }))
        .unwrap();
        let (settings, _) =
            Settings::parse("packages: [vim]\nrepos: [{uri: 'http://a', suite: b, section: c}]\n").unwrap();
        let one = |what: &str, document: Value| vec![(what.to_owned(), document)];
        BTreeMap::from([
            ("bootstrap-list", one("every status", value(&List { images }))),
            ("bootstrap-import", one("an import", value(&imported))),
            ("bootstrap-activation", one("a roll-back", value(&none))),
            ("bootstrap-build", one("a failure", value(&build))),
            ("bootstrap-settings", one("settings", value(&SettingsView::from(settings)))),
        ])
    }
}
