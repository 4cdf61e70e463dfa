//! The source tree keeps its shape: who may import whom, what is pure, where unsafe code stands.

#![allow(clippy::panic, reason = "a test says what it expects by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from low to high: each imports only from those before it. `sys` and `report` stand low because everything
/// may use them; `http` is the one client for images, master and event sinks.
const ORDER: [&str; 21] = [
    "units",
    "error",
    "sys",
    "report",
    "request",
    "settings",
    "http",
    "inventory",
    "layout",
    "plan",
    "image",
    "configdrive",
    "boot",
    // Before anything is written, a run compares what is kept with the request, by the same eyes as afterwards.
    "verify",
    "execute",
    "netboot",
    "commands",
    "master",
    "cli",
    "lib",
    "main",
];

/// What an upward import is needed for, each with its reason.
const EXCEPTIONS: [(&str, &str); 2] = [
    // The sink that sends events to a master is a sink, and the client is the one of images.
    ("report", "http"),
    // `Secret`, which every password and token is.
    ("report", "request"),
];

/// Values in, values out.
const PURE: [&str; 4] = ["request", "layout", "plan", "boot"];

/// What makes a function more than a computation. `std::net` is there for its addresses alone.
const IMPURE: [&str; 12] = [
    "crate::sys",
    "crate::report",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "now_utc",
];

/// Past this a file wants a split by noun.
const LINES: usize = 400;

/// A source file and the module that it belongs to.
struct Source {
    path: PathBuf,
    module: String,
    /// Without comments and without its tests.
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let first = path.strip_prefix(&root).expect("it was found below it").components().next();
        let first = first.expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        // Programs beside the main one are thin as well.
        let module = if module == "bin" { "main".to_owned() } else { module };
        Source { module, code: code(&text), lines: text.lines().count(), path }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder can be listed") {
        let path = entry.expect("a source folder can be listed").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The program text: tests stand at the end of a file, comments take whole lines or the end of one.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split(" //").next().unwrap_or_default());
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// First names after `crate::`, also those of `use crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        // `bedplate::` in the programs means the same; `pub(crate)` has no colons.
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_name(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut is_start = true;
                for (at, letter) in group.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        _ if is_start && depth == 0 && !letter.is_whitespace() => {
                            found.extend(first_name(&group[at..]));
                            is_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn rank(module: &str) -> usize {
    let found = ORDER.iter().position(|name| *name == module);
    found.unwrap_or_else(|| panic!("module {module} has no place in the order of tests/architecture.rs"))
}

#[test]
fn folder_imports_only_from_those_before_it() {
    let mut faults = Vec::new();
    for source in sources() {
        for import in imports(&source.code) {
            // What is defined in lib.rs itself, a macro for example, belongs to all.
            let is_known = ORDER.contains(&import.as_str());
            let is_allowed = EXCEPTIONS.contains(&(source.module.as_str(), import.as_str()));
            if is_known && !is_allowed && import != source.module && rank(&import) > rank(&source.module) {
                faults.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "imports against the direction:\n{}", faults.join("\n"));
}

#[test]
fn request_layout_plan_and_boot_are_pure() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module.as_str())) {
        let found = IMPURE.iter().filter(|word| source.code.contains(*word));
        faults.extend(found.map(|word| format!("{} uses {word}", source.path.display())));
        let low = imports(&source.code).into_iter().filter(|name| name == "sys" || name == "report");
        faults.extend(low.map(|name| format!("{} imports {name}", source.path.display())));
    }
    assert!(faults.is_empty(), "not a computation:\n{}", faults.join("\n"));
}

#[test]
fn unsafe_stands_in_sys_alone_and_names_its_contract() {
    let mut faults = Vec::new();
    for source in sources() {
        let is_used = |line: &str| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"]
                .iter()
                .any(|word| line.contains(word))
        };
        if source.module != "sys" && source.code.lines().any(is_used) {
            faults.push(format!("{} has unsafe code", source.path.display()));
        }
        let text = fs::read_to_string(&source.path).expect("a source file can be read");
        let (blocks, reasons) = (source.code.matches("unsafe {").count(), text.matches("// SAFETY:").count());
        if blocks > reasons {
            faults.push(format!("{}: {blocks} unsafe blocks, {reasons} reasons", source.path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A long file is told, not refused: where the noun does not split, it does not.
#[test]
fn long_files_are_named() {
    for source in sources().iter().filter(|source| source.lines > LINES) {
        println!("warning: {} has {} lines, more than {LINES}", source.path.display(), source.lines);
    }
}

#[test]
fn groups_of_imports_are_read() {
    let code = "use crate::{error::{Error, Kind}, sys};\nuse crate::units::Bytes; pub(crate) fn a() {}";
    assert_eq!(imports(code), BTreeSet::from(["error", "sys", "units"].map(str::to_owned)));
}
