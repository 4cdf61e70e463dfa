//! The whole flow of the seed documents in one run, with every part real: Cobbler and its loaders, dnsmasq, RabbitMQ and
//! mcollective, Nailgun's discovery, the live bootstrap, an installed system with puppet and mcollective.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::artefacts::{self, Bootstrap, OsImage};
use crate::harness::cobbler::Cobblerd;
use crate::harness::conductor::{Astute, Broker, PROVISION};
use crate::harness::document::{self, ACCOUNT, Document};
use crate::harness::http::{Reply, Server};
use crate::harness::lan::{self, HOST, Lan, PORT};
use crate::harness::master::{Master, Site};
use crate::harness::record::Record;
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::Ssh;
use crate::harness::vm::NO_TIMER_CHECK;
use crate::harness::wait::Deadline;
use crate::harness::{disk, installed, process, ssh};
use crate::push;

/// Nailgun's port, on which the embedded master stands in for it.
const NAILGUN: &str = "10.20.0.2:8000";

/// The profile, named as Fuel names it.
const PROFILE: &str = "ubuntu_bootstrap";

/// The system, named as Fuel names the node.
const SYSTEM: &str = "node-1";

#[test]
#[ignore = "long: make e2e-long"]
fn seed_flow() {
    lan::apart(|| scenario::run("seed-flow", story));
}

fn story(scenario: &Scenario) {
    let (bootstrap, image) = (Bootstrap::find_live(), OsImage::find_conducted());
    let system = scenario.disk("SYSTEM", 6144);
    let machine = scenario.machine("node").cpus(2).memory(1536).disk(&system).decoy_card().plugged_into(PORT);
    let tftp = scenario.folder().join("cobbler/tftpboot");
    std::fs::create_dir_all(&tftp).expect("a folder can be made in the scenario's own");
    let _lan = Lan::start(scenario, machine.mac(), &tftp, "pxelinux.0");
    let server = Server::start_at(HOST, 80, HOST);
    server.route("/phone-home/", |_| Reply::text(""));
    let site = Site { bootstrap: &bootstrap, image: &image, kernel_args: "", settings: "", profiles: &[] };
    let master = Master::start_on(scenario, &site, NAILGUN);
    let cobbler = Cobblerd::start(scenario, &server, HOST);
    an_operator_sets_cobbler_up(scenario, &cobbler, &bootstrap);
    let broker = Broker::start(scenario, HOST);

    let mut request =
        Document::for_node(scenario, &server.url(), machine.mac(), document::single_disk_with_lvm(&system));
    request.images = document::images(&master.url(), &image);
    let mut record = Record::begin(scenario, &versions(&cobbler, &bootstrap, &image));
    let node = machine.start();
    record.step("power on", &node);

    master.wait_for_status(node.mac(), "discovered", 400);
    record.step("discovered by Nailgun's interface", &node);
    let root = node.ssh("root", scenario.key());
    let mut astute = broker.astute("1");
    astute.wait_for_type("bootstrap", 100);
    record.step("answers through mcollective: bootstrap", &node);
    it_is_the_node_that_was_asked_for(&root, node.mac());

    cobbler.add_node(SYSTEM, PROFILE, node.mac(), PORT.address);
    assert_starts_from(&cobbler, node.mac(), "the network");
    astute.prepare();
    astute.upload(&as_nailgun_writes_it(&request, &name_of_its_card(&root, node.mac())));
    record.step("system in Cobbler, boot code spared, type image, request uploaded", &node);
    provision(scenario, &root, &mut astute);
    record.step("provision ended with 0", &node);
    cobbler.netboot_off(SYSTEM);
    assert_starts_from(&cobbler, node.mac(), "its disk");
    record.step("Cobbler's network boot off", &node);

    let began = astute.reboot();
    server.wait_for("/phone-home/", 0, 400);
    record.step("cloud-init reported home", &node);
    astute.wait_for_type("target", 200);
    record.step("answers through mcollective: target", &node);
    let (code, now, _) = astute.shell("stat --printf='%Y' /proc/1", 60);
    assert!(code == 0 && now != began, "the node has not started anew since {began}");
    the_loader_sent_it_to_its_disk(scenario, node.mac());
    let account = node.ssh(ACCOUNT, scenario.key());
    account.wait_until_ready(60);
    installed::check(&account, document::HOSTNAME);
    puppet_and_mcollective_are_set_up(&account, &mut astute);
    record.step("the installed system is what the request asked for", &node);
    drop(node);
}

