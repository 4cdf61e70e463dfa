//! A QEMU machine: described, started, looked at, and ended with its scope.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::accel::{self, Accelerator};
use super::artefacts::Bootstrap;
use super::disk::Disk;
use super::process::Daemon;
use super::qmp::Qmp;
use super::scenario::Scenario;
use super::serial::{Line, Mark, Serial};
use super::slots::{self, Slots};
use super::ssh::{self, KeyPair, Ssh};
use super::wait::{self, Deadline};

/// The guest's address on QEMU's user network: the first that its DHCP server gives.
pub const GUEST: &str = "10.0.2.15";

/// A word of every kernel line. A kernel tests whether its timer ticks, and panics when it does not: under TCG on a host that has
/// much to do it does not tick in time.
pub const NO_TIMER_CHECK: &str = "no_timer_check";

/// MAC address of the card that leads nowhere.
pub const DECOY: &str = "52:54:00:be:d0:ff";

/// Debian's firmware of QEMU that enforces Secure Boot once its variables hold keys (package ovmf).
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// Variables with Microsoft's keys in them, by which machines are sold.
const SECURE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// What a machine is to be.
#[derive(Debug)]
pub struct Description {
    name: String,
    folder: PathBuf,
    logs: PathBuf,
    cpus: usize,
    memory_mib: u32,
    mac: String,
    disks: Vec<Disk>,
    boot_file: Option<String>,
    port: Option<Port>,
    has_secure_boot: bool,
    has_decoy: bool,
    has_scsi: bool,
    is_kept: bool,
}

/// A port of a network that is not QEMU's own.
#[derive(Debug, Clone)]
pub struct Port {
    /// The tap device.
    pub tap: &'static str,
    /// The address that the machine will have there.
    pub address: &'static str,
}

impl Description {
    /// A machine with one virtual CPU, 1 GiB of memory, one network card and the canary.
    pub fn new(scenario: &Scenario, name: &str) -> Self {
        let canary = scenario.canary(name);
        Self {
            name: name.to_owned(),
            folder: scenario.folder().to_owned(),
            logs: scenario.logs().to_owned(),
            cpus: 1,
            memory_mib: 1024,
            mac: "52:54:00:be:d0:01".to_owned(),
            disks: vec![canary],
            boot_file: None,
            port: None,
            has_secure_boot: false,
            has_decoy: false,
            has_scsi: false,
            is_kept: false,
        }
    }

    /// Virtual CPUs.
    pub fn cpus(mut self, cpus: usize) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// One more disk. The first one given is the first that firmware tries, and the first that the kernel names.
    pub fn disk(mut self, disk: &Disk) -> Self {
        let before_canary = self.disks.len() - 1;
        self.disks.insert(before_canary, disk.clone());
        self
    }

    /// Starts from the network first, always: DHCP names this script.
    pub fn boots_from(mut self, url: &str) -> Self {
        self.boot_file = Some(url.to_owned());
        self
    }

    /// Its network card is plugged in here, not into QEMU's own network, and started from first: others serve it.
    pub fn plugged_into(mut self, port: Port) -> Self {
        self.port = Some(port);
        self
    }

    /// UEFI firmware that starts only what is signed.
    pub fn secure_boot(mut self) -> Self {
        self.has_secure_boot = true;
        self
    }

    /// One more network card, which the kernel finds first, on a network with a DHCP server that leads nowhere.
    pub fn decoy_card(mut self) -> Self {
        self.has_decoy = true;
        self
    }

    /// A virtio-scsi controller, for SCSI disks from the start or later.
    pub fn scsi(mut self) -> Self {
        self.has_scsi = true;
        self
    }

    /// The machine outlives the harness.
    pub fn kept(mut self, is_kept: bool) -> Self {
        self.is_kept = is_kept;
        self
    }

