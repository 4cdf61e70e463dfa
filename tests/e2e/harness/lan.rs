//! A network of the scenario's own, as a rack has it: one bridge with the host on it, one port for a machine, and dnsmasq for
//! DHCP and TFTP.

use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::disk;
use super::process::{self, Daemon};
use super::scenario::Scenario;
use super::vm::Port;
use super::wait::Deadline;

/// The host on the bridge.
pub const HOST: &str = "10.20.0.2";

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
        for command in [
            "link add br0 type bridge",
            &format!("address add {HOST}/24 dev br0"),
            &format!("tuntap add {} mode tap", PORT.tap),
            &format!("link set {} master br0 up", PORT.tap),
            "link set br0 up",
        ] {
            ip(command);
        }
        let settings = format!(
            "port=0\ninterface=br0\nbind-interfaces\ndhcp-range=10.20.0.100,10.20.0.200,1h\ndhcp-host={mac},{}\n\
             dhcp-boot={boot_file}\nenable-tftp\ntftp-root={}\n\
             user=root\nlog-dhcp\nlog-facility=-\nkeep-in-foreground\ndhcp-leasefile={}\n",
            PORT.address,
            tftp_root.display(),
            scenario.folder().join("leases").display()
        );
        let file = scenario.folder().join("dnsmasq.conf");
        disk::write(&file, settings.as_bytes());
        let mut command = Command::new("dnsmasq");
        command.arg(format!("--conf-file={}", file.display())).arg("--pid-file");
        let log = scenario.logs().join("dnsmasq.log");
        Self { _dnsmasq: Daemon::start("dnsmasq", &command, &log, false) }
    }
}

#[track_caller]
fn ip(arguments: &str) {
    let mut command = Command::new("ip");
    process::run(command.args(arguments.split(' ')), &[], Deadline::cpu(5)).ok();
}
