//! The live bootstrap: a whole system that the initrd fetches, out of the same initrd that is the minimal one.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::artefacts::{Bootstrap, OsImage};
use crate::harness::http::{HOST_OF_GUEST, Reply, Server};
use crate::harness::master::{Master, Site};
use crate::harness::process;
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::{self, Ssh};
use crate::harness::syslog::Syslog;
use crate::harness::vm::{GUEST, Vm};
use crate::harness::wait::{self, Deadline};

/// What `fetch_attempts` of initramfs/files/usr/lib/bedplate/fetch.sh is.
const ATTEMPTS: usize = 5;

#[test]
fn live() {
    scenario::run("live", |scenario| {
        let (bootstrap, image) = (Bootstrap::find_live(), OsImage::find());
        image_holds_nothing_that_nodes_would_share(&bootstrap);
        let syslog = Syslog::start();
        let key = ssh::kernel_line_key(scenario.key());
        let kernel_args =
            format!("console=ttyS0 quiet bedplate.ssh-key={key} bedplate.syslog={HOST_OF_GUEST}:{}", syslog.port());
        let settings = "bootstrap = \"live\"\n";
        let site = Site { bootstrap: &bootstrap, image: &image, kernel_args: &kernel_args, settings, profiles: &[] };
        let master = Master::start(scenario, &site, false);
        let disk = scenario.disk("SYSTEM", 64);
        let machine = scenario.machine("node").cpus(2).memory(1280).disk(&disk).decoy_card();
        let mut node = machine.boots_from(&format!("{}/boot.ipxe", master.url())).start();

        master.wait_for_status(node.mac(), "discovered", 200);
        scenario.tell(&format!("discovered after {:.1} CPU s", node.cpu_seconds()));
        let root = node.ssh("root", scenario.key());
        root.wait_until_ready(60);
        wait::until("the node's inventory", Deadline::cpu(60), || {
            let shown = master.nodes(&["show", node.mac(), "--json"]).ok();
            let shown: serde_json::Value = serde_json::from_str(&shown).ok()?;
            shown["inventory_at"].is_string().then_some(())
        });
        every_unit_runs(scenario, &root);
        scenario.tell(&format!("every unit is there after {:.1} CPU s", node.cpu_seconds()));
        it_is_what_orchestrators_expect(&root);
        only_the_port_of_the_network_boot_is_configured(&root);
        disks_are_left_alone(&root);
        let found = scenario.secrets_in_guest(&root, "/var/log /run /etc");
        assert!(found.is_empty(), "secrets stand in files of the live system: {found:?}");
        logs_reach_the_master(&node, &root, &syslog);
        restarts_when_it_is_told_to(&mut node, &root);
        scenario.tell(&format!("restarted after {:.1} CPU s", node.cpu_seconds()));
    });
}

#[track_caller]
fn image_holds_nothing_that_nodes_would_share(bootstrap: &Bootstrap) {
    let mut command = Command::new("unsquashfs");
    command.args(["-lln"]).arg(bootstrap.folder().join("root.squashfs")).args(["etc", "root"]);
    let listed = process::run(&mut command, &[], Deadline::cpu(30)).ok();
    assert!(!listed.contains("ssh_host_"), "host keys in the image: {listed}");
    let identity: Vec<_> = listed.lines().filter(|line| line.ends_with("/etc/machine-id")).collect();
    assert!(matches!(identity[..], [line] if line.split_whitespace().nth(2) == Some("0")), "machine-id: {identity:?}");
}

#[track_caller]
fn every_unit_runs(scenario: &Scenario, root: &Ssh) {
    let state = root.run("systemctl is-system-running --wait", 120).stdout;
    scenario.keep(
        "units.log",
        root,
        "systemctl list-units --all --no-pager; systemd-analyze blame --no-pager; free -m",
    );
    scenario.keep("journal.log", root, "journalctl -b --no-pager");
    let failed = root.ask("systemctl list-units --failed --plain --no-legend");
    assert_eq!((state.trim(), failed.as_str()), ("running", ""), "state of the system, units that failed");
}

/// What Astute asks a bootstrap, and what its scripts call.
#[track_caller]
fn it_is_what_orchestrators_expect(root: &Ssh) {
    assert_eq!(root.ask("findmnt -n -o FSTYPE /"), "overlay", "file system of /");
    root.ask("touch /usr/bin/written && rm /usr/bin/written");
    assert_eq!(root.ask("hostname; cat /etc/nailgun_systemtype; date +%Z"), "bootstrap\nbootstrap\nUTC");
    assert_eq!(root.ask("cat /etc/nailgun_uid"), "1", "the node's id, as the master gave it");
    root.ask("stat --printf=%Y /proc/1");
    for program in ["provision", "fa_partition", "flock", "daemonize", "puppet", "mcollectived", "rsync", "dmidecode"] {
        root.ask(&format!("command -v {program}"));
    }
    let refused = root.run("flock -n /var/lock/provision.lock provision --input_data_file /nonexistent", 30);
    assert_eq!(refused.code, 10, "exit code of provision without a request: {}", refused.words());
}

