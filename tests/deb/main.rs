//! The Debian packages of `make deb`: the same each time, and installed by apt over an older version.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test says what it expects by failing")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::root_directory::root_directory;
use support::scratch::Scratch;

const NEW: &str = concat!("bedplate_", env!("CARGO_PKG_VERSION"), "-1_amd64.deb");
const AGENTS: &str = concat!("bedplate-mcollective-agents_", env!("CARGO_PKG_VERSION"), "-1_all.deb");
const OLD: &str = "bedplate_0.0.9-1_amd64.deb";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The agent without what a debugger wants: the package's content, not the agent's size, is in question here.
fn agent(scratch: &Scratch) -> PathBuf {
    let agent = scratch.path("bedplate");
    let stripped = Command::new("strip").arg("-o").args([&agent, Path::new(env!("CARGO_BIN_EXE_bedplate"))]).status();
    assert!(stripped.expect("strip starts").success());
    agent
}

/// Builds both packages into a folder of this name.
fn build(scratch: &Scratch, agent: &Path, folder: &str, more: &[&str]) -> PathBuf {
    let out = scratch.path(folder);
    let built = Command::new(repository().join("packaging/deb/build.py"))
        .args(["--compression", "none", "--agent"])
        .args([agent, Path::new("--out"), &out])
        .args(more)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .expect("build.py starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out
}

#[test]
fn packages_are_the_same_each_time() {
    let scratch = Scratch::new();
    // Who builds, and when a file was changed, is in no package.
    let agent = agent(&scratch);
    let first = build(&scratch, &agent, "first", &[]);
    std::fs::File::open(&agent).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let second = build(&scratch, &agent, "second", &[]);
    for package in [NEW, AGENTS] {
        let read = |folder: &Path| std::fs::read(folder.join(package)).unwrap();
        assert!(read(&first) == read(&second), "{package}");
    }
}

#[test]
fn needs_root_apt_replaces_an_older_package() {
    let scratch = Scratch::new();
    let agent = agent(&scratch);
    let packages = build(&scratch, &agent, "packages", &[]);
    // Another program under an older number.
    let old = scratch.path("old");
    std::fs::write(&old, "#!/bin/sh\necho bedplate 0.0.9\n").unwrap();
    let older = build(&scratch, &old, "older", &["--version", "0.0.9-1"]);
    std::fs::rename(older.join(OLD), packages.join(OLD)).unwrap();
    let work = scratch.path("work");
    std::fs::create_dir(&work).unwrap();
    let installed = Command::new("timeout")
        .args(["120", "unshare", "--mount", "--net"])
        .arg(repository().join("tests/deb/install.sh"))
        .args([&root_directory(), &work, &packages])
        .args([OLD, NEW, AGENTS])
        .output()
        .expect("unshare starts");
    let (out, err) = (String::from_utf8_lossy(&installed.stdout), String::from_utf8_lossy(&installed.stderr));
    assert!(installed.status.success(), "{out}{err}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        out,
        format!(
            "bedplate 0.0.9-1 install ok installed, bedplate 0.0.9\n\
             bedplate {version}-1 install ok installed, bedplate {version}\n\
             bedplate-mcollective-agents {version}-1 install ok installed, bedplate {version}\n\
             bedplate {version}\nSyntax OK\n"
        )
    );
}
