//! The way of a node from its first network boot to its own system, with the embedded master.

use std::path::PathBuf;
use std::time::Instant;

use bedplate::report::Event;
use serde_json::Value;

use super::artefacts::{Bootstrap, OsImage};
use super::disk::Disk;
use super::document::{ACCOUNT, ROOT_MIB, SWAP_MIB};
use super::master::{Master, Site};
use super::scenario::Scenario;
use super::ssh::{self, Ssh};
use super::vm::{NO_TIMER_CHECK, Vm};
use super::wait::{self, Deadline};

/// The profile that the node is released with.
pub const PROFILE: &str = "small";

/// Length of the shortest value that is taken for a secret: what is shorter is a word such as `unset`.
const SHORTEST_SECRET: usize = 12;

/// A phase that has ended.
#[derive(Debug, Clone)]
pub struct Phase {
    pub name: String,
    pub seconds: f64,
    /// CPU seconds of the machine.
    pub cpu_seconds: f64,
    pub bytes: Option<u64>,
}

/// A node, its master, and how far they got.
pub struct Journey<'a> {
    scenario: &'a Scenario,
    pub master: Master,
    pub node: Vm,
    pub system: Disk,
    pub phases: Vec<Phase>,
    since: (Instant, f64),
    last_event: (String, u64),
}

impl<'a> Journey<'a> {
    /// Starts the master and switches the node on. Something further may stand at the end of the profile.
    #[track_caller]
    pub fn begin(scenario: &'a Scenario, cpus: usize, is_kept: bool, further: &str) -> Self {
        let (bootstrap, image) = (Bootstrap::find(), OsImage::find());
        let key = ssh::kernel_line_key(scenario.key());
        let kernel_args = format!("console=ttyS0 {NO_TIMER_CHECK} bedplate.ssh-key={key}");
        let password = scenario.secret("operator-password");
        let profile = profile(&image, &scenario.key().public(), &password) + further;
        let profiles = [(PROFILE, profile)];
        let site =
            Site { bootstrap: &bootstrap, image: &image, kernel_args: &kernel_args, settings: "", profiles: &profiles };
        let master = Master::start(scenario, &site, is_kept);
        let system = scenario.disk("SYSTEM", 6144);
        let description = scenario.machine("node").cpus(cpus).disk(&system).kept(is_kept);
        let node = description.boots_from(&format!("{}/boot.ipxe", master.url())).start();
        let since = (Instant::now(), node.cpu_seconds());
        Self { scenario, master, node, system, phases: Vec::new(), since, last_event: Default::default() }
    }

    /// Ends a phase and begins the next.
    pub fn phase(&mut self, name: &str, bytes: Option<u64>) {
        let (now, cpu) = (Instant::now(), self.node.cpu_seconds());
        let phase = Phase {
            name: name.to_owned(),
            seconds: now.duration_since(self.since.0).as_secs_f64(),
            cpu_seconds: cpu - self.since.1,
            bytes,
        };
        self.scenario.tell(&format!("{name}: {:.1} s, {:.1} CPU s", phase.seconds, phase.cpu_seconds));
        self.phases.push(phase);
        self.since = (now, cpu);
    }

    /// Waits until the node has reported itself and its inventory has come.
    #[track_caller]
    pub fn is_discovered(&mut self) {
        self.master.wait_for_status(self.node.mac(), "discovered", 90);
        wait::until("the node's inventory", Deadline::cpu(30), || {
            self.details()["inventory_at"].is_string().then_some(())
        });
        self.phase("network boot and discovery", None);
    }

    /// Releases the node and returns what the operator is shown. What the request holds in secrets is searched for.
    #[track_caller]
    pub fn release(&mut self) -> String {
        let shown = self.master.nodes(&["release", self.node.mac(), "--profile", PROFILE, "--yes"]);
        assert!(shown.code == 0, "releasing the node: exit code {}: {}", shown.code, shown.words());
        for request in self.requests() {
            let text = std::fs::read_to_string(&request).expect("a request of the master can be read");
            let request: Value = serde_json::from_str(&text).expect("a request of the master is JSON");
            for secret in secrets_of(&request) {
                self.scenario.secrets().add(&secret);
            }
        }
        shown.words()
    }

