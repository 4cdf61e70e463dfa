//! What must be there after a run, computed from the request by upstream's rules and by nothing of the agent's.
//!
//! A state is a set of lines, so that a difference shows itself: `table v0 3 227+64 TYPE`, `vg os on v0.4 s0.3`,
//! `lv os/root 128`, `md raid1 v0.3 s0.3`, `fs os/root ext4 label`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::seen::place;
use crate::harness::disk::Disk;

/// A state of the disks.
pub type State = BTreeSet<String>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Required {
    pub state: State,
    /// The partition of the config drive, which holds what the first boot needs once a run is complete.
    pub config_drive: String,
    /// The lines of file systems that images bring, with their mount points.
    pub images: BTreeMap<&'static str, String>,
}

const BIOS: &str = "21686148-6449-6e6f-744e-656564454649";
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/// LVM gives whole extents.
const EXTENT: u64 = 4;
const CONFIG_DRIVE: u64 = 20;
/// Mount points that images are written for.
pub const IMAGES: [&str; 2] = ["/", "/boot"];

fn size(volume: &Value) -> u64 {
    volume["size"].as_u64().unwrap_or(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_on_boot(volume: &Value) -> bool {
    volume["mount"] == "/boot"
}

/// Whether anything but `/boot` is wanted of the disk.
fn is_used(disk: &Value) -> bool {
    let counts = |volume: &&Value| !matches!(text(&volume["type"]), "boot" | "lvm_meta_pool") && !is_on_boot(volume);
    list(&disk["volumes"]).iter().filter(counts).any(|volume| size(volume) > 0)
}

/// The disk that `/boot` goes to: the bootable one of those that list it, else the first; NVMe only among its like.
fn boot_disk(disks: &[&Value]) -> Option<usize> {
    let lists = |disk: &Value| list(&disk["volumes"]).iter().any(is_on_boot);
    let is_nvme = |disk: &Value| text(&disk["name"]).starts_with("nvme");
    let listing: Vec<usize> = (0..disks.len()).filter(|&number| lists(disks[number])).collect();
    let usable: Vec<usize> = listing.iter().copied().filter(|&number| !is_nvme(disks[number])).collect();
    let usable = if usable.is_empty() { listing } else { usable };
    let chosen = usable.iter().copied().find(|&number| disks[number]["bootable"] == true);
    chosen.or(usable.first().copied())
}

/// What is put together while the disks are gone through.
#[derive(Default)]
struct Builder {
    state: State,
    groups: BTreeMap<String, Vec<String>>,
    /// By mount point: members, type, label.
    arrays: BTreeMap<String, (Vec<String>, String, String)>,
    config_drive: Option<String>,
    images: BTreeMap<&'static str, String>,
    osds: u64,
    journals: u64,
    journals_left: u64,
}

/// The state that these `ks_spaces` ask for.
pub fn required(spaces: &Value, slots: &BTreeMap<&'static str, Disk>) -> Required {
    let disks: Vec<&Value> = list(spaces).iter().filter(|space| space["type"] == "disk").collect();
    let named = |name: &str| {
        let volumes = disks.iter().flat_map(|disk| list(&disk["volumes"]));
        u64::try_from(volumes.filter(|volume| volume["name"] == name && size(volume) > 0).count()).expect("few")
    };
    let mut builder = Builder {
        osds: named("ceph"),
        journals: named("cephjournal"),
        journals_left: named("ceph"),
        ..Builder::default()
    };
    let boot = boot_disk(&disks);
    for (number, disk) in disks.iter().enumerate().filter(|(_, disk)| is_used(disk)) {
        let slot = slots.iter().find(|(_, candidate)| disk["id"] == candidate.by_id());
        builder.disk(slot.map_or("?", |(slot, _)| slot), disk, boot == Some(number));
    }
    for (mount, (mut members, kind, label)) in std::mem::take(&mut builder.arrays) {
        members.sort_by_key(|name| place(name));
        builder.state.insert(format!("md raid1 {}", members.join(" ")));
        builder.file_system(&mount, &format!("md({})", members.join(",")), &kind, &label);
    }
    for group in list(spaces).iter().filter(|space| space["type"] == "vg") {
        builder.group(group);
    }
    for (group, mut volumes) in std::mem::take(&mut builder.groups) {
        volumes.sort_by_key(|name| place(name));
        builder.state.insert(format!("vg {group} on {}", volumes.join(" ")));
    }
    Required { state: builder.state, config_drive: builder.config_drive.unwrap_or_default(), images: builder.images }
}

impl Builder {
    fn file_system(&mut self, mount: &str, device: &str, kind: &str, label: &str) {
        let kind = if kind.is_empty() { "xfs" } else { kind };
        // Upstream cuts every label to twelve characters.
        let label: String = label.chars().take(12).collect();
        let line = format!("fs {device} {kind} {label}").trim_end().to_owned();
        if let Some(place) = IMAGES.iter().find(|place| **place == mount) {
            self.images.insert(place, line.clone());
        }
        self.state.insert(line);
    }

    fn disk(&mut self, slot: &str, disk: &Value, has_boot: bool) {
        let mut table = Table { slot, next: 1, number: 0, lines: Vec::new() };
        table.add(24, BIOS);
        table.add(200, LINUX);
        for volume in list(&disk["volumes"]).iter().filter(|volume| size(volume) > 0) {
            self.volume(&mut table, volume, has_boot);
        }
        let is_root = |volume: &Value| {
            matches!(text(&volume["type"]), "partition" | "raid") && volume["mount"] == "/"
                || volume["type"] == "pv" && volume["vg"] == "os" && size(volume) > 0
        };
        if self.config_drive.is_none() && list(&disk["volumes"]).iter().any(is_root) {
            self.config_drive = Some(table.add(CONFIG_DRIVE, LINUX));
        }
        self.state.extend(table.lines);
    }

    fn volume(&mut self, table: &mut Table<'_>, volume: &Value, has_boot: bool) {
        let guid = volume["partition_guid"].as_str().unwrap_or(LINUX);
        let (mount, kind, label) = (text(&volume["mount"]), text(&volume["file_system"]), text(&volume["disk_label"]));
        if volume["name"] == "cephjournal" {
            return self.journal(table, size(volume), guid);
        }
        match text(&volume["type"]) {
            "pv" => {
                let part = table.add(size(volume), LINUX);
                self.groups.entry(text(&volume["vg"]).to_owned()).or_default().push(part);
            }
            "partition" | "raid" if mount == "/boot" && !has_boot => {}
            "partition" | "raid" if mount == "/boot" => {
                let part = table.add(size(volume), guid);
                let default = if volume["type"] == "raid" { "ext2" } else { "xfs" };
                self.file_system(mount, &part, if kind.is_empty() { default } else { kind }, label);
            }
            "raid" if !matches!(mount, "" | "none") => {
                let part = table.add(size(volume), guid);
                let made = || (Vec::new(), kind.to_owned(), label.to_owned());
                self.arrays.entry(mount.to_owned()).or_insert_with(made).0.push(part);
            }
            "partition" | "raid" => {
                let part = table.add(size(volume), guid);
                let has_place = !matches!(mount, "" | "none");
                if volume["type"] == "partition" && (has_place || !matches!(kind, "" | "none")) {
                    self.file_system(mount, &part, kind, label);
                }
            }
            _ => {}
        }
    }

    /// Journals are shared out over the devices, at most 10240 MiB each.
    fn journal(&mut self, table: &mut Table<'_>, size: u64, guid: &str) {
        if self.osds == 0 {
            return;
        }
        let ratio = self.osds.div_ceil(self.journals);
        let count = ratio.min(self.journals_left);
        for _ in 0..count {
            table.add((size / ratio).min(10240), guid);
        }
        self.journals_left -= count;
    }

    fn group(&mut self, group: &Value) {
        let name = text(&group["id"]);
        for volume in list(&group["volumes"]).iter().filter(|volume| size(volume) > 0) {
            let (path, mount) = (format!("{name}/{}", text(&volume["name"])), text(&volume["mount"]));
            self.state.insert(format!("lv {path} {}", size(volume).next_multiple_of(EXTENT)));
            if !matches!(mount, "" | "none") {
                self.file_system(mount, &path, text(&volume["file_system"]), text(&volume["disk_label"]));
            }
        }
    }
}

/// Partitions in their places: each one MiB behind the one before.
struct Table<'a> {
    slot: &'a str,
    next: u64,
    number: u32,
    lines: Vec<String>,
}

impl Table<'_> {
    fn add(&mut self, size: u64, guid: &str) -> String {
        self.number += 1;
        self.lines.push(format!("table {} {} {}+{size} {}", self.slot, self.number, self.next, guid.to_lowercase()));
        self.next += size + 1;
        format!("{}.{}", self.slot, self.number)
    }
}
