//! The embedded master as a process, and what an operator does with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::artefacts::{self, Bootstrap, OsImage};
use super::disk;
use super::http::HOST_OF_GUEST;
use super::process::{self, Daemon, Output};
use super::scenario::Scenario;
use super::ssh;
use super::wait::{self, Deadline};

/// A running master.
#[derive(Debug)]
pub struct Master {
    folder: PathBuf,
    log: PathBuf,
    place: Place,
    process: Daemon,
}

/// Where it listens, and how a guest reaches that.
#[derive(Debug, Clone)]
struct Place {
    listen: String,
    url: String,
}

/// What the master's folder is made of.
pub struct Site<'a> {
    /// Kernel and initrd that it serves.
    pub bootstrap: &'a Bootstrap,
    /// The images that it serves.
    pub image: &'a OsImage,
    /// What is appended to the bootstrap's kernel line.
    pub kernel_args: &'a str,
    /// Further lines of its `master.toml`.
    pub settings: &'a str,
    /// Profiles, name and content.
    pub profiles: &'a [(&'a str, String)],
}

impl Master {
    /// Fills its folder and starts it; `is_kept` lets it outlive the harness.
    #[track_caller]
    pub fn start(scenario: &Scenario, site: &Site, is_kept: bool) -> Self {
        let port = ssh::free_port();
        let place = Place { listen: format!("127.0.0.1:{port}"), url: format!("http://{HOST_OF_GUEST}:{port}") };
        Self::start_at(scenario, site, is_kept, place)
    }

    /// The same at an address that guests use as it is.
    #[track_caller]
    pub fn start_on(scenario: &Scenario, site: &Site, address: &str) -> Self {
        let place = Place { listen: address.to_owned(), url: format!("http://{address}") };
        Self::start_at(scenario, site, false, place)
    }

    #[track_caller]
    fn start_at(scenario: &Scenario, site: &Site, is_kept: bool, place: Place) -> Self {
        let folder = scenario.folder().join("master");
        link(site.bootstrap.folder(), &folder.join("bootstrap"), |_| true);
        link(site.image.folder(), &folder.join("targetimages"), |name| name.starts_with(site.image.name()));
        let settings = format!("kernel_args = \"{}\"\n{}", site.kernel_args, site.settings);
        disk::write(&folder.join("master.toml"), settings.as_bytes());
        std::fs::create_dir_all(folder.join("profiles")).expect("a folder can be made in the scenario's own");
        for (name, content) in site.profiles {
            disk::write(&folder.join("profiles").join(format!("{name}.toml")), content.as_bytes());
        }
        let log = scenario.logs().join("master.log");
        let process = Self::serve(&folder, &place, &log, is_kept);
        Self { folder, log, place, process }
    }

    #[track_caller]
    fn serve(folder: &Path, place: &Place, log: &Path, is_kept: bool) -> Daemon {
        let mut command = Command::new(artefacts::program("bedplate-master"));
        command.arg("serve").arg("--dir").arg(folder).args(["--listen", &place.listen, "--url", &place.url]);
        let mut process = Daemon::start("bedplate-master", &command, log, is_kept);
        wait::until("the master's port", Deadline::cpu(10), || {
            if let Some(code) = process.ended() {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                panic!("the master ended with code {code}: {said}");
            }
            std::net::TcpStream::connect(&place.listen).ok()
        });
        process
    }

    /// Kills it without warning and starts it again.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(Deadline::cpu(5));
        self.process = Self::serve(&self.folder, &self.place, &self.log, false);
    }

    /// Its base address for a guest, without a slash at the end.
    pub fn url(&self) -> String {
        self.place.url.clone()
    }

    /// Its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }

    /// An operator's command: `bedplate-master nodes ...`.
    #[track_caller]
    pub fn nodes(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["nodes"];
        all.extend(arguments);
        self.command(&all)
    }

    /// A command of its program, on its folder.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(artefacts::program("bedplate-master"));
        command.args(arguments).arg("--dir").arg(&self.folder);
        process::run(&mut command, &[], Deadline::cpu(15))
    }

    /// What it knows of the node with this MAC address.
    #[track_caller]
    pub fn node(&self, mac: &str) -> Option<Value> {
        let listed = self.nodes(&["list", "--json"]).ok();
        let listed: Value =
            serde_json::from_str(&listed).unwrap_or_else(|error| panic!("listing nodes: {listed:?}: {error}"));
        listed["nodes"].as_array()?.iter().find(|node| node["mac"] == mac).cloned()
    }

    /// The node's status, `absent` before it was discovered.
    #[track_caller]
    pub fn status(&self, mac: &str) -> String {
        self.node(mac).map_or("absent".to_owned(), |node| node["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the node has this status; fails at once when the master says that the node failed.
    #[track_caller]
    pub fn wait_for_status(&self, mac: &str, wanted: &str, cpu_seconds: u32) {
        wait::until(&format!("the node's status {wanted:?}"), Deadline::cpu(cpu_seconds), || {
            let status = self.status(mac);
            assert!(
                status != "failed" || wanted == "failed",
                "the node failed: {}",
                self.nodes(&["show", mac]).words()
            );
            (status == wanted).then_some(())
        });
    }
}

/// Makes the files of a folder appear in another one, without copying where both are on one file system.
#[track_caller]
fn link(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    std::fs::create_dir_all(to).expect("a folder can be made in the scenario's own");
    for entry in std::fs::read_dir(from).expect("a built folder can be listed").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_file() && name.to_str().is_some_and(&wanted) {
            let target = to.join(&name);
            let made = std::fs::hard_link(&path, &target).or_else(|_| std::fs::copy(&path, &target).map(|_| ()));
            made.unwrap_or_else(|error| panic!("linking {}: {error}", path.display()));
        }
    }
}
