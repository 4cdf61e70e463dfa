//! A machine that enforces Secure Boot: shim and GRUB out of the master's folder, by the DHCP and TFTP server that the
//! master describes.

use std::path::Path;

use serde_json::Value;

use crate::harness::artefacts::{self, Bootstrap, OsImage};
use crate::harness::disk;
use crate::harness::lan::{self, Lan, PORT};
use crate::harness::master::{Master, Site};
use crate::harness::scenario::{self, Scenario};
use crate::harness::vm::{NO_TIMER_CHECK, Vm};
use crate::harness::wait::{self, Deadline};

/// Where the master listens.
const MASTER: &str = "10.20.0.2:8200";

#[test]
fn signed_boot() {
    lan::apart(|| scenario::run("signed-boot", story));
}

fn story(scenario: &Scenario) {
    let (bootstrap, image) = (Bootstrap::find(), OsImage::find());
    lan::make_bridge();
    let kernel_args = format!("console=ttyS0 quiet {NO_TIMER_CHECK}");
    let site = Site { bootstrap: &bootstrap, image: &image, kernel_args: &kernel_args, settings: "", profiles: &[] };
    let master = Master::start_on(scenario, &site, MASTER);
    for name in ["shimx64.efi", "grubx64.efi", "mmx64.efi"] {
        let placed = std::fs::copy(artefacts::loaders().join(name), master.folder().join("loaders").join(name));
        placed.unwrap_or_else(|error| panic!("placing {name}: {error}"));
    }
    let _lan = Lan::as_described_by(&master, scenario, &["--signed"]);

    let grub = master.folder().join("loaders/grubx64.efi");
    let genuine = falsify(&grub);
    let mut node = scenario.machine("node").secure_boot().plugged_into(PORT).start();
    altered_grub_is_refused(&node);
    disk::write(&grub, &genuine);
    scenario.tell(&format!("an altered GRUB was refused, {:.1} CPU s", node.cpu_seconds()));

    node.cycle_power();
    master.wait_for_status(node.mac(), "discovered", 90);
    it_runs_under_secure_boot(&master);
    scenario.tell(&format!("discovered under Secure Boot, {:.1} CPU s", node.cpu_seconds()));
}

/// Changes one bit in the middle of a file, and returns what it was. The file may be a link into what `make` built.
#[track_caller]
fn falsify(path: &Path) -> Vec<u8> {
    let genuine = std::fs::read(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    let mut altered = genuine.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    std::fs::remove_file(path).expect("a file of the scenario's own can be removed");
    disk::write(path, &altered);
    genuine
}

/// Shim draws its message on a screen: it stands in no line.
#[track_caller]
fn altered_grub_is_refused(node: &Vm) {
    let console = node.serial().path().to_owned();
    wait::until("shim's refusal", Deadline::cpu(60), || {
        let said = std::fs::read(&console).unwrap_or_default();
        String::from_utf8_lossy(&said).contains("Security Violation").then_some(())
    });
}

/// The agent found Secure Boot on.
#[track_caller]
fn it_runs_under_secure_boot(master: &Master) {
    let read =
        |name: &str| -> Option<Value> { serde_json::from_slice(&std::fs::read(master.folder().join(name)).ok()?).ok() };
    let inventory = wait::until("the node's inventory", Deadline::cpu(30), || read("documents/1.inventory.json"));
    assert_eq!(inventory["firmware"], serde_json::json!({"mode": "uefi", "secure_boot": true}));
}