    /// MAC address of its network card.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// Waits for a turn, then switches the machine on.
    #[track_caller]
    pub fn start(self) -> Vm {
        let accelerator = accel::of_this_host(&Bootstrap::find());
        let slots = slots::take(self.cpus);
        let serial = self.logs.join(format!("{}-serial.log", self.name));
        // A path of a unix socket holds 107 characters; a work folder may be deeper than that.
        let socket = std::env::temp_dir().join(format!("bedplate-{}-{}.qmp", std::process::id(), self.name));
        let ssh_at = match &self.port {
            Some(port) => (port.address, 22),
            None => ("127.0.0.1", ssh::free_port()),
        };
        if self.has_secure_boot {
            std::fs::copy(SECURE_VARIABLES, self.variables()).expect("ovmf is installed by `make setup`");
        }
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(self.arguments(accelerator, ssh_at.1));
        qemu.arg("-chardev").arg(format!("file,id=serial,path={},append=on", serial.display()));
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        let log = self.logs.join(format!("{}-qemu.log", self.name));
        let process = Daemon::start(&self.name, &qemu, &log, self.is_kept);
        Vm {
            name: self.name,
            mac: self.mac,
            ssh_at,
            qemu,
            log,
            process,
            spent: 0.0,
            serial: Serial::follow(&serial),
            qmp: Qmp::connect(&socket),
            socket,
            began: Instant::now(),
            is_kept: self.is_kept,
            _slots: slots,
        }
    }

    fn variables(&self) -> PathBuf {
        self.folder.join(format!("{}-variables.fd", self.name))
    }

    /// QEMU's arguments; pure.
    fn arguments(&self, accelerator: Accelerator, ssh_port: u16) -> Vec<String> {
        let mut arguments: Vec<String> = accelerator.arguments().map(str::to_owned).to_vec();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-name", self.name.clone());
        // Without a graphics card firmware, iPXE and GRUB speak on the serial line.
        if self.has_secure_boot {
            // Only in system management mode can the variables be written, so that a guest cannot switch it off.
            add("-machine", "q35,smm=on,graphics=off".to_owned());
            add("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned());
            add("-drive", format!("if=pflash,format=raw,unit=0,file={SECURE_CODE},readonly=on"));
            add("-drive", format!("if=pflash,format=raw,unit=1,file={}", self.variables().display()));
        } else {
            add("-machine", "pc,graphics=off".to_owned());
        }
        add("-smp", self.cpus.to_string());
        add("-m", self.memory_mib.to_string());
        add("-display", "none".to_owned());
        add("-serial", "chardev:serial".to_owned());
        add("-smbios", format!("type=1,uuid={},serial=BEDPLATE-{}", uuid_of(&self.name), self.name));
        if self.has_decoy {
            add("-netdev", "user,id=decoy,net=10.0.3.0/24,restrict=on".to_owned());
            add("-device", format!("virtio-net-pci,netdev=decoy,mac={DECOY},romfile="));
        }
        let boot_file = self.boot_file.as_ref().map(|url| format!(",bootfile={url}")).unwrap_or_default();
        match &self.port {
            Some(port) => add("-netdev", format!("tap,id=net0,ifname={},script=no,downscript=no", port.tap)),
            None => add("-netdev", format!("user,id=net0,hostfwd=tcp:127.0.0.1:{ssh_port}-:22{boot_file}")),
        }
        let first = if self.boot_file.is_some() || self.port.is_some() { ",bootindex=0" } else { "" };
        // iPXE in the card's ROM is not signed; OVMF drives the card itself.
        let rom = if self.has_secure_boot { ",romfile=" } else { "" };
        add("-device", format!("virtio-net-pci,netdev=net0,mac={}{first}{rom}", self.mac));
        add("-device", "virtio-rng-pci".to_owned());
        if self.has_scsi {
            add("-device", "virtio-scsi-pci,id=scsi0".to_owned());
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let path = disk.path().display();
            // The host's crash is not what is tested: no flush goes to the host's disk.
            add("-drive", format!("if=none,id=disk{number},file={path},format=raw,cache=unsafe,discard=unmap"));
            let order =
                if number + 1 < self.disks.len() { format!(",bootindex={}", number + 1) } else { String::new() };
            add("-device", format!("{}{order}", disk.device(&format!("disk{number}"))));
        }
        arguments.push("-nodefaults".to_owned());
        arguments
    }
}

/// A UUID that is the same for the same name (version 5).
fn uuid_of(name: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, name.as_bytes())
}

/// A machine that runs. It ends with its scope.
#[derive(Debug)]
pub struct Vm {
    name: String,
    mac: String,
    /// Host and port of its ssh server, as this host reaches it.
    ssh_at: (&'static str, u16),
    qemu: Command,
    log: PathBuf,
    process: Daemon,
    /// CPU seconds before its power was cut.
    spent: f64,
    serial: Serial,
    qmp: Qmp,
    socket: PathBuf,
    began: Instant,
    is_kept: bool,
    _slots: Slots,
}

impl Vm {
    /// Its console.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// MAC address of its network card.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// Its control socket.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Process id of its QEMU.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> f64 {
        self.spent + self.process.cpu_seconds()
    }

