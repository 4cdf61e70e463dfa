//! A node with data is installed anew, as Astute does it: boot code and signature of every disk erased, a reboot into the
//! bootstrap, a document with `keep_data`. What is to be kept is kept; what does not fit is refused before a byte is lost.

use serde_json::{Value, json};

use crate::harness::artefacts::Bootstrap;
use crate::harness::disk::{self, Disk};
use crate::harness::document::{Document, ROOT_MIB, SWAP_MIB};
use crate::harness::http::{Reply, Server};
use crate::harness::process::Output;
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::Ssh;
use crate::harness::vm::Vm;
use crate::harness::wait::{self, Deadline};
use crate::kept::{self, Identities, Kept};
use crate::lean;

/// Exit codes of the published interface.
const REQUEST: i32 = 10;
const HARDWARE: i32 = 11;
const REFUSED: i32 = 12;

#[test]
fn reinstall() {
    scenario::run("reinstall", |scenario| {
        let server = Server::start();
        server.folder("/bootstrap/", Bootstrap::find().folder());
        let script = Bootstrap::script(&server.url(), scenario.key());
        server.route("/boot.ipxe", move |_| Reply::text(script.as_str()));
        let disks = Disks {
            system: scenario.disk("SYSTEM", 3500),
            data: scenario.disk("DATA1", 700),
            half: scenario.disk("DATA2", 700),
            spare: scenario.disk("SPARE", 900),
        };
        let mut description = scenario.machine("node");
        for disk in disks.all() {
            description = description.disk(disk);
        }
        let spaces = disks.spaces(&disks.half, false);
        let mut first = Document::for_node(scenario, &server.url(), description.mac(), spaces);
        first.images = lean::serve(scenario, &server);
        let node = description.boots_from(&format!("{}/boot.ipxe", server.url())).start();
        let root = node.ssh("root", scenario.key());
        root.wait_until_ready(60);
        let mut story = Story { scenario, disks: &disks, node, root, first, cpu: 0.0 };
        story.tell("the bootstrap lets us in");

        let before = story.installs_and_gets_data();
        story.is_prepared_as_astute_does_it();
        story.refuses_what_does_not_fit();
        story.stops_before_a_volume_that_differs();
        story.is_installed_anew(&before);
        story.refuses_a_foreign_group();
        story.gets_a_new_disk(&before);
    });
}

/// The disks of the node.
struct Disks {
    system: Disk,
    data: Disk,
    half: Disk,
    spare: Disk,
}

impl Disks {
    fn all(&self) -> [&Disk; 4] {
        [&self.system, &self.data, &self.half, &self.spare]
    }

    fn kept<'a>(&'a self, half: &'a Disk) -> Kept<'a> {
        Kept { system: &self.system, data: &self.data, half }
    }

    /// `ks_spaces` with the mirror's other half on this disk.
    fn spaces(&self, half: &Disk, keeps: bool) -> Value {
        let disk = |name: &str, disk: &Disk, volumes: &[Value]| {
            let mut all = vec![json!({"type": "boot", "size": 300}), json!({"type": "lvm_meta_pool", "size": 0})];
            all.extend_from_slice(volumes);
            json!({
                "type": "disk", "name": name, "id": name, "extra": [disk.by_id()], "size": disk.mib(), "free_space": 0,
                "bootable": name == "vda", "volumes": all
            })
        };
        let pv = |vg: &str, size: u64| json!({"type": "pv", "vg": vg, "size": size, "lvm_meta_size": 64});
        let mut vm_on_system = pv("vm", 256);
        let mut vm_on_data = pv("vm", 320);
        let mut partition = json!(
            {"type": "partition", "mount": "/srv/kept", "size": 64, "file_system": "ext4", "name": "Kept"});
        let mut mirror = json!(
            {"type": "raid", "mount": "/srv/mirror", "size": 64, "file_system": "ext4", "name": "Mirror"});
        let mut bare = json!({
            "type": "partition", "mount": "none", "size": 4, "file_system": "none", "name": "ceph", "disk_label": null,
            "partition_guid": "4fbd7e29-9d25-41b8-afd0-062c0ceff05d"
        });
        if keeps {
            for volume in [&mut vm_on_system, &mut vm_on_data, &mut partition, &mut mirror, &mut bare] {
                volume["keep_data"] = json!(true);
            }
        }
        let boot = json!({"type": "partition", "mount": "/boot", "size": 300, "file_system": "ext2", "name": "Boot"});
        let lv = |name: &str, mount: &str, size: u64, kind: &str| json!({"type": "lv", "name": name, "mount": mount, "size": size, "file_system": kind});
        let name = if half.serial() == self.half.serial() { "vdc" } else { "vdd" };
        json!([
            disk("vda", &self.system, &[boot, pv("os", ROOT_MIB + SWAP_MIB + 64 + 64), partition, vm_on_system]),
            disk("vdb", &self.data, &[mirror.clone(), vm_on_data, bare.clone()]),
            disk(name, half, &[mirror, bare]),
            {"type": "vg", "id": "os", "label": "Base System", "min_size": ROOT_MIB + SWAP_MIB, "volumes": [
                lv("root", "/", ROOT_MIB, "ext4"), lv("swap", "swap", SWAP_MIB, "swap")
            ]},
            {"type": "vg", "id": "vm", "label": "Virtual Storage", "min_size": 384, "volumes": [
                lv("nova", "/var/lib/nova", 384, "xfs")
            ]}
        ])
    }
}

