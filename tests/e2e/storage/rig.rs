//! The machine that all scenarios share: disks of every kind, the bootstrap, one connection to it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use serde_json::{Value, json};

use super::record::{Entry, Log};
use super::required::{self, Required, State};
use super::seen::{self, CLOSE};
use crate::harness::artefacts::Bootstrap;
use crate::harness::disk::{self, Bus, Disk};
use crate::harness::document::Document;
use crate::harness::http::{Reply, Server};
use crate::harness::process::Output;
use crate::harness::scenario::Scenario;
use crate::harness::ssh::Ssh;
use crate::harness::vm::Vm;
use crate::harness::wait::{self, Deadline};
use crate::lean;

const GIB: u64 = 1024;
/// Exit code of a run that was refused (docs/usage.md).
pub const REFUSED: i32 = 12;

/// Slot, bus, bytes a sector, MiB. The files are sparse.
const SLOTS: [(&str, Bus, u32, u64); 10] = [
    ("v0", Bus::Virtio, 512, 40 * GIB),
    ("v1", Bus::Virtio, 512, 40 * GIB),
    ("s0", Bus::Scsi, 512, 40 * GIB),
    ("s1", Bus::Scsi, 512, 40 * GIB),
    ("a0", Bus::Ata, 512, 40 * GIB),
    ("a1", Bus::Ata, 512, 40 * GIB),
    ("n0", Bus::Nvme, 512, 40 * GIB),
    ("n1", Bus::Nvme, 512, 40 * GIB),
    ("k0", Bus::Scsi, 4096, 40 * GIB),
    ("big", Bus::Scsi, 512, 3072 * GIB),
];

/// The machine.
pub struct Rig<'a> {
    scenario: &'a Scenario,
    server: Server,
    slots: BTreeMap<&'static str, Disk>,
    document: Document,
    vm: RefCell<Vm>,
    root: Ssh,
    log: RefCell<Log>,
    /// Of the scenario that runs: runs of the agent, faults, its seconds, what was measured.
    runs: Cell<u32>,
    faults: Cell<u32>,
    agent_seconds: Cell<f64>,
    facts: RefCell<serde_json::Map<String, Value>>,
    number: Cell<u32>,
    freed: Cell<u32>,
    plugged: RefCell<Vec<String>>,
    only: Option<String>,
}

impl<'a> Rig<'a> {
    /// Starts it.
    #[track_caller]
    pub fn start(scenario: &'a Scenario) -> Self {
        let server = Server::start();
        server.folder("/bootstrap/", Bootstrap::find().folder());
        let script = Bootstrap::script(&server.url(), scenario.key());
        server.route("/boot.ipxe", move |_| Reply::text(script.as_str()));
        let mut slots = BTreeMap::new();
        let mut description = scenario.machine("rig").scsi();
        for (slot, bus, sector, mib) in SLOTS {
            let disk = scenario.disk(&slot.to_uppercase(), mib).on(bus).with_sectors(sector);
            description = description.disk(&disk);
            slots.insert(slot, disk);
        }
        let mut document = Document::for_node(scenario, &server.url(), description.mac(), json!([]));
        document.images = lean::serve(scenario, &server);
        let vm = description.boots_from(&format!("{}/boot.ipxe", server.url())).start();
        let root = vm.ssh("root", scenario.key()).shared();
        root.wait_until_ready(60);
        if let Some(agent) = std::env::var_os("BEDPLATE_E2E_AGENT") {
            let agent = std::path::PathBuf::from(agent);
            server.route("/agent", move |_| Reply::file(&agent));
            root.ask(&format!(
                "wget -q -O /run/agent {}/agent; chmod 755 /run/agent; mv /run/agent /usr/bin/bedplate",
                server.url()
            ));
        }
        let digest = root.ask("sha256sum /usr/bin/bedplate | cut -d' ' -f1");
        let log = RefCell::new(Log::new(&scenario.logs().join("storage.jsonl"), &digest));
        scenario.tell(&format!("the bootstrap lets us in: {:.1} CPU s", vm.cpu_seconds()));
        Self {
            scenario,
            server,
            slots,
            document,
            vm: RefCell::new(vm),
            root,
            log,
            runs: Cell::new(0),
            faults: Cell::new(0),
            agent_seconds: Cell::new(0.0),
            facts: RefCell::default(),
            number: Cell::new(0),
            freed: Cell::new(0),
            plugged: RefCell::default(),
            only: std::env::var("BEDPLATE_E2E_STORAGE").ok(),
        }
    }

