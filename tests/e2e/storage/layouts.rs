//! Layouts as data: a few words a volume become the `ks_spaces` of a request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::artefacts::repository;
use crate::harness::disk::{Bus, Disk};

/// A layout by its name.
pub struct Layout {
    pub name: &'static str,
    pub text: Text,
}

/// Where its volumes stand.
pub enum Text {
    /// A line for each disk, `SLOT: volume, volume, ..`, and for each group, `vg NAME: lv, lv, ..`. Volumes are
    /// `fs MOUNT MIB TYPE [LABEL]`, `raid MOUNT MIB TYPE [LABEL]`, `pv GROUP MIB`, `bare MIB`; a group's are
    /// `NAME MOUNT MIB TYPE [LABEL]`; `-` stands for no mount point, `!` at the end for `keep_data`.
    Here(&'static str),
    /// A document of tests/fixtures/provision whose volumes are made so many times smaller.
    Fixture(&'static str, u64),
}

/// The layouts that take turns on the same disks.
pub const LAYOUTS: &[Layout] = &[
    Layout { name: "fixture-01", text: Text::Fixture("01-single-disk-lvm", 20) },
    Layout { name: "fixture-02", text: Text::Fixture("02-controller-three-disks-raid-boot", 30) },
    Layout { name: "fixture-03", text: Text::Fixture("03-ceph-osd-with-journal-ssd", 200) },
    Layout { name: "fixture-04", text: Text::Fixture("04-keep-data-reinstall", 80) },
    Layout { name: "fixture-05", text: Text::Fixture("05-nvme-plus-sata", 40) },
    Layout { name: "fixture-06", text: Text::Fixture("06-bonded-admin-six-nics", 10) },
    Layout { name: "fixture-10", text: Text::Fixture("10-plain-partitions-labels-raw-image", 10) },
    Layout {
        name: "mirrors",
        text: Text::Here(
            "v0: fs /boot 64 ext2 Boot, raid / 200 ext4 root, raid swap 64 swap pages, raid /srv 320 xfs data
             s0: raid / 200 ext4 root, raid swap 64 swap pages, raid /srv 320 xfs data
             a0: fs /opt 200 btrfs opt, bare 8",
        ),
    },
    Layout {
        name: "every-file-system",
        text: Text::Here(
            "v0: fs /boot 64 ext3 boot, fs / 128 ext4 a-long-label, fs /two 32 ext2 two, fs /three 32 ext3 three
             s0: fs /x 320 xfs exfs, fs /b 160 btrfs butter, fs /f 64 vfat FAT, fs swap 32 swap swap0, fs - 64 ext4 apart",
        ),
    },
    Layout {
        name: "odd-sectors",
        text: Text::Here(
            "v0: fs /boot 64 ext2, pv os 200
             k0: pv data 400, fs /f 300 vfat, fs /e 64 ext4 four
             big: pv data 2000000, bare 900000, fs /end 320 xfs end
             vg os: root / 128 ext4
             vg data: all /all 2000200 xfs all",
        ),
    },
    Layout {
        name: "wide-group",
        text: Text::Here(
            "v0: fs /boot 64 ext2, pv os 300
             v1: pv os 300
             s0: pv os 300, pv vm 300
             s1: pv vm 300
             a0: pv vm 300
             n0: pv vm 300
             vg os: root / 600 ext4 root, pages swap 64 swap
             vg vm: nova /var/lib/nova 900 xfs nova, spare - 64 -",
        ),
    },
    Layout {
        name: "leftovers-go",
        text: Text::Here(
            "v0: fs /boot 64 ext2, fs / 128 ext4
             v1: bare 64
             s0: raid /srv 64 ext4 srv, pv vm 64
             s1: raid /srv 64 ext4 srv, pv vm 64
             a0: bare 200, bare 300
             vg vm: nova /nova 100 ext4",
        ),
    },
    Layout {
        name: "shifted",
        text: Text::Here(
            "v0: bare 33, fs /boot 64 ext4, fs / 128 ext4, bare 41
             s0: bare 200, bare 1, bare 65, bare 400
             a0: bare 100, bare 300
             n0: bare 150, bare 2, bare 350",
        ),
    },
];

/// The layout of this name.
#[track_caller]
pub fn find(name: &str) -> &'static Layout {
    LAYOUTS.iter().find(|layout| layout.name == name).unwrap_or_else(|| panic!("there is no layout {name}"))
}

impl Layout {
    /// Its `ks_spaces` on these disks.
    #[track_caller]
    pub fn spaces(&self, slots: &BTreeMap<&'static str, Disk>) -> Value {
        match self.text {
            Text::Here(text) => written(text, slots),
            Text::Fixture(name, divisor) => scaled(name, divisor, slots),
        }
    }
}

/// What a request says of a disk, but for its volumes.
fn frame(slot: &str, disk: &Disk, volumes: &Value) -> Value {
    // The kernel's name decides only where no link does; `nvme` in it says that firmware may not start from the disk.
    let name = if disk.bus() == Bus::Nvme { format!("nvme{slot}") } else { slot.to_owned() };
    json!({
        "type": "disk", "name": name, "id": disk.by_id(), "extra": [disk.by_id()], "size": disk.mib(),
        "free_space": 0, "volumes": volumes
    })
}

/// Spaces from the words of a [`Text::Here`].
#[track_caller]
pub fn written(text: &str, slots: &BTreeMap<&'static str, Disk>) -> Value {
    let mut spaces = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, volumes) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} has no colon"));
        let volumes = volumes.split(',').map(|volume| volume.split_whitespace().collect::<Vec<_>>());
        spaces.push(match head.strip_prefix("vg ") {
            Some(group) => {
                let volumes: Vec<_> = volumes.map(|words| logical(&words)).collect();
                json!({"type": "vg", "id": group, "label": group, "min_size": 0, "volumes": volumes})
            }
            None => {
                let disk = slots.get(head).unwrap_or_else(|| panic!("there is no disk {head}"));
                let first = [json!({"type": "boot", "size": 300}), json!({"type": "lvm_meta_pool", "size": 0})];
                let volumes: Vec<_> = first.into_iter().chain(volumes.map(|words| physical(&words))).collect();
                frame(head, disk, &Value::from(volumes))
            }
        });
    }
    Value::from(spaces)
}