/// Changes the volumes in `ks_spaces` that fit.
fn change(spaces: &mut Value, fits: impl Fn(&Value) -> bool, change: impl Fn(&mut Value)) {
    let spaces = spaces.as_array_mut().expect("ks_spaces are a list");
    let volumes = spaces.iter_mut().filter_map(|space| space["volumes"].as_array_mut());
    let mut fitting: Vec<_> = volumes.flatten().filter(|volume| fits(volume)).collect();
    assert!(!fitting.is_empty(), "no volume of the document is the one to change");
    fitting.iter_mut().for_each(|volume| change(volume));
}

/// By what is recognised what was there before.
struct Before {
    kept: Identities,
    /// UUIDs of the file systems of the system.
    system: [String; 2],
}

/// The node in its bootstrap.
struct Story<'a> {
    scenario: &'a Scenario,
    disks: &'a Disks,
    node: Vm,
    root: Ssh,
    first: Document,
    cpu: f64,
}

impl Story<'_> {
    /// Tells what has happened, with the CPU seconds that it cost.
    fn tell(&mut self, what: &str) {
        let cpu = self.node.cpu_seconds();
        self.scenario.tell(&format!("{what}: {:.1} CPU s", cpu - self.cpu));
        self.cpu = cpu;
    }

    fn document(&self, spaces: Value) -> Value {
        Document { spaces, ..self.first.clone() }.json()
    }

    /// The content of all disks of the story, everything written by the guest included.
    fn contents(&mut self) -> Vec<(String, String)> {
        self.root.ask("sync");
        let disks = self.disks;
        self.node.while_stopped(|| disks.all().map(|disk| (disk.serial().to_owned(), disk.content()))).into()
    }

    /// Uploads the document and runs a command on it; its words are kept.
    #[track_caller]
    fn run(&self, name: &str, document: &Value, command: &str) -> Output {
        self.root.upload("/tmp/provision.json", document.to_string().as_bytes());
        let output = self.root.run(command, 300);
        disk::write(&self.scenario.logs().join(format!("{name}.log")), output.words().as_bytes());
        output
    }

    #[track_caller]
    fn provisions(&mut self, name: &str, document: &Value, command: &str) {
        let output = self.run(name, document, command);
        self.scenario.keep(&format!("{name}-fuel-agent.log"), &self.root, "cat /var/log/fuel-agent.log");
        assert_eq!(output.code, 0, "exit code of {name}; it said {}", output.words());
        self.tell(name);
    }

    /// Runs a command that must be refused so, and must name all of this.
    #[track_caller]
    fn is_refused(&mut self, name: &str, document: &Value, command: &str, code: i32, culprits: &[&str]) {
        let output = self.run(name, document, command);
        assert_eq!(output.code, code, "exit code of {name}; it said {}", output.words());
        for culprit in culprits {
            assert!(output.stderr.contains(culprit), "{name}: {culprit} is not named in {}", output.stderr);
        }
        self.tell(&format!("{name} is refused with {code}"));
    }

    fn installs_and_gets_data(&mut self) -> Before {
        let document = self.first.json();
        self.provisions("first-installation", &document, "flock -n /var/lock/provision.lock provision");
        let kept = self.disks.kept(&self.disks.half);
        kept.open(&self.root);
        kept.fill(&self.root);
        let identities = kept.identities(&self.root);
        kept.close(&self.root);
        self.node.while_stopped(|| kept.check_bare());
        let system = kept::system(&self.root);
        self.tell("known data are written");
        Before { kept: identities, system }
    }

    fn is_prepared_as_astute_does_it(&mut self) {
        self.erase_node();
        self.node.cycle_power();
        self.root.wait_until_ready(60);
        self.sees_no_partitions();
        self.tell("the bootstrap lets us in again");
    }

    /// What Astute's `erase_node` does to every disk.
    fn erase_node(&self) {
        self.on_disks(
            &self.disks.all(),
            "! test -e $disk || { dd if=/dev/zero of=$disk bs=446 count=1 conv=notrunc; \
             dd if=/dev/zero of=$disk bs=2 seek=255 count=1 conv=notrunc; sync; } 2>&1",
        );
    }

    /// Runs a script for each of these disks, whose device it finds in `$disk`, and returns all its words.
    #[track_caller]
    fn on_disks(&self, disks: &[&Disk], script: &str) -> String {
        let devices: Vec<_> = disks.iter().map(|disk| format!("/dev/{}", disk.by_id())).collect();
        self.root.ask(&format!("set -e; for disk in {}; do {script}; done", devices.join(" ")))
    }

    fn sees_no_partitions(&self) {
        let devices = self.root.ask("lsblk --noheadings --list --output NAME,TYPE");
        assert!(!devices.contains("part"), "the kernel sees partitions behind erased signatures:\n{devices}");
    }

    fn refuses_what_does_not_fit(&mut self) {
        let spaces = self.disks.spaces(&self.disks.half, true);
        let good = self.document(spaces.clone());
        let before = self.contents();
        let plan = self.run("plan", &good, "bedplate plan /tmp/provision.json").ok();
        for line in ["restore the protective MBR", "/dev/vda", "/dev/vdb", "/dev/vdc"] {
            assert!(plan.contains(line), "{line} is not in the plan:\n{plan}");
        }
        self.tell("the plan is shown");

        let command = format!("bedplate provision --plan-digest sha256:{} /tmp/provision.json", "0".repeat(64));
        self.is_refused("another-digest", &good, &command, REFUSED, &["approved sha256:0000", "made here sha256:"]);

        let mut other = spaces.clone();
        change(&mut other, |volume| volume["mount"] == "/srv/kept", |volume| volume["size"] = json!(96));
        let document = self.document(other);
        let sizes = ["/dev/vda", "67108864", "100663296"];
        self.is_refused("another-size", &document, "provision", HARDWARE, &sizes);

        let mut other = spaces;
        change(&mut other, |volume| volume["vg"] == "os", |volume| volume["keep_data"] = json!(true));
        let document = self.document(other);
        self.is_refused("kept-root", &document, "provision", REQUEST, &["image_data[\"/\"]", "keep_data"]);

        assert_eq!(self.contents(), before, "content of the disks after runs that were refused");
        self.tell("nothing was written");
    }

    /// What lies in a hidden table is seen only when the table is whole again: nothing else is written by then.
    fn stops_before_a_volume_that_differs(&mut self) {
        let mut spaces = self.disks.spaces(&self.disks.half, true);
        change(&mut spaces, |volume| volume["name"] == "nova", |volume| volume["size"] = json!(400));
        let document = self.document(spaces);
        self.root.ask("sync");
        let system = &self.disks.system;
        let before = self.node.while_stopped(|| system.content());
        let sizes = ["vm/nova", "402653184 bytes", "419430400 bytes"];
        self.is_refused("another-volume", &document, "provision", HARDWARE, &sizes);
        self.erase_node();
        self.on_disks(&self.disks.all(), "blockdev --rereadpt $disk; udevadm settle");
        self.sees_no_partitions();
        let after = self.node.while_stopped(|| system.content());
        assert_eq!(after, before, "content of the system's disk but for its first sector");
    }

    fn is_installed_anew(&mut self, before: &Before) {
        let document = self.document(self.disks.spaces(&self.disks.half, true));
        // By the same seed what is made anew would get the UUIDs that it had: nobody could tell it from the old.
        let command = "bedplate plan --json --seed anew /tmp/provision.json";
        let plan: Value =
            serde_json::from_str(&self.run("plan-json", &document, command).ok()).expect("a plan is JSON");
        let digest = plan["digest"].as_str().expect("a plan has a digest");
        let command = format!("bedplate provision --seed anew --plan-digest {digest} /tmp/provision.json");
        self.provisions("reinstallation", &document, &command);

        self.tables_are_whole(&[&self.disks.system, &self.disks.data, &self.disks.half]);
        let new = kept::system(&self.root);
        for (new, old) in new.iter().zip(&before.system) {
            assert_ne!(new, old, "UUID of a file system that was to be made anew");
        }
        self.check(&self.disks.half, &before.kept);
        self.tell("the system is new, and everything kept is as it was");
    }

    fn tables_are_whole(&self, disks: &[&Disk]) {
        let words =
            self.on_disks(disks, "sgdisk --verify $disk; lsblk --noheadings --list --output TYPE $disk | sort -u");
        let times = |what: &str| words.lines().filter(|line| line.starts_with(what)).count();
        let seen = (times("No problems found"), times("part"));
        assert_eq!(seen, (disks.len(), disks.len()), "tables that are whole, and seen by the kernel:\n{words}");
    }

    /// Known data, array and group are as they were.
    fn check(&mut self, half: &Disk, identities: &Identities) {
        let kept = self.disks.kept(half);
        kept.open(&self.root);
        kept.check_files(&self.root);
        assert_eq!(kept.identities(&self.root), *identities, "array and group that are kept");
        kept.close(&self.root);
        self.node.while_stopped(|| kept.check_bare());
    }

    /// A group with the name of one that is kept, on a disk that the request does not name.
    fn refuses_a_foreign_group(&mut self) {
        let spare = &self.disks.spare;
        let device = format!("/dev/{}", spare.by_id());
        let alone = r#"devices { filter = [ "a|^/dev/vdd$|", "r|.*|" ] }"#;
        self.root.ask(&format!("set -e; lvm pvcreate --yes {device}; lvm vgcreate --config '{alone}' vm /dev/vdd"));
        self.root.ask("sync");
        let before = self.node.while_stopped(|| spare.content());
        let document = self.document(self.disks.spaces(&self.disks.half, true));
        let culprits = ["volume group vm", "/dev/vdd", "vgrename "];
        self.is_refused("foreign-group", &document, "bedplate plan /tmp/provision.json", REFUSED, &culprits);
        self.is_refused("foreign-group-provision", &document, "provision", REFUSED, &culprits);
        self.root.ask("sync");
        let after = self.node.while_stopped(|| spare.content());
        assert_eq!(after, before, "content of a disk that the request does not name");
        let uuid = self.root.ask(&format!("lvm pvs --noheadings --options vg_uuid {device}"));
        self.root.ask(&format!("lvm vgrename {uuid} foreign"));
        self.run("plan-beside-foreign-group", &document, "bedplate plan /tmp/provision.json").ok();
        let zeroes = format!("dd if=/dev/zero of={device} bs=1M count=2 conv=notrunc 2>&1; sync");
        self.root.ask(&format!("set -e; lvm vgremove --yes foreign; lvm pvremove --yes {device}; {zeroes}"));
        self.tell("a foreign group stays");
    }

    fn gets_a_new_disk(&mut self, before: &Before) {
        let (half, spare) = (&self.disks.half, &self.disks.spare);
        self.node.pull_out(half.serial());
        wait::until("the kernel to let go of the disk", Deadline::cpu(10), || {
            (self.root.run(&format!("test ! -e /dev/{}", half.by_id()), 10).code == 0).then_some(())
        });
        self.erase_node();
        let document = self.document(self.disks.spaces(spare, true));
        let plan = self.run("plan-with-spare", &document, "bedplate plan /tmp/provision.json").ok();
        assert!(plan.contains("a new disk, which is prepared"), "the plan does not tell of the new disk:\n{plan}");
        self.provisions("installation-with-new-disk", &document, "flock -n /var/lock/provision.lock provision");
        self.tables_are_whole(&[&self.disks.system, &self.disks.data, spare]);
        self.check(spare, &before.kept);
        self.disks.kept(spare).check_half(&self.root, spare);
        self.tell("the new disk has its part of the mirror, and everything kept is as it was");
    }
}
