//! A scenario's frame: its folder, its keys, and what must hold after every one.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::artefacts;
use super::disk::{Canary, Disk, hex, noise};
use super::secrets::{Secrets, Watcher};
use super::ssh::{KeyPair, Ssh};
use super::vm::Description;

/// What a story is told with.
pub struct Scenario {
    name: String,
    folder: PathBuf,
    logs: PathBuf,
    key: KeyPair,
    secrets: Secrets,
    canaries: RefCell<Vec<Canary>>,
    began: Instant,
}

impl Scenario {
    /// Makes the folder anew. Logs lie in `logs/` below it, everything else beside that.
    #[track_caller]
    pub fn new(name: &str, folder: &Path) -> Self {
        if folder.exists() {
            std::fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("removing {}: {error}", folder.display()));
        }
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).unwrap_or_else(|error| panic!("creating {}: {error}", logs.display()));
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            logs,
            key: KeyPair::make(folder),
            secrets: Secrets::default(),
            canaries: RefCell::default(),
            began: Instant::now(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is searched for secrets afterwards.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The key pair of this run.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// What must not be found.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A password that was not used before and must not be found.
    pub fn secret(&self, name: &str) -> String {
        let seed = self.began.elapsed().as_nanos() ^ u128::from(std::process::id()) << 32;
        let seed = u64::try_from(seed & u128::from(u64::MAX)).expect("64 bits fit");
        let value = format!("{name}-{}", hex(&noise(seed, 8)));
        self.secrets.add(&value);
        value
    }

    /// Describes a machine.
    pub fn machine(&self, name: &str) -> Description {
        Description::new(self, &format!("{}-{name}", self.name))
    }

    /// An empty disk.
    pub fn disk(&self, serial: &str, mib: u64) -> Disk {
        Disk::blank(&self.folder, serial, mib)
    }

    /// A disk that no request names; looked at when the scenario has ended.
    pub fn canary(&self, machine: &str) -> Disk {
        let number = self.canaries.borrow().len();
        let folder = self.folder.join(format!("canary-of-{machine}"));
        std::fs::create_dir_all(&folder).expect("a folder can be made in the scenario's own");
        let canary = Canary::new(&folder, &format!("CANARY{number}"));
        let disk = canary.disk().clone();
        self.canaries.borrow_mut().push(canary);
        disk
    }

    /// Tells what happens now.
    pub fn tell(&self, what: &str) {
        println!("{} [{:6.1} s] {what}", self.name, self.began.elapsed().as_secs_f64());
    }

    /// Keeps the output of a command in a machine for the search, for example its logs or its process list.
    #[track_caller]
    pub fn keep(&self, name: &str, ssh: &Ssh, script: &str) -> String {
        let output = ssh.run(script, 60);
        super::disk::write(&self.logs.join(name), output.words().as_bytes());
        output.stdout
    }

    /// Files of a machine that hold one of the secrets, found there so that not every log has to be fetched. The
    /// secrets travel on standard input.
    #[track_caller]
    pub fn secrets_in_guest(&self, ssh: &Ssh, folders: &str) -> Vec<String> {
        // Logs are root's; in the bootstrap there is neither another user nor sudo.
        let script = format!("$(command -v sudo >/dev/null && echo sudo -n) grep -rlF -f - {folders} 2>/dev/null");
        let output = ssh.feed(&script, self.secrets.lines().as_bytes(), 60);
        output.stdout.lines().map(str::to_owned).collect()
    }

    fn faults_afterwards(&self, watcher: Watcher) -> Vec<String> {
        let mut faults: Vec<String> = self.canaries.borrow().iter().filter_map(|canary| canary.check().err()).collect();
        let seen = watcher.finish().into_iter().chain(self.secrets.in_files(&self.logs));
        faults.extend(seen.map(|place| format!("a secret of the request stands in {place}")));
        faults
    }
}

/// Runs a story and checks what must hold after every one: canaries are untouched, no secret was told.
#[track_caller]
pub fn run(name: &str, story: impl FnOnce(&Scenario)) {
    let scenario = Scenario::new(name, &artefacts::build().join("e2e").join(name));
    run_in(&scenario, story);
    // The logs of a scenario that passed are kept, its disks are not.
    for entry in std::fs::read_dir(scenario.folder()).expect("the scenario's folder is there").flatten() {
        if entry.path() != scenario.logs() {
            let removed = if entry.path().is_dir() {
                std::fs::remove_dir_all(entry.path())
            } else {
                std::fs::remove_file(entry.path())
            };
            removed.unwrap_or_else(|error| panic!("removing {}: {error}", entry.path().display()));
        }
    }
}

/// The same in a scenario that was made before.
#[track_caller]
pub fn run_in(scenario: &Scenario, story: impl FnOnce(&Scenario)) {
    let watcher = Watcher::start(&scenario.secrets);
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| story(scenario)));
    let faults = scenario.faults_afterwards(watcher);
    if let Err(cause) = told {
        for fault in faults {
            eprintln!("{}: {fault}", scenario.name);
        }
        eprintln!("{}: everything is kept in {}", scenario.name, scenario.folder.display());
        std::panic::resume_unwind(cause);
    }
    assert!(faults.is_empty(), "{}: {}", scenario.name, faults.join("; "));
    scenario.tell("passed");
}