    /// A login on whatever system runs in it.
    pub fn ssh(&self, user: &str, key: &KeyPair) -> Ssh {
        Ssh::new(user, self.ssh_at.0, self.ssh_at.1, key)
    }

    /// Waits for a whole line after the mark.
    #[track_caller]
    pub fn wait_for_line(&mut self, what: &str, after: Mark, fits: impl Fn(&str) -> bool, cpu_seconds: u32) -> Line {
        let deadline = Deadline::cpu(cpu_seconds);
        loop {
            let slice = deadline.left().min(Duration::from_secs(1));
            if let Some(line) = self.serial.find(after, &fits, slice) {
                return line;
            }
            if let Some(code) = self.process.ended() {
                panic!("{}: QEMU ended with code {code} before {what}", self.name);
            }
            let allowed = deadline.allowed().as_secs_f64();
            assert!(!deadline.is_over(), "{}: waited {allowed:.0} s for {what} on the console", self.name);
        }
    }

    /// Holds the machine still while the host looks at its disks. What the guest has not written yet is not there:
    /// `sync` in the guest goes first.
    #[track_caller]
    pub fn while_stopped<T>(&mut self, look: impl FnOnce() -> T) -> T {
        self.qmp.execute("stop", json!({}));
        let seen = look();
        self.qmp.execute("cont", json!({}));
        seen
    }

    /// Asks the running system to let go of a device, and takes it out.
    #[track_caller]
    pub fn pull_out(&mut self, id: &str) {
        self.qmp.execute("device_del", json!({"id": id}));
    }

    /// Adds a block node, in QEMU's words, under this name.
    #[track_caller]
    pub fn add_node(&mut self, name: &str, mut node: serde_json::Value) {
        node["node-name"] = json!(name);
        self.qmp.execute("blockdev-add", node);
    }

    /// Removes a block node; its file is closed then.
    #[track_caller]
    pub fn remove_node(&mut self, name: &str) {
        // The device above it goes when the guest lets go of it, which takes a moment.
        wait::until(&format!("block node {name} to be free"), Deadline::cpu(15), || {
            self.qmp.attempt("blockdev-del", json!({"node-name": name})).ok()
        });
    }

    /// Plugs in a device, in the words of QEMU's command line.
    #[track_caller]
    pub fn plug_in(&mut self, words: &str) {
        let mut parts = words.split(',');
        let mut arguments = json!({"driver": parts.next()});
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            arguments[key] =
                value.parse::<u64>().ok().filter(|_| key.ends_with("size")).map_or(json!(value), |it| json!(it));
        }
        self.qmp.execute("device_add", arguments);
    }

    /// Presses the reset button.
    #[track_caller]
    pub fn reset(&mut self) {
        self.qmp.execute("system_reset", json!({}));
    }

    /// Cuts the power and switches it on again: what the guest has not written is lost. Under TCG a kernel starts five
    /// times as fast in a new process as in one whose machine is reset.
    #[track_caller]
    pub fn cycle_power(&mut self) {
        self.spent = self.cpu_seconds();
        self.process.signal(Signal::SIGKILL);
        self.process.wait(Deadline::cpu(5));
        self.process = Daemon::start(&self.name, &self.qemu, &self.log, self.is_kept);
        self.qmp = Qmp::connect(&self.socket);
    }

    /// Presses the power button and waits until the machine is off; after the deadline it is cut off.
    pub fn power_off(mut self, cpu_seconds: u32) {
        if let Err(error) = self.qmp.attempt("system_powerdown", json!({})) {
            eprintln!("{}: pressing the power button: {error}", self.name);
        }
        let deadline = Deadline::cpu(cpu_seconds);
        while self.process.ended().is_none() && !deadline.is_over() {
            std::thread::sleep(Duration::from_millis(200));
        }
        if self.process.ended().is_none() {
            eprintln!(
                "{}: did not switch itself off within {:.0} s, cut off",
                self.name,
                deadline.allowed().as_secs_f64()
            );
            self.process.signal(Signal::SIGKILL);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let (cpu, wall) = (self.cpu_seconds(), self.began.elapsed().as_secs_f64());
        println!("vm {}: {cpu:.1} CPU s, {wall:.1} s", self.name);
        if std::thread::panicking() {
            eprintln!("last lines of {}:\n{}", self.serial.path().display(), self.serial.tail(60));
        }
        if !self.is_kept {
            // Gone already when QEMU ended by itself.
            let _absent = std::fs::remove_file(&self.socket);
        }
    }
}