#[track_caller]
fn only_the_port_of_the_network_boot_is_configured(root: &Ssh) {
    let addresses = root.ask("ip -4 -o addr show scope global | awk '{ print $4 }'");
    assert_eq!(addresses, format!("{GUEST}/24"), "addresses of a node with two cards");
    assert_eq!(root.ask("ls -d /sys/class/net/*/device | wc -l"), "2", "cards");
}

#[track_caller]
fn disks_are_left_alone(root: &Ssh) {
    assert_eq!(root.ask("lsblk -n -r -o NAME,MOUNTPOINTS | awk '/^vd/ && NF > 1'"), "", "mounts of disks");
    assert_eq!(root.ask("cat /proc/mdstat | grep -c '^md' || true"), "0", "arrays");
}

/// RFC 5424 with the tags that Astute's progress and a Fuel master's log tree go by.
#[track_caller]
fn logs_reach_the_master(node: &Vm, root: &Ssh, syslog: &Syslog) {
    let marker = "2026-01-01 00:00:00.000 1 DEBUG x [-] --- Provisioning (do_provisioning) ---";
    root.ask(&format!("echo '{marker}' >>/var/log/fuel-agent.log; logger -t words -p daemon.warning 'from the node'"));
    let name = format!("01{}", node.mac().replace(':', "").to_uppercase());
    let wanted = [
        ("<15>1 20", format!("Z {name} bootstrap/fuel-agent - - - {marker}")),
        ("<28>1 20", format!("Z {name} bootstrap/messages - - - from the node")),
        ("<14>1 20", format!("this is node 1 of {}/", root.ask("sed 's/.*bedplate.master=//; s/ .*//' /proc/cmdline"))),
    ];
    let mut missing = wanted.to_vec();
    wait::until(&format!("{wanted:#?} at the log's receiver"), Deadline::cpu(30), || {
        let seen = syslog.messages();
        missing.retain(|(start, end)| !seen.iter().any(|line| line.starts_with(start) && line.ends_with(end.as_str())));
        missing.is_empty().then_some(())
    });
}

#[track_caller]
fn restarts_when_it_is_told_to(node: &mut Vm, root: &Ssh) {
    let mark = node.serial().mark();
    root.say("reboot");
    node.wait_for_line("the master's script for its own disk", mark, |line| line == "bedplate: own disk", 90);
}

#[test]
fn live_faults() {
    scenario::run("live-faults", |scenario| {
        let server = Server::start();
        server.folder("/bootstrap/", Bootstrap::find_live().folder());
        let attempts = serve_everything_but_the_image(&server);
        let url = server.url();
        let digest = "00".repeat(32);
        let live = format!("boot=live fetch={url}/bad/root.squashfs bedplate.squashfs=sha256:{digest}");
        let scripts = [live.as_str(), "boot=bedplate"].map(|mode| Bootstrap::script_with(&url, scenario.key(), mode));
        let is_minimal = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_minimal);
        server.route("/boot.ipxe", move |_| Reply::text(scripts[usize::from(flag.load(Ordering::Relaxed))].clone()));
        let machine = scenario.machine("node").memory(768).decoy_card();
        let mut node = machine.boots_from(&format!("{url}/boot.ipxe")).start();

        let mark = node.serial().mark();
        let start = format!("bedplate: fetching {url}/bad/root.squashfs, attempt ");
        for (number, reason) in [
            "server returned error: HTTP/1.1 404 ",
            "it is no squashfs file, it has 13 bytes",
            "its digest is sha256:",
            "its digest is sha256:",
            "its digest is sha256:",
        ]
        .iter()
        .enumerate()
        {
            let start = format!("{start}{} of {ATTEMPTS}: {reason}", number + 1);
            node.wait_for_line("an attempt's failure", mark, |line| line.starts_with(&start), 60);
        }
        let end = format!(
            "bedplate: the live system does not start: fetching {url}/bad/root.squashfs failed {ATTEMPTS} times, "
        );
        node.wait_for_line("the message", mark, |line| line.starts_with(&end), 30);
        node.wait_for_line("the shell", mark, |line| line.starts_with("bedplate: here is a shell; "), 30);
        assert_eq!(attempts.load(Ordering::Relaxed), ATTEMPTS, "requests for the image");
        scenario.tell(&format!("it gave up after {:.1} CPU s", node.cpu_seconds()));

        let root = node.ssh("root", scenario.key());
        root.wait_until_ready(30);
        only_the_port_of_the_network_boot_is_configured(&root);
        is_minimal.store(true, Ordering::Relaxed);
        let mark = node.serial().mark();
        node.cycle_power();
        node.wait_for_line("the minimal mode", mark, |line| line.starts_with("bedplate: no bedplate.master= "), 60);
        root.wait_until_ready(30);
        assert!(root.ask("cat /proc/cmdline").contains("boot=bedplate"));
        only_the_port_of_the_network_boot_is_configured(&root);
        scenario.tell(&format!("the minimal mode of the same initrd runs, {:.1} CPU s", node.cpu_seconds()));
    });
}

/// First nothing, then an error page, then a file that is not the one.
fn serve_everything_but_the_image(server: &Server) -> Arc<AtomicUsize> {
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    server.route("/bad/root.squashfs", move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(404),
        1 => Reply::text("<h1>Oops</h1>"),
        _ => Reply::bytes([b"hsqs".as_slice(), &[0; 100_000]].concat()),
    });
    attempts
}
