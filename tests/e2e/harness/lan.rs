//! A network of the scenario's own, as a rack has it: one bridge with the host on it, one port for a machine, and dnsmasq for
//! DHCP and TFTP.

use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::disk;
use super::master::Master;
use super::process::{self, Daemon};
use super::scenario::Scenario;
use super::vm::Port;
use super::wait::Deadline;

/// The host on the bridge.
pub const HOST: &str = "10.20.0.2";

const BRIDGE: &str = "br0";

/// The port for a machine, and the address that DHCP gives it.
pub const PORT: Port = Port { tap: "tap0", address: "10.20.0.51" };

/// Tells a story in a network of its own: what the story's thread starts, threads and programs, sees none of the host's
/// interfaces, and no port of the host is taken. The network ends with the last of them.
#[track_caller]
pub fn apart(story: impl FnOnce() + Send) {
    let told = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("leaving the host's network: {error}"));
            ip("link set lo up");
            story();
        });
        thread.join()
    });
    if let Err(cause) = told {
        std::panic::resume_unwind(cause);
    }
}

/// The network, with a DHCP server that names `boot_file`, which TFTP serves from below `tftp_root`.
#[derive(Debug)]
pub struct Lan {
    _dnsmasq: Daemon,
}

impl Lan {
    /// Makes it in the network of this thread, for a machine with this MAC address.
    #[track_caller]
    pub fn start(scenario: &Scenario, mac: &str, tftp_root: &Path, boot_file: &str) -> Self {
        make_bridge();
        let settings = format!(
            "port=0\ninterface={BRIDGE}\nbind-interfaces\ndhcp-range=10.20.0.100,10.20.0.200,1h\ndhcp-host={mac},{}\n\
             dhcp-boot={boot_file}\nenable-tftp\ntftp-root={}\n",
            PORT.address,
            tftp_root.display()
        );
        Self::serve(scenario, &settings)
    }

    /// The same as the master describes it, given these further options of `dnsmasq-conf`. The master listens already.
    #[track_caller]
    pub fn as_described_by(master: &Master, scenario: &Scenario, options: &[&str]) -> Self {
        let mut all = vec!["dnsmasq-conf", "--interface", BRIDGE, "--range", "10.20.0.51,10.20.0.99"];
        all.extend(options);
        Self::serve(scenario, &master.command(&all).ok())
    }

    #[track_caller]
    fn serve(scenario: &Scenario, settings: &str) -> Self {
        let leases = scenario.folder().join("leases");
        let how =
            format!("user=root\nlog-dhcp\nlog-facility=-\nkeep-in-foreground\ndhcp-leasefile={}\n", leases.display());
        let file = scenario.folder().join("dnsmasq.conf");
        disk::write(&file, format!("{settings}{how}").as_bytes());
        let mut command = Command::new("dnsmasq");
        command.arg(format!("--conf-file={}", file.display())).arg("--pid-file");
        let log = scenario.logs().join("dnsmasq.log");
        Self { _dnsmasq: Daemon::start("dnsmasq", &command, &log, false) }
    }
}

/// The bridge with the host and the port on it, in the network of this thread.
#[track_caller]
pub fn make_bridge() {
    for command in [
        &format!("link add {BRIDGE} type bridge"),
        &format!("address add {HOST}/24 dev {BRIDGE}"),
        &format!("tuntap add {} mode tap", PORT.tap),
        &format!("link set {} master {BRIDGE} up", PORT.tap),
        &format!("link set {BRIDGE} up"),
    ] {
        ip(command);
    }
}

#[track_caller]
fn ip(arguments: &str) {
    let mut command = Command::new("ip");
    process::run(command.args(arguments.split(' ')), &[], Deadline::cpu(5)).ok();
}
