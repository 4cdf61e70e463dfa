//! Disks that fail: writes that are refused, disks that vanish, are exchanged, or cannot be told apart.

use std::path::Path;

use serde_json::{Value, json};

use super::layouts;
use super::rig::{REFUSED, Rig, last_words};
use super::signals;
use crate::harness::disk::{Bus, Disk};

const SLOT: &str = "v9";
const MIB: u64 = 640;
/// Everything that is written to, on one disk: partitions 3 to 6 begin at 227, 260, 357 and 486 MiB.
const SPACES: &str = "v9: fs /boot 32 ext2, fs / 96 ext4, pv vm 64, fs swap 16 swap
     vg vm: nova /nova 64 ext4";

/// A place that cannot be written, and what the agent must name. Byte from the start, or with a minus from the end.
struct BadPlace {
    name: &'static str,
    at: i64,
    errno: i32,
    command: &'static str,
    codes: &'static [i32],
}

const MEDIUM: i32 = 14;
const TOOL: i32 = 15;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

const BAD_PLACES: &[BadPlace] = &[
    // These first: they need what a whole run has made.
    BadPlace {
        name: "middle of an image",
        at: (260 << 20) + (8 << 20),
        errno: EIO,
        command: "copyimage",
        codes: &[MEDIUM],
    },
    BadPlace {
        name: "middle of an image, no space",
        at: (260 << 20) + (9 << 20),
        errno: ENOSPC,
        command: "copyimage",
        codes: &[MEDIUM],
    },
    BadPlace { name: "first sector", at: 0, errno: EIO, command: "partition", codes: &[MEDIUM] },
    BadPlace { name: "table", at: 512, errno: EIO, command: "partition", codes: &[MEDIUM] },
    BadPlace { name: "copy of the table", at: -512, errno: EIO, command: "partition", codes: &[MEDIUM] },
    BadPlace { name: "LVM's label", at: (357 << 20) + 512, errno: EIO, command: "partition", codes: &[MEDIUM, TOOL] },
    BadPlace {
        name: "superblock of a volume",
        at: ((357 + 29) << 20) + 1024,
        errno: EIO,
        command: "partition",
        codes: &[MEDIUM, TOOL],
    },
    BadPlace {
        name: "swap's header",
        at: (486 << 20) + 4096 - 512,
        errno: ENOSPC,
        command: "partition",
        codes: &[MEDIUM, TOOL],
    },
];

/// The disk that comes and goes.
struct Guest<'r, 'a> {
    rig: &'r Rig<'a>,
    disk: Disk,
}

impl<'r, 'a> Guest<'r, 'a> {
    fn new(rig: &'r Rig<'a>, serial: &str) -> Self {
        Self { rig, disk: rig.scenario_frame().disk(serial, MIB).on(Bus::Scsi) }
    }

    fn spaces(&self) -> Value {
        layouts::written(SPACES, &[(SLOT, self.disk.clone())].into())
    }

    /// Plugs it in; where a place is given, it cannot be written.
    #[track_caller]
    fn plug_in(&self, bad: Option<(u64, i32)>) {
        let file = file(self.disk.path());
        let node = match bad {
            None => json!({"driver": "raw", "file": file}),
            Some((at, errno)) => json!({"driver": "blkdebug", "image": file, "inject-error": [
                {"event": "none", "iotype": "write", "errno": errno, "sector": at / 512, "once": false}
            ]}),
        };
        self.rig.plug_in(&self.disk, node);
        self.rig.waits_for(&self.disk);
    }

    #[track_caller]
    fn pull_out(&self) {
        self.rig.root().run(super::seen::CLOSE, 30);
        self.rig.pull_out(self.disk.serial());
    }
}

fn file(path: &Path) -> Value {
    json!({"driver": "file", "filename": path, "cache": {"no-flush": true}, "discard": "unmap"})
}