#[track_caller]
fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no size in MiB"))
}

fn or_none(word: &str) -> &str {
    if word == "-" { "none" } else { word }
}

#[track_caller]
fn physical(words: &[&str]) -> Value {
    let (words, keeps) = match words {
        [words @ .., "!"] => (words, true),
        words => (words, false),
    };
    let mut volume = match words {
        ["bare", size] => {
            json!({"type": "partition", "mount": "none", "file_system": "none", "size": number(size), "name": "bare"})
        }
        ["pv", group, size] => json!({"type": "pv", "vg": group, "size": number(size) + 64, "lvm_meta_size": 64}),
        [kind @ ("fs" | "raid"), mount, size, file_system, label @ ..] => json!({
            "type": if *kind == "fs" { "partition" } else { "raid" }, "mount": or_none(mount), "size": number(size),
            "file_system": file_system, "name": "volume", "disk_label": label.first()
        }),
        words => panic!("{words:?} is no volume"),
    };
    if keeps {
        volume["keep_data"] = json!(true);
    }
    volume
}

#[track_caller]
fn logical(words: &[&str]) -> Value {
    let [name, mount, size, file_system, label @ ..] = words else { panic!("{words:?} is no logical volume") };
    json!({
        "type": "lv", "name": name, "mount": or_none(mount), "size": number(size), "file_system": or_none(file_system),
        "disk_label": label.first()
    })
}

/// The disks that take the place of a fixture's, by the start of their names.
fn slots_for(name: &str) -> &'static [&'static str] {
    match name {
        name if name.starts_with("nvme") => &["n0", "n1"],
        name if name.starts_with("vd") => &["v0", "v1"],
        _ => &["v0", "s0", "a0", "s1", "v1"],
    }
}

/// A fixture on our disks. Payloads shrink, what is about as small as LVM's metadata stays; a physical volume is rounded
/// up to extents and a logical one down, so that what fitted fits.
#[track_caller]
fn scaled(name: &str, divisor: u64, slots: &BTreeMap<&'static str, Disk>) -> Value {
    let path = repository().join(format!("tests/fixtures/provision/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    let document: Value = serde_json::from_str(&text).expect("a fixture is JSON");
    let mut spaces = document["ks_meta"]["pm_data"]["ks_spaces"].clone();
    let mut taken: Vec<&str> = Vec::new();
    for space in spaces.as_array_mut().expect("ks_spaces are a list") {
        let mut volumes = space["volumes"].take();
        for volume in volumes.as_array_mut().expect("volumes are a list") {
            shrink(volume, divisor);
            // What is kept has a story of its own: these disks are prepared anew.
            volume.as_object_mut().expect("a volume is an object").remove("keep_data");
        }
        if space["type"] == "disk" {
            let name = space["name"].as_str().expect("a disk has a name");
            let slot = slots_for(name).iter().find(|slot| !taken.contains(*slot)).expect("a disk is left for it");
            taken.push(slot);
            let bootable = space["bootable"].take();
            *space = frame(slot, &slots[slot], &volumes);
            if bootable.is_boolean() {
                space["bootable"] = bootable;
            }
        } else {
            space["volumes"] = volumes;
        }
    }
    spaces
}

fn shrink(volume: &mut Value, divisor: u64) {
    const SMALL: u64 = 512;
    let size = volume["size"].as_u64().unwrap_or(0);
    let metadata = volume["lvm_meta_size"].as_u64().unwrap_or(0);
    let payload = size.saturating_sub(metadata);
    if payload <= SMALL {
        return;
    }
    volume["size"] = match volume["type"].as_str() {
        Some("pv") => json!((payload.div_ceil(divisor)).next_multiple_of(4) + metadata),
        _ => json!((payload / divisor / 4 * 4).max(4)),
    };
}
