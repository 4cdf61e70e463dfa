//! Push, as Astute does it: the orchestrator uploads the request, runs `provision` by ssh, switches netboot off itself
//! and reboots the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bad_input;
use crate::harness::artefacts::{Bootstrap, OsImage};
use crate::harness::disk::Disk;
use crate::harness::document::{self, ACCOUNT, Document};
use crate::harness::http::{Fault, Gate, Reply, Server};
use crate::harness::installed;
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::Ssh;
use crate::harness::vm::Vm;

/// Upstream's markers, in the order in which Astute counts progress by them.
const MARKERS: [&str; 6] = [
    "--- Provisioning (do_provisioning) ---",
    "--- Partitioning disks (do_partitioning) ---",
    "--- Creating configdrive (do_configdrive) ---",
    "--- Copying images (do_copyimage) ---",
    "--- Installing bootloader (do_bootloader) ---",
    "--- Provisioning END (do_provisioning) ---",
];

#[test]
fn push() {
    scenario::run("push", |scenario| {
        let server = Server::start();
        let netboot = serve(&server, scenario);
        let (system, victim) = (scenario.disk("SYSTEM", 6144), victim(scenario));
        let description = scenario.machine("node").disk(&system).disk(&victim);
        let spaces = document::single_disk_with_lvm(&system);
        let request = Document::for_node(scenario, &server.url(), description.mac(), spaces);
        let mut node = description.boots_from(&format!("{}/boot.ipxe", server.url())).start();

        let root = node.ssh("root", scenario.key());
        root.wait_until_ready(60);
        scenario.tell(&format!("the bootstrap lets us in after {:.1} CPU s", node.cpu_seconds()));
        bad_input::all(&mut bad_input::Bench {
            scenario,
            server: &server,
            node: &mut node,
            ssh: &root,
            victim: &victim,
            good: &request,
            faults: Vec::new(),
        });
        let cpu = node.cpu_seconds();
        provision(scenario, &root, &request);
        scenario.tell(&format!("provisioned with {:.1} CPU s", node.cpu_seconds() - cpu));

        netboot.store(false, Ordering::Relaxed);
        let cpu = node.cpu_seconds();
        root.say("reboot");
        server.wait_for("/phone-home/", 0, 150);
        scenario.tell(&format!("cloud-init reported home after {:.1} CPU s", node.cpu_seconds() - cpu));
        let account = node.ssh(ACCOUNT, scenario.key());
        account.wait_until_ready(60);
        installed::check(&account, document::HOSTNAME);
        logs_of_the_installed_system_hold_no_secret(scenario, &account);
        scenario.tell("the installed system is what the request asked for");

        boots_the_bootstrap_by_accident(scenario, &server, &netboot, &mut node, &account, &system);
    });
}

/// The script depends on a flag, as with any master; images and bootstrap are files.
fn serve(server: &Server, scenario: &Scenario) -> Arc<AtomicBool> {
    server.folder("/bootstrap/", Bootstrap::find().folder());
    server.folder("/targetimages/", OsImage::find().folder());
    server.route("/phone-home/", |_| Reply::text(""));
    let netboot = Arc::new(AtomicBool::new(true));
    let (flag, script) = (Arc::clone(&netboot), Bootstrap::script(&server.url(), scenario.key()));
    server.route("/boot.ipxe", move |_| {
        Reply::text(if flag.load(Ordering::Relaxed) { script.as_str() } else { "#!ipxe\nexit\n" })
    });
    netboot
}

fn victim(scenario: &Scenario) -> Disk {
    Disk::with_data(scenario.folder(), "VICTIM", 400)
}

/// Uploads, runs under Astute's lock, reads exit code and markers.
fn provision(scenario: &Scenario, root: &Ssh, request: &Document) {
    // The log of the cases before is not this run's.
    root.ask("truncate -s 0 /var/log/fuel-agent.log");
    root.upload("/tmp/provision.json", request.json().to_string().as_bytes());
    let run = root.start("flock -n /var/lock/provision.lock provision", 400);
    scenario.keep("bootstrap-processes.log", root, "ps -ef 2>/dev/null || ps");
    let output = run.join().expect("the run's ssh does not panic");
    crate::harness::disk::write(&scenario.logs().join("provision.log"), output.words().as_bytes());
    let log = scenario.keep("fuel-agent.log", root, "cat /var/log/fuel-agent.log");
    assert_eq!(output.code, 0, "exit code of provision; it said {}", output.words());
    assert_markers(&log);
    assert!(log.contains("Next chunk: "), "the log counts no chunks:\n{log}");
    let found = scenario.secrets_in_guest(root, "/var/log /run/initramfs /run/bedplate*");
    assert!(found.is_empty(), "secrets of the request stand in files of the bootstrap: {found:?}");
}

/// Upstream's markers stand in the log, in their order.
#[track_caller]
pub fn assert_markers(log: &str) {
    let mut rest = log;
    for marker in MARKERS {
        let at = rest.find(marker).unwrap_or_else(|| panic!("{marker:?} is not in its place in the log:\n{log}"));
        rest = &rest[at + marker.len()..];
    }
}

fn logs_of_the_installed_system_hold_no_secret(scenario: &Scenario, account: &Ssh) {
    scenario.keep("installed-processes.log", account, "ps -ef");
    let found = scenario.secrets_in_guest(account, "/var/log/bedplate /var/log/fuel-agent.log");
    assert!(found.is_empty(), "secrets of the request stand in logs of the installed system: {found:?}");
    let kept = account.ask("sudo -n ls /var/log/bedplate");
    assert!(kept.contains("report.json"), "the report is not in the installed system's /var/log/bedplate: {kept:?}");
}

/// A node that starts the bootstrap although its system is installed: not one byte changes.
fn boots_the_bootstrap_by_accident(
    scenario: &Scenario,
    server: &Server,
    netboot: &AtomicBool,
    node: &mut Vm,
    account: &Ssh,
    system: &Disk,
) {
    let (gate, seen) = (Gate::default(), server.requests("/boot.ipxe").len());
    server.fault("/boot.ipxe", Fault::HoldAt(0, gate.clone()));
    netboot.store(true, Ordering::Relaxed);
    account.say("sudo -n systemctl reboot");
    server.wait_for("/boot.ipxe", seen, 60);
    // The installed system has ended and the bootstrap has not begun.
    let before = system.content();
    server.heal("/boot.ipxe");
    gate.open();
    let root = node.ssh("root", scenario.key());
    root.wait_until_ready(60);
    root.ask("udevadm settle; sync");
    let after = node.while_stopped(|| system.content());
    assert_eq!(after, before, "content of the installed disk after a bootstrap that nobody asked for");
    scenario.tell("a bootstrap by accident left the installed disk as it was");
}