    fn requests(&self) -> Vec<PathBuf> {
        let folder = self.master.folder().join("requests");
        let listed = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("listing {}: {error}", folder.display()));
        listed
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect()
    }

    /// Follows the run until its system is installed; every event is told once.
    #[track_caller]
    pub fn is_provisioned(&mut self, mut tell: impl FnMut(&Event)) {
        let deadline = Deadline::cpu(300);
        loop {
            let details = self.details();
            self.tell_new_events(&details, &mut tell);
            let status = details["status"].as_str().unwrap_or_default();
            assert!(status != "failed", "the node failed: {details:#}");
            if status == "provisioned" || status == "ready" {
                break;
            }
            let allowed = deadline.allowed().as_secs_f64();
            assert!(!deadline.is_over(), "the node was not provisioned within {allowed:.0} s: {details:#}");
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        self.phase("provisioning", None);
    }

    fn tell_new_events(&mut self, details: &Value, tell: &mut impl FnMut(&Event)) {
        let events: Vec<Event> = serde_json::from_value(details["events"].clone()).unwrap_or_default();
        for event in events {
            if event.run == self.last_event.0 && event.seq <= self.last_event.1 {
                continue;
            }
            self.last_event = (event.run.clone(), event.seq);
            tell(&event);
        }
    }

    /// Waits until the installed system has reported home, and returns a login on it.
    #[track_caller]
    pub fn is_ready(&mut self) -> Ssh {
        self.master.wait_for_status(self.node.mac(), "ready", 200);
        self.phase("reboot from its own disk, first boot", None);
        let account = self.node.ssh(ACCOUNT, self.scenario.key());
        account.wait_until_ready(60);
        account
    }

    /// What the master knows of the node.
    #[track_caller]
    pub fn details(&self) -> Value {
        let shown = self.master.nodes(&["show", self.node.mac(), "--json"]).ok();
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("showing the node: {shown:?}: {error}"))
    }
}

/// The values of a request that nobody else may see.
fn secrets_of(request: &Value) -> Vec<String> {
    let meta = &request["ks_meta"];
    let accounts = meta["user_accounts"].as_array().cloned().unwrap_or_default();
    let passwords =
        accounts.iter().flat_map(|account| [account["password"].clone(), account["hashed_password"].clone()]);
    let mut values: Vec<Value> = passwords.chain([meta["mco_pskey"].clone(), meta["mco_password"].clone()]).collect();
    let home = request["bedplate"]["phone_home"]["url"].as_str().and_then(|url| url.rsplit('/').next());
    values.extend(home.map(Value::from));
    values.push(request["bedplate"]["netboot"]["token"].clone());
    values.iter().filter_map(Value::as_str).filter(|value| value.len() >= SHORTEST_SECRET).map(str::to_owned).collect()
}

/// A profile: one disk, root and swap in the volume group os, an account that becomes root without a password.
fn profile(image: &OsImage, key: &str, password: &str) -> String {
    let image = image.name();
    format!(
        "kernel_params = \"console=ttyS0 {NO_TIMER_CHECK}\"\ndomain = \"example.test\"\n\n\
         [images]\nroot = \"{image}.img.gz\"\nboot = \"{image}-boot.img.gz\"\n\n\
         [disk]\nat_least = \"4 GiB\"\n\n\
         [sizes]\nboot = \"300 MiB\"\nroot = \"{ROOT_MIB} MiB\"\nswap = \"{SWAP_MIB} MiB\"\n\n\
         [[users]]\nname = \"{ACCOUNT}\"\npassword = \"{password}\"\nsudo = [\"ALL=(ALL) NOPASSWD: ALL\"]\n\
         ssh_keys = [\"{key}\"]\n"
    )
}
