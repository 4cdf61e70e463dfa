//! `bedplate-master bootstrap build` with real tools: what it refuses and leaves behind, and one image.
#![cfg(feature = "master")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test says what it expects by failing")]

#[path = "../support/mod.rs"]
mod support;

mod image;
mod site;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use site::{Behaviour, SUITE, Site, failure};

/// Waits until the server was asked, so that apt is at work.
fn until_asked(site: &Site) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.server.seen().is_empty() {
        assert!(Instant::now() < deadline, "nothing was fetched");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that know the folder of the build, by their arguments or their environment.
fn processes_of(site: &Site) -> usize {
    let folder = site.build().join("bedplate-build.").display().to_string();
    let texts = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let read = |name: &str| std::fs::read(path.join(name)).ok();
        Some([read("cmdline")?, read("environ")?].concat())
    });
    texts.filter(|text| String::from_utf8_lossy(text).contains(&folder)).count()
}

#[test]
fn needs_root_repositories_are_judged_before_anything_is_unpacked() {
    let site = Site::new(Behaviour::Good);
    let url = site.server.url("").trim_end_matches('/').to_owned();
    let fails = |line: &str| site.fails(&["--repo", line]);

    let (code, words) = fails(&site.line("other.gpg", SUITE));
    let not_signed =
        format!("reading the repositories: The repository '{url} demo InRelease' is not signed: GPG error: ");
    assert!(code == 12 && words.starts_with(&not_signed) && words.contains("NO_PUBKEY"), "{code} {words}");

    let absent =
        format!("reading the repositories: The repository '{url} nosuch Release' does not have a Release file");
    assert_eq!(fails(&site.line("site.gpg", "nosuch main")), (10, absent));

    let (code, words) = fails(&site.line("site.gpg", "demo main extra"));
    assert!(code == 10 && words.contains("doesn't have the component 'extra'"), "{code} {words}");

    let (code, words) = fails("deb http://127.0.0.1:1 demo main");
    let down = "reading the repositories: Failed to fetch http://127.0.0.1:1/dists/demo/InRelease Could not connect to";
    assert!(code == 13 && words.starts_with(down), "{code} {words}");

    // What the live system wants is not there either, and is named as well.
    let line = site.line("site.gpg", SUITE);
    let (code, words) = site.fails(&["--repo", &line, "--package", "no-such-tool", "--package", "site-tool"]);
    assert!(code == 10 && words.starts_with("choosing the packages: Unable to locate package "), "{code} {words}");
    assert!(!words.contains("site-tool"), "{words}");
    assert_eq!(site.left(), Vec::<String>::new());
}

#[test]
fn needs_root_unsigned_repositories_are_taken_by_name_alone() {
    let site = Site::new(Behaviour::Unsigned);
    let url = site.server.url("").trim_end_matches('/').to_owned();
    let line = site.line("site.gpg", SUITE);
    let unsigned = format!("reading the repositories: The repository '{url} demo Release' is not signed");
    assert_eq!(site.fails(&["--repo", &line]), (12, unsigned));
    let (code, words) = site.fails(&["--repo", &line, "--allow-unsigned", &url]);
    assert!(code == 10 && words.starts_with("choosing the packages: "), "{code} {words}");
}

#[test]
fn needs_root_a_full_file_system_is_named() {
    let site = Site::new(Behaviour::Good);
    std::fs::create_dir(site.build()).unwrap();
    let line = site.line("site.gpg", SUITE);
    let builder = site.builder(&["--repo", &line]);
    let mut small = Command::new("unshare");
    small.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=200k tmpfs \"$0\" && exec \"$@\""]).arg(site.build());
    small.arg(builder.get_program()).args(builder.get_args()).env("RUST_LOG", "error").stdin(Stdio::null());
    let words = format!("reading the repositories: No space left on device: {}", site.build().display());
    assert_eq!(failure(&small.output().unwrap()), (14, words));
}

#[test]
fn needs_root_nothing_of_a_killed_build_is_left() {
    let site = Site::new(Behaviour::Silent);
    let line = site.line("site.gpg", SUITE);
    let start = || {
        let child = site.builder(&["--repo", &line]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        (child, pid)
    };

    let (child, pid) = start();
    until_asked(&site);
    let (code, words) = site.fails(&["--repo", &line]);
    let held = format!(
        "building a bootstrap: another run holds {}/bedplate-build.lock (process {pid})",
        site.build().display()
    );
    assert_eq!((code, words), (12, held));
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(failure(&ended), (143, "reading the repositories: ended by SIGTERM".to_owned()));
    assert_eq!((site.left(), processes_of(&site)), (Vec::new(), 0));

    let before = site.server.seen().len();
    let (mut child, pid) = start();
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.server.seen().len() == before {
        assert!(Instant::now() < deadline, "nothing was fetched");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(site.left().len(), 1, "{:?}", site.left());
    while processes_of(&site) > 0 {
        assert!(Instant::now() < deadline, "a process outlived its build");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The next one removes it, whatever becomes of that one.
    assert_eq!(site.fails(&["--repo", "deb http://127.0.0.1:1 demo main"]).0, 13);
    assert_eq!(site.left(), Vec::<String>::new());
}

#[test]
fn ubuntu_differs_in_data_alone() {
    let ask = |distribution: &str, suite: &str, what: &str| {
        let script = site::repository().join("packaging/bootstrap/live/inputs.sh");
        // Which keyring it is makes no difference here; this one every machine with apt has.
        let values =
            [("DISTRO", distribution), ("SUITE", suite), ("KERNEL", "generic"), ("KEYRING", "/etc/debian_version")];
        site::run(Command::new(script).arg(what).envs(values))
    };
    let packages = |distribution: &str, suite: &str| {
        ask(distribution, suite, "packages").lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let (debian, ubuntu) = (packages("debian", "bookworm"), packages("ubuntu", "noble"));
    assert_eq!(debian.difference(&ubuntu).collect::<Vec<_>>(), ["busybox", "linux-image-amd64"]);
    assert_eq!(ubuntu.difference(&debian).collect::<Vec<_>>(), ["busybox-static", "linux-image-generic"]);
    assert_eq!(ask("ubuntu", "noble", "distribution"), "ubuntu noble /etc/debian_version\n");
    assert_eq!(ask("ubuntu", "noble", "dpkg-options"), ask("debian", "bookworm", "dpkg-options"));
}

#[test]
fn needs_root_every_file_that_is_missing_is_named() {
    let site = Site::new(Behaviour::Good);
    let line = site.line("none.gpg", SUITE);
    let options = ["--repo", &line, "--extra-dir", "/nonexistent", "--script", "/tmp", "--load-cert", "/nowhere"];
    let key = site.scratch.path("none.gpg");
    let absent = "No such file or directory (os error 2)";
    let words = format!(
        "4 faults: extra_dirs: /nonexistent: {absent}; certs: /nowhere: {absent}; repos: key: {}: {absent}; \
         post_script_file: /tmp: expected a file",
        key.display()
    );
    assert_eq!(site.fails(&options), (2, words));
}

#[test]
fn needs_root_others_than_root_are_refused() {
    let site = Site::new(Behaviour::Good);
    // Where everybody may go.
    let program = std::env::temp_dir().join(format!("bedplate-master-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_bedplate-master"), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["bootstrap", "build", "--config"])
        .arg(site.scratch.path("bootstrap.yaml"))
        .output();
    std::fs::remove_file(&program).unwrap();
    assert_eq!(failure(&output.unwrap()), (12, "building a bootstrap: only root can: this is user 65534".to_owned()));
}