/// Fuel's document, with the addresses of this network and with both services switched on.
fn as_nailgun_writes_it(document: &Document, card: &str) -> Value {
    let mut request = document.json();
    request["power_address"] = json!(PORT.address);
    request["name_servers"] = json!(format!("\"{HOST}\""));
    // The name is the one that the discovery reported: another card has the first.
    for key in ["interfaces", "interfaces_extra"] {
        let mut interface = request[key]["ens2"].take();
        if key == "interfaces" {
            interface["ip_address"] = json!(PORT.address);
        }
        request[key] = json!({ card: interface });
    }
    request["kernel_options"]["udevrules"] = json!(format!("{}_{card}", document.mac));
    let meta = &mut request["ks_meta"];
    meta["master_ip"] = json!(HOST);
    meta["gw"] = json!(HOST);
    meta["admin_net"] = json!("10.20.0.0/24");
    // Fuel's pre-shared key, and the account that the kernel line names as well.
    meta["mco_pskey"] = json!("unset");
    meta["mco_host"] = json!(HOST);
    meta["mco_password"] = json!("marionette");
    meta["mco_enable"] = json!(1);
    request
}

/// What docs/with-cobbler-and-mcollective.md has an operator do, word for word.
#[track_caller]
fn an_operator_sets_cobbler_up(scenario: &Scenario, cobbler: &Cobblerd, bootstrap: &Bootstrap) {
    let file = |name: &str| bootstrap.folder().join(name).display().to_string();
    let digest = process::run(Command::new("sha256sum").arg(file("root.squashfs")), &[], Deadline::cpu(30)).ok();
    let digest = digest.split_whitespace().next().unwrap_or_default();
    let options = format!(
        "boot=live fetch=http://{NAILGUN}/bootstrap/root.squashfs bedplate.squashfs=sha256:{digest} \
         url=http://{NAILGUN}/api mco_user=mcollective mco_pass=marionette ip=frommedia panic=60 ethdevice-timeout=120 \
         console=ttyS0 quiet {NO_TIMER_CHECK} bedplate.ssh-key={}",
        ssh::kernel_line_key(scenario.key())
    );
    cobbler.operator(&[
        "distro",
        "add",
        "--name=ubuntu_bootstrap",
        &format!("--kernel={}", file("vmlinuz")),
        &format!("--initrd={}", file("initrd.img")),
        "--arch=x86_64",
        "--breed=generic",
    ]);
    cobbler.operator(&[
        "profile",
        "add",
        &format!("--name={PROFILE}"),
        "--distro=ubuntu_bootstrap",
        &format!("--kernel-options={options}"),
    ]);
    cobbler.operator(&["system", "add", "--name=default", &format!("--profile={PROFILE}"), "--netboot-enabled=1"]);
    cobbler.operator(&["sync"]);
}

/// What Cobbler generated for both loaders.
#[track_caller]
fn assert_starts_from(cobbler: &Cobblerd, mac: &str, place: &str) {
    let [pxelinux, grub] = cobbler.loader_files(mac);
    let is_local = place == "its disk";
    assert_eq!(pxelinux.contains("localboot -1"), is_local, "{place}: {pxelinux}");
    assert_eq!(pxelinux.contains("kernel /images/ubuntu_bootstrap/vmlinuz"), !is_local, "{place}: {pxelinux}");
    assert_eq!(grub.contains("set default='local'"), is_local, "{place}: {grub}");
}

/// The interface is the one that pxelinux booted from, although the kernel found another first; Nailgun's agent ran, not the one
/// that waits for releases.
#[track_caller]
fn it_is_the_node_that_was_asked_for(root: &Ssh, mac: &str) {
    root.wait_until_ready(60);
    assert_eq!(root.ask("ip -4 -o addr show scope global | awk '{ print $4 }'"), format!("{}/24", PORT.address));
    assert_eq!(root.ask("ls -d /sys/class/net/*/device | wc -l"), "2", "cards");
    let line = root.ask("cat /proc/cmdline");
    assert!(
        line.contains(&format!("BOOTIF=01-{}", mac.replace(':', "-"))) && !line.contains("bedplate.master="),
        "{line}"
    );
    assert_eq!(root.ask("systemctl is-active bedplate-discover.service"), "active");
    assert_eq!(root.run("systemctl is-active bedplate-agent.service", 30).stdout.trim(), "inactive");
}

