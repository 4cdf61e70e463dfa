//! The live bootstrap: a whole system that the initrd fetches, out of the same initrd that is the minimal one. A node in it is
//! provisioned through mcollective.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::artefacts::{Bootstrap, OsImage};
use crate::harness::conductor::{Astute, Broker, PROVISION};
use crate::harness::document::{self, Document};
use crate::harness::http::{HOST_OF_GUEST, Reply, Server};
use crate::harness::master::{Master, Site};
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::{self, Ssh};
use crate::harness::syslog::Syslog;
use crate::harness::vm::{GUEST, NO_TIMER_CHECK, Vm};
use crate::harness::wait::{self, Deadline};
use crate::harness::{disk, lan, process};
use crate::push;

/// What `fetch_attempts` of initramfs/files/usr/lib/bedplate/fetch.sh is.
const ATTEMPTS: usize = 5;

/// Where the broker listens; a guest on QEMU's own network finds it at the host's address.
const BROKER: &str = "127.0.0.1";

#[test]
fn live() {
    scenario::run("live", |scenario| is_discovered(scenario, false));
}

/// The same with a broker: the node is provisioned, and restarted, through mcollective.
#[test]
#[ignore = "long: make e2e-long"]
fn live_conducted() {
    lan::apart(|| scenario::run("live-conducted", |scenario| is_discovered(scenario, true)));
}

fn is_discovered(scenario: &Scenario, is_conducted: bool) {
    let (bootstrap, image) = (Bootstrap::find_live(), OsImage::find());
    image_holds_nothing_that_nodes_would_share(&bootstrap);
    let syslog = Syslog::start();
    let key = ssh::kernel_line_key(scenario.key());
    let kernel_args = format!(
        "console=ttyS0 quiet {NO_TIMER_CHECK} bedplate.ssh-key={key} bedplate.syslog={HOST_OF_GUEST}:{}{}",
        syslog.port(),
        if is_conducted { format!(" mco_host={HOST_OF_GUEST}") } else { String::new() }
    );
    let settings = "bootstrap = \"live\"\n";
    let site = Site { bootstrap: &bootstrap, image: &image, kernel_args: &kernel_args, settings, profiles: &[] };
    let master = Master::start(scenario, &site, false);
    let system = scenario.disk("SYSTEM", 6144);
    let machine = scenario.machine("node").cpus(2).memory(1280).disk(&system).decoy_card();
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
    logs_reach_the_master(&node, &root, &syslog);
    if !is_conducted {
        restarts(&mut node, || root.say("reboot"));
        scenario.tell(&format!("restarted after {:.1} CPU s", node.cpu_seconds()));
        return;
    }
    let mut astute = the_broker_is_missed_and_found(scenario, &root);
    scenario.tell(&format!("it answers through mcollective after {:.1} CPU s", node.cpu_seconds()));

    let spaces = document::single_disk_with_lvm(&system);
    let request = Document::for_node(scenario, &master.url(), node.mac(), spaces);
    is_provisioned(scenario, &root, &mut astute, &request);
    scenario.tell(&format!("provisioned through mcollective after {:.1} CPU s", node.cpu_seconds()));
    restarts(&mut node, || {
        astute.reboot();
    });
    scenario.tell(&format!("restarted after {:.1} CPU s", node.cpu_seconds()));
}

#[track_caller]
fn restarts(node: &mut Vm, told: impl FnOnce()) {
    let mark = node.serial().mark();
    told();
    node.wait_for_line("the master's script for its own disk", mark, |line| line == "bedplate: own disk", 90);
}

/// The daemon starts without its broker, says so, and comes to it by itself.
#[track_caller]
fn the_broker_is_missed_and_found(scenario: &Scenario, root: &Ssh) -> Astute {
    let words = format!("TCP Connection to stomp://mcollective@{HOST_OF_GUEST}:61613 failed on attempt ");
    wait::until("the node to miss its broker", Deadline::cpu(60), || {
        root.run("cat /var/log/mcollective.log", 30).stdout.contains(&words).then_some(())
    });
    let mut astute = Broker::start(scenario, BROKER).astute("1");
    astute.wait_for_type("bootstrap", 60);
    astute
}

#[track_caller]
fn is_provisioned(scenario: &Scenario, root: &Ssh, astute: &mut Astute, request: &Document) {
    astute.prepare();
    astute.upload(&request.json());
    let (code, out, err) = astute.shell(PROVISION, 5400);
    disk::write(&scenario.logs().join("provision.log"), format!("{out}{err}").as_bytes());
    let log = scenario.keep("fuel-agent.log", root, "cat /var/log/fuel-agent.log");
    assert_eq!(code, 0, "exit code of provision; it said {out}{err}");
    push::assert_markers(&log);
    let found = scenario.secrets_in_guest(root, "/var/log /run /etc");
    assert!(found.is_empty(), "secrets stand in files of the live system: {found:?}");
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

/// A fetch that is refused at once, of a node with an address of its own, in front of which nobody sits.
const UNATTENDED: &str = "boot=live fetch=https://10.0.2.2/root.squashfs ip=10.0.2.77::10.0.2.2:255.255.255.0 panic=3";

#[test]
fn live_faults() {
    scenario::run("live-faults", |scenario| {
        let server = Server::start();
        server.folder("/bootstrap/", Bootstrap::find_live().folder());
        let attempts = serve_everything_but_the_image(&server);
        let url = server.url();
        let digest = "00".repeat(32);
        let live = format!("boot=live fetch={url}/bad/root.squashfs bedplate.squashfs=sha256:{digest}");
        let scripts =
            [UNATTENDED, live.as_str(), "boot=bedplate"].map(|mode| Bootstrap::script_with(&url, scenario.key(), mode));
        let stage = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&stage);
        server.route("/boot.ipxe", move |_| Reply::text(scripts[now.load(Ordering::Relaxed)].clone()));
        let machine = scenario.machine("node").memory(768).decoy_card();
        let mut node = machine.boots_from(&format!("{url}/boot.ipxe")).start();

        starts_anew_when_nobody_is_there(&server, &mut node);
        scenario.tell(&format!("it started anew after {:.1} CPU s", node.cpu_seconds()));
        stage.store(1, Ordering::Relaxed);
        let mark = node.serial().mark();
        node.cycle_power();
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
        stage.store(2, Ordering::Relaxed);
        let mark = node.serial().mark();
        node.cycle_power();
        node.wait_for_line("the minimal mode", mark, |line| line.starts_with("bedplate: no bedplate.master= "), 60);
        root.wait_until_ready(30);
        assert!(root.ask("cat /proc/cmdline").contains("boot=bedplate"));
        only_the_port_of_the_network_boot_is_configured(&root);
        scenario.tell(&format!("the minimal mode of the same initrd runs, {:.1} CPU s", node.cpu_seconds()));
    });
}

#[track_caller]
fn starts_anew_when_nobody_is_there(server: &Server, node: &mut Vm) {
    let mark = node.serial().mark();
    for (what, start, end) in [
        ("the address", "bedplate: ", " has 10.0.2.77/24"),
        (
            "the reason",
            "bedplate: the live system does not start: fetch=https://10.0.2.2/root.squashfs on the kernel line: ",
            "expected http://, and bedplate.squashfs= with the digest of the file",
        ),
        ("the restart", "bedplate: restarting in 3 s, as panic=3 on the kernel line asks", ""),
    ] {
        node.wait_for_line(what, mark, |line| line.starts_with(start) && line.ends_with(end), 60);
    }
    server.wait_for("/boot.ipxe", 1, 60);
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