    /// Runs a scenario; whatever becomes of it, the next one follows.
    pub fn scenario(&self, name: &str, story: impl FnOnce(&Self)) {
        if self.only.as_ref().is_some_and(|parts| !parts.split(',').any(|part| name.contains(part))) {
            return;
        }
        self.number.set(self.number.get() + 1);
        let (began, cpu) = (Instant::now(), self.vm.borrow().cpu_seconds());
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| story(self)));
        let failure = told.err().map(|cause| match (cause.downcast_ref::<String>(), cause.downcast_ref::<&str>()) {
            (Some(words), _) => words.clone(),
            (None, Some(words)) => (*words).to_owned(),
            (None, None) => "it failed without words".to_owned(),
        });
        // What a scenario leaves running would be a fault of the next.
        self.root.run(CLOSE, 60);
        for id in self.plugged.take() {
            self.vm().pull_out(&id);
            self.vm().remove_node(&id);
        }
        if self.freed.get() > 0 {
            self.fact("freed", self.freed.replace(0));
        }
        let entry = Entry {
            name: name.to_owned(),
            seed: self.seed(),
            seconds: began.elapsed().as_secs_f64(),
            agent_seconds: self.agent_seconds.replace(0.0),
            cpu_seconds: self.vm.borrow().cpu_seconds() - cpu,
            runs: self.runs.replace(0),
            faults: self.faults.replace(0),
            facts: Value::Object(self.facts.take()),
            failure,
        };
        self.log.borrow_mut().add(entry);
    }

    /// Shows the table of all scenarios, and fails where one of them did.
    #[track_caller]
    pub fn finish(self) {
        let (table, failed) = self.log.into_inner().finish();
        disk::write(&self.scenario.logs().join("storage.md"), table.as_bytes());
        println!("{table}");
        assert_eq!(failed, 0, "scenarios that failed");
    }

    /// The frame's scenario.
    pub fn scenario_frame(&self) -> &Scenario {
        self.scenario
    }

    /// The disks by slot.
    pub fn slots(&self) -> &BTreeMap<&'static str, Disk> {
        &self.slots
    }

    /// A shell in the machine.
    pub fn root(&self) -> &Ssh {
        &self.root
    }

    /// The machine itself.
    pub fn vm(&self) -> std::cell::RefMut<'_, Vm> {
        self.vm.borrow_mut()
    }

    /// The seed of the scenario that runs, for the agent and for what the test chooses.
    pub fn seed(&self) -> String {
        format!("storage-{}", self.number.get())
    }

    /// Counts faults that were made.
    pub fn fault(&self, count: u32) {
        self.faults.set(self.faults.get() + count);
    }

    /// Keeps a measurement for the log.
    pub fn fact(&self, name: &str, value: impl Into<Value>) {
        self.facts.borrow_mut().insert(name.to_owned(), value.into());
    }

    /// A request for these spaces, with images of which nothing but the format matters.
    pub fn document(&self, spaces: &Value) -> Value {
        let required = required::required(spaces, &self.slots);
        let image = |(mount, line): (&&str, &String)| {
            let format = line.split(' ').nth(2).unwrap_or("ext4");
            let uri = format!("{}/none/image{}.img", self.server.url(), mount.len());
            ((*mount).to_owned(), json!({"uri": uri, "format": format, "container": "raw"}))
        };
        let images: serde_json::Map<String, Value> = required.images.iter().map(image).collect();
        self.document_with(spaces, &Value::Object(images))
    }

    /// A request for these spaces, with the images that hold GRUB's tools and nothing else: ext4 for `/`, ext2 for `/boot`.
    pub fn whole_document(&self, spaces: &Value) -> Value {
        self.document_with(spaces, &self.document.images)
    }

    /// The same with other images.
    pub fn document_with(&self, spaces: &Value, images: &Value) -> Value {
        Document { spaces: spaces.clone(), images: images.clone(), ..self.document.clone() }.json()
    }

    /// Puts a request where the agent finds it.
    #[track_caller]
    pub fn upload(&self, document: &Value) {
        self.root.upload("/tmp/provision.json", document.to_string().as_bytes());
    }

    /// Runs the agent: `partition`, `provision` and so on. Its words are kept.
    #[track_caller]
    pub fn agent(&self, command: &str) -> Output {
        let began = Instant::now();
        let seed = self.seed();
        let seed = if [" --seed ", " --plan "].iter().any(|it| command.contains(it)) {
            String::new()
        } else {
            format!("--seed {seed}")
        };
        let output = self.root.run(&format!("bedplate {command} {seed} /tmp/provision.json"), 300);
        self.agent_seconds.set(self.agent_seconds.get() + began.elapsed().as_secs_f64());
        self.runs.set(self.runs.get() + 1);
        let name = format!("{}-{}.log", self.seed(), self.runs.get());
        disk::write(&self.scenario.logs().join(name), output.words().as_bytes());
        output
    }

    /// Counts a run of the agent that was not started by [`Rig::agent`].
    pub fn ran(&self, seconds: f64) {
        self.agent_seconds.set(self.agent_seconds.get() + seconds);
        self.runs.set(self.runs.get() + 1);
    }

    /// Partitions for these spaces, and compares what is there then.
    #[track_caller]
    pub fn partitions(&self, spaces: &Value) {
        self.upload(&self.document(spaces));
        let mut output = self.agent("partition");
        // A group that lies on other disks too is refused: whoever needs it no more does what the agent says.
        while output.code == REFUSED {
            let Some(advice) = free_of(&output.stderr) else { break };
            self.root.ask(&advice);
            self.freed.set(self.freed.get() + 1);
            output = self.agent("partition");
        }
        assert_eq!(output.code, 0, "exit code of partition: {}", last_words(&output));
        self.is_as_required(spaces, false);
    }

    /// Installs everything for these spaces, and compares what is there then.
    #[track_caller]
    pub fn provisions(&self, spaces: &Value) {
        self.upload(&self.whole_document(spaces));
        let output = self.agent("provision");
        assert_eq!(output.code, 0, "exit code of provision: {}", last_words(&output));
        self.is_as_required(spaces, true);
    }

    /// Compares what is there with what these spaces ask for; what images bring only where they were written.
    #[track_caller]
    pub fn is_as_required(&self, spaces: &Value, has_images: bool) {
        let mut required = required::required(spaces, &self.slots);
        if !has_images {
            for line in required.images.values() {
                required.state.remove(line);
            }
        }
        let seen = self.look(spaces, &required);
        let missing: Vec<_> = required.state.difference(&seen).collect();
        let surplus: Vec<_> = seen.difference(&required.state).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nnot asked for {surplus:#?}");
        self.root.run(CLOSE, 60);
    }

    #[track_caller]
    fn look(&self, spaces: &Value, required: &Required) -> State {
        let slots: BTreeSet<String> = self.named(spaces);
        let config = format!("fs {} ", required.config_drive);
        let mut state = seen::seen(self, &slots);
        state.retain(|line| !line.starts_with(&config));
        state
    }

    /// The slots that spaces name and use.
    pub fn named(&self, spaces: &Value) -> BTreeSet<String> {
        let required = required::required(spaces, &self.slots).state;
        let tables = required.iter().filter_map(|line| line.strip_prefix("table "));
        tables.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// Runs the agent on these spaces, which it must refuse with this code and these words, and write nothing to the slots.
    #[track_caller]
    pub fn refuses(&self, command: &str, spaces: &Value, code: i32, culprits: &[&str], slots: &[&str]) {
        self.upload(&self.document(spaces));
        let before = self.contents(slots);
        let output = self.agent(command);
        assert_eq!(output.code, code, "exit code of {command}: {}", last_words(&output));
        for culprit in culprits {
            assert!(output.stderr.contains(culprit), "{culprit} is not named in {}", output.stderr);
        }
        assert_eq!(self.contents(slots), before, "content of the disks after a run that was refused");
    }

    /// Digests of everything on these slots, what the guest has not written yet included.
    #[track_caller]
    pub fn contents(&self, slots: &[&str]) -> Vec<(String, String)> {
        self.root.ask("sync");
        let digest = |slot: &&str| ((*slot).to_owned(), self.slots[slot].content());
        self.vm().while_stopped(|| slots.iter().map(digest).collect())
    }

    /// Plugs in a disk over a block node, in QEMU's words; it goes with the scenario at the latest.
    #[track_caller]
    pub fn plug_in(&self, disk: &Disk, node: Value) {
        self.plug_in_as(disk.serial(), &disk.device(disk.serial()), node);
    }

    /// The same in QEMU's words for the device, under this name for both.
    #[track_caller]
    pub fn plug_in_as(&self, id: &str, device: &str, node: Value) {
        self.vm().add_node(id, node);
        self.plugged.borrow_mut().push(id.to_owned());
        self.vm().plug_in(device);
    }

    /// Takes a disk out again; nothing uses it any more.
    #[track_caller]
    pub fn pull_out(&self, id: &str) {
        self.root.run(CLOSE, 30);
        self.vm().pull_out(id);
        self.vm().remove_node(id);
        self.plugged.borrow_mut().retain(|it| it != id);
    }

    /// Waits until the machine sees a disk that was plugged in.
    #[track_caller]
    pub fn waits_for(&self, disk: &Disk) {
        let link = format!("/dev/{}", disk.by_id());
        wait::until(&format!("{link} to be there"), Deadline::cpu(15), || {
            (self.root.run(&format!("udevadm settle; test -e {link}"), 20).code == 0).then_some(())
        });
    }

    /// Runs a script that finds the devices of these slots in variables of their names.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let names = self.slots.iter().map(|(slot, disk)| format!("{slot}=$(readlink -f /dev/{});", disk.by_id()));
        let nvme = "n0p=${n0}p; n1p=${n1}p;";
        self.root.ask(&format!("set -e; {}{nvme} {script}", names.collect::<String>()))
    }
}

/// The command that frees disks of a group or an array, as the agent tells it, without its question.
fn free_of(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("free the disks if it is not needed: ")?;
    let command = rest.split([',', '\n']).next()?;
    Some(if command.starts_with("vgremove ") { format!("lvm {command} --yes") } else { command.to_owned() })
}

/// The end of what a program said.
pub fn last_words(output: &Output) -> String {
    let words = output.words();
    let lines: Vec<_> = words.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