/// Writes that are refused, each at one place; then the same request on the disk once it is whole again.
pub fn bad_places(rig: &Rig<'_>) {
    rig.scenario("places that cannot be written", |rig| {
        let guest = Guest::new(rig, "G0");
        let spaces = guest.spaces();
        rig.upload(&rig.whole_document(&spaces));
        guest.plug_in(None);
        assert_eq!(rig.agent("partition").code, 0, "exit code on a whole disk");
        guest.pull_out();
        let mut faults = Vec::new();
        for bad in BAD_PLACES {
            let at = if bad.at < 0 { (MIB << 20).saturating_add_signed(bad.at) } else { bad.at.unsigned_abs() };
            guest.plug_in(Some((at, bad.errno)));
            rig.fault(1);
            let output = rig.agent(bad.command);
            if !bad.codes.contains(&output.code) {
                faults.push(format!("{}: exit code {}: {}", bad.name, output.code, last_words(&output)));
            } else if !output.stderr.contains("/dev/sd") && !output.stderr.contains("/dev/mapper/") {
                faults.push(format!("{}: no device is named: {}", bad.name, last_words(&output)));
            }
            let open = signals::open(rig);
            if open.iter().any(|count| *count > 0) {
                faults.push(format!("{}: mounts, arrays and volumes left open: {open:?}", bad.name));
            }
            guest.pull_out();
        }
        guest.plug_in(None);
        let output = rig.agent("partition");
        assert_eq!(output.code, 0, "exit code on the whole disk: {}", last_words(&output));
        guest.pull_out();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}

/// A disk that is pulled out in the middle of a run, and comes back.
pub fn vanishes(rig: &Rig<'_>) {
    rig.scenario("disk that vanishes in the run", |rig| {
        let guest = Guest::new(rig, "G1");
        rig.upload(&rig.document(&guest.spaces()));
        guest.plug_in(None);
        // The kernel is told as it is when somebody pulls a cable: without a word to those who have the disk open.
        let delete = format!("echo 1 >/sys/block/$(basename $(readlink -f /dev/{}))/device/delete", guest.disk.by_id());
        let output = signals::ended_at(rig, "partition", 4, &delete);
        rig.fault(1);
        assert!([11, 12, MEDIUM, TOOL].contains(&output.code), "exit code {}: {}", output.code, last_words(&output));
        guest.pull_out();
        guest.plug_in(None);
        let output = rig.agent("partition");
        assert_eq!(output.code, 0, "exit code on the disk that came back: {}", last_words(&output));
        guest.pull_out();
    });
}

/// The plan was made for another disk in the same place.
pub fn exchanged(rig: &Rig<'_>) {
    rig.scenario("disk exchanged between plan and run", |rig| {
        let (old, new) = (Guest::new(rig, "G2"), Guest::new(rig, "G3"));
        old.plug_in(None);
        let link = format!("for it in /dev/disk/by-path/*; do [ $(readlink -f $it) != $(readlink -f /dev/{}) ] || echo ${{it#/dev/}}; done", old.disk.by_id());
        let path = rig.root().ask(&link).lines().next().unwrap_or("").to_owned();
        let mut spaces = old.spaces();
        spaces[0]["id"] = json!(path);
        spaces[0]["extra"] = json!([]);
        rig.upload(&rig.document(&spaces));
        rig.root().ask("bedplate plan --json --seed kept /tmp/provision.json >/run/plan.json");
        old.pull_out();
        let before = new.disk.content();
        new.plug_in(None);
        rig.fault(1);
        let output = rig.agent("provision --plan /run/plan.json --events /dev/null");
        assert_eq!(output.code, REFUSED, "exit code: {}", last_words(&output));
        new.pull_out();
        assert_eq!(new.disk.content(), before, "content of the disk that nobody planned for");
    });
}

/// Two disks with one serial number have one link between them.
pub fn twins(rig: &Rig<'_>) {
    rig.scenario("two disks with the same by-id link", |rig| {
        let folder = rig.scenario_frame().folder().join("twin");
        std::fs::create_dir_all(&folder).expect("the scenario's folder can be written to");
        let (one, other) = (Guest::new(rig, "G4"), Disk::blank(&folder, "G4", MIB).on(Bus::Scsi));
        one.plug_in(None);
        let twin = json!({"driver": "raw", "file": file(other.path())});
        rig.plug_in_as("TWIN", &other.device("TWIN").replace("id=G4", "id=TWIN"), twin);
        let names = "udevadm settle; for it in /sys/block/sd*; do udevadm info --query=property $it | \
             grep -q '^ID_SERIAL=.*_G4$' && basename $it; done; :";
        let names = rig.root().ask(names);
        let names: Vec<&str> = names.split_whitespace().collect();
        assert_eq!(names.len(), 2, "disks with the serial number G4");
        let before = (one.disk.content(), other.content());
        let mut spaces = one.spaces();
        spaces[0]["name"] = json!("sdzz");
        rig.upload(&rig.document(&spaces));
        let output = rig.agent("partition");
        assert_eq!(output.code, 11, "exit code: {}", last_words(&output));
        assert_eq!((one.disk.content(), other.content()), before, "content of the twins");
        // By the kernel's name they can be told apart, as upstream does it.
        spaces[0]["name"] = json!(names[1]);
        rig.upload(&rig.document(&spaces));
        let output = rig.agent("partition");
        assert_eq!(output.code, 0, "exit code with the kernel's name: {}", last_words(&output));
        rig.root().ask("sync");
        let changed = [one.disk.content() != before.0, other.content() != before.1];
        assert_eq!(changed.iter().filter(|it| **it).count(), 1, "twins that were written to");
        rig.pull_out("TWIN");
        one.pull_out();
    });
}

/// How long partitioning takes with so many disks.
pub fn many(rig: &Rig<'_>, counts: &[usize]) {
    rig.scenario("many disks", |rig| {
        let most = counts.iter().copied().max().unwrap_or(0);
        let disks: Vec<Disk> =
            (0..most).map(|number| rig.scenario_frame().disk(&format!("M{number}"), 300).on(Bus::Scsi)).collect();
        for disk in &disks {
            rig.plug_in(disk, json!({"driver": "raw", "file": file(disk.path())}));
        }
        disks.iter().rev().take(1).for_each(|disk| rig.waits_for(disk));
        for count in counts {
            let used: Vec<String> = (0..*count).map(|number| format!("m{number}")).collect();
            let slots = used.iter().zip(&disks).map(|(name, disk)| (&*name.clone().leak(), disk.clone())).collect();
            let line = |(number, name): (usize, &String)| {
                if number == 0 { format!("{name}: fs / 16 ext4\n") } else { format!("{name}: bare 8\n") }
            };
            let spaces = layouts::written(&used.iter().enumerate().map(line).collect::<String>(), &slots);
            rig.upload(&rig.document(&spaces));
            let output = rig.agent("partition --report /run/many.json");
            assert_eq!(output.code, 0, "exit code with {count} disks: {}", last_words(&output));
            let report: Value = serde_json::from_str(&rig.root().ask("cat /run/many.json")).expect("a report is JSON");
            rig.fact(&format!("seconds with {count} disks"), report["seconds"].clone());
        }
    });
}