#[track_caller]
fn name_of_its_card(root: &Ssh, mac: &str) -> String {
    root.ask(&format!("basename $(dirname $(grep -l {mac} /sys/class/net/*/address))"))
}

#[track_caller]
fn provision(scenario: &Scenario, root: &Ssh, astute: &mut Astute) {
    let (code, out, err) = astute.shell(PROVISION, 5400);
    disk::write(&scenario.logs().join("provision.log"), format!("{out}{err}").as_bytes());
    let log = scenario.keep("fuel-agent.log", root, "cat /var/log/fuel-agent.log");
    scenario.keep("bootstrap-mcollective.log", root, "cat /var/log/mcollective.log");
    scenario.keep("bootstrap-journal.log", root, "journalctl -b --no-pager");
    assert_eq!(code, 0, "exit code of provision; it said {out}{err}");
    push::assert_markers(&log);
}

/// The kernel went over the network once, before the switch; afterwards the loader only asked what to do.
#[track_caller]
fn the_loader_sent_it_to_its_disk(scenario: &Scenario, mac: &str) {
    let path = scenario.logs().join("dnsmasq.log");
    let log = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    let sent = |name: &str| log.lines().filter(|line| line.contains("sent ") && line.contains(name)).count();
    let own = format!("pxelinux.cfg/01-{}", mac.replace(':', "-"));
    let seen = (sent("/pxelinux.0 "), sent("/images/ubuntu_bootstrap/vmlinuz "), sent(&format!("/{own} ")));
    assert_eq!(seen, (2, 1, 1), "loaders, kernels and own configurations that were sent:\n{log}");
}

#[track_caller]
fn puppet_and_mcollective_are_set_up(account: &Ssh, astute: &mut Astute) {
    assert_eq!(
        account.ask("systemctl is-enabled mcollective.service; systemctl is-active mcollective.service"),
        "enabled\nactive"
    );
    assert_eq!(account.run("systemctl is-enabled puppet.service", 30).stdout.trim(), "disabled");
    let settings = account.ask("sudo -n grep -E '^ *(server|report) *=' /etc/puppet/puppet.conf | tr -d ' ' | sort");
    assert_eq!(settings, "report=false\nserver=fuel.example.test", "/etc/puppet/puppet.conf");
    let words = account.ask("sudo -n stat -c '%a %U' /etc/mcollective/server.cfg; cat /etc/nailgun_systemtype");
    assert_eq!(words, "600 root\ntarget");
    let status = astute.call("puppetd", "status", &json!({}), 30);
    assert_eq!(status.data("status"), &json!("stopped"), "puppet, asked through mcollective");
    // Puppet itself works: it is what the deployment goes on with.
    let (code, _, err) =
        astute.shell("puppet apply -e 'file { \"/root/applied\": content => \"x\" }' && cat /root/applied", 300);
    assert_eq!(code, 0, "puppet apply: {err}");
}

/// What took part, for the record.
fn versions(cobbler: &Cobblerd, bootstrap: &Bootstrap, image: &OsImage) -> Value {
    let first_line = |program: &str, argument: &str| {
        let said = process::run(Command::new(program).arg(argument), &[], Deadline::cpu(10)).words();
        said.lines().next().unwrap_or_default().to_owned()
    };
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
    let build = artefacts::repository().join("packaging/mcollective/build.sh");
    let root = process::run(&mut Command::new(build), &[], Deadline::cpu(30)).ok();
    let packages = Path::new(root.trim_end()).with_file_name("packages");
    let packages = std::fs::read_to_string(packages).unwrap_or_default();
    let package =
        |name: &str| packages.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).map(str::to_owned);
    json!({
        "qemu": first_line("qemu-system-x86_64", "--version"), "dnsmasq": first_line("dnsmasq", "--version"),
        "cobbler": cobbler.operator(&["version"]).lines().next(),
        "rabbitmq-server": package("rabbitmq-server"), "mcollective": package("mcollective"), "ruby": package("ruby"),
        "puppet-agent": package("puppet-agent"),
        "bytes": {
            "vmlinuz": size(&bootstrap.folder().join("vmlinuz")), "initrd.img": size(&bootstrap.folder().join("initrd.img")),
            "root.squashfs": size(&bootstrap.folder().join("root.squashfs")),
            "root image": size(&image.folder().join(format!("{}.img.gz", image.name()))),
        },
    })
}
