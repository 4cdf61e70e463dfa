//! From a draw to a valid document.

use serde_json::{Map, Value, json};

use super::draw::{Boot, By, Content, Drawn, DrawnDisk, Logical, Node, Root, Volume};
use super::machine::{doc_name, link, mebibytes, path_link};

/// File systems that can be made.
const FILE_SYSTEMS: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat"];
const GUIDS: [&str; 3] = [
    "deadbeef-9d34-4175-8ded-1ce68967a5ee",
    "933AC7E1-2EB4-4F13-B844-0E14E2AEF915",
    "4fbd7e29-9d25-41b8-afd0-062c0ceff05d",
];
const OSD: &str = "4fbd7e29-9d25-41b8-afd0-062c0ceff05d";
const JOURNAL: &str = "45b0969e-9b03-4f30-b4c6-b4b80ceff106";
/// The first group carries the root file system where that is a logical volume.
const GROUPS: [&str; 5] = ["os", "vm", "image", "log-files", "cinder"];
/// Extents of the largest root file system, 16 TiB.
const MAX_ROOT: u64 = 4 << 20;
/// Everything of a document but its disks and images.
const TEMPLATE: &str = include_str!("../../fixtures/provision/01-single-disk-lvm.json");

/// A volume and how many mebibytes it takes at most, gaps included.
#[derive(Clone)]
struct Item {
    value: Value,
    takes: u64,
    is_content: bool,
}

/// A document, and the mebibytes that each of its disks needs at most.
pub struct Document {
    pub value: Value,
    pub needs: Vec<u64>,
}

/// The document, with or without what asks to keep data.
pub fn document(drawn: &Drawn, keeps: bool) -> Document {
    let volumes = complete(drawn);
    let ratio = journals_per_device(&volumes);
    let build = Build { drawn, keeps, ratio, members: member_counts(drawn, &volumes) };
    let disks: Vec<Vec<Item>> = volumes.iter().enumerate().map(|(at, volumes)| build.items(at, volumes)).collect();
    let is_touched: Vec<bool> = disks.iter().map(|items| items.iter().any(|item| item.is_content)).collect();
    let mut spaces = Vec::new();
    let mut needs = Vec::new();
    for (at, (disk, mut items)) in drawn.disks.iter().zip(disks).enumerate() {
        if build.lists_boot(at, &is_touched) {
            items.insert(0, build.boot(disk));
        }
        items.insert(0, Item { value: json!({ "type": "boot", "size": 300 }), takes: 0, is_content: false });
        // The gap before the first, 24 and 200 for boot code, 20 for the config drive, the gap behind each, the backup.
        let needed = 1 + 25 + 201 + 21 + items.iter().map(|item| item.takes).sum::<u64>() + 1;
        let bootable = drawn.bootable.is_some_and(|index| index % drawn.disks.len() == at) && is_touched[at];
        let volumes = items.into_iter().map(|item| item.value).collect();
        spaces.push(describe(at, disk, mebibytes(disk, needed), bootable, volumes));
        needs.push(needed);
    }
    let sizes = group_sizes(drawn, &volumes);
    spaces.extend(drawn.groups.iter().enumerate().map(|(at, content)| build.group(at, content, sizes[at])));
    spaces.iter_mut().flat_map(|it| it["volumes"].as_array_mut().unwrap()).for_each(make_makeable);
    Document { value: fill(build.images(), spaces), needs }
}

/// Gives what is too small for its file system one that fits everywhere, and takes labels away that FAT cannot hold.
///
/// A member of an array gets what fits the smallest member of any: all members are of one kind.
fn make_makeable(volume: &mut Value) {
    let is_raid = volume["type"] == "raid";
    let kind = volume["file_system"].as_str().unwrap_or(if volume["mount"].is_string() { "xfs" } else { "none" });
    let is_small = |least: i64| is_raid || volume["size"].as_i64().unwrap() < least;
    // An image makes its own of the root file system.
    if volume["mount"] == "/" {
        return;
    }
    let is_too_small = match kind {
        "xfs" => is_small(300),
        "btrfs" => is_small(109),
        "ext3" => is_small(8),
        _ => false,
    };
    if kind == "vfat" && volume["disk_label"].as_str().is_some_and(|label| label.len() > 11 || label.contains('.')) {
        volume["disk_label"] = Value::Null;
    }
    if is_too_small && !(is_raid && volume["mount"] == "/boot") {
        volume["file_system"] = json!("ext2");
    }
}

fn fill(images: Value, spaces: Vec<Value>) -> Value {
    let mut document: Value = serde_json::from_str(TEMPLATE).unwrap();
    document["ks_meta"]["image_data"] = images;
    document["ks_meta"]["pm_data"]["ks_spaces"] = Value::Array(spaces);
    document
}

/// The volumes of every disk, with what carries the root file system.
fn complete(drawn: &Drawn) -> Vec<Vec<Volume>> {
    let mut disks: Vec<_> = drawn.disks.iter().map(|disk| disk.volumes.clone()).collect();
    let is_os = |volume: &Volume| matches!(volume, Volume::Physical { group, .. } if group % drawn.groups.len() == 0);
    match root(drawn) {
        Root::Volume if disks.iter().flatten().any(is_os) => {}
        Root::Volume => disks[0].push(Volume::Physical { group: 0, payload: 300, metadata: 64 }),
        // Shown as members of an array that no draw has.
        Root::Partition => disks[0].push(Volume::Member { array: usize::MAX, size: 1000 }),
        Root::Array => {
            disks.iter_mut().take(3).for_each(|disk| disk.push(Volume::Member { array: usize::MAX, size: 1000 }));
        }
    }
    disks
}

fn root(drawn: &Drawn) -> Root {
    match drawn.root {
        Root::Array if drawn.disks.len() < 2 => Root::Partition,
        root => root,
    }
}

fn journals_per_device(disks: &[Vec<Volume>]) -> u64 {
    let volumes = || disks.iter().flatten();
    let osds = volumes().filter(|it| matches!(it, Volume::Osd { .. })).count();
    let devices = volumes().filter(|it| matches!(it, Volume::Journal { .. })).count();
    if devices == 0 { 0 } else { osds.div_ceil(devices).try_into().unwrap() }
}

/// On how many disks each array has a member.
fn member_counts(drawn: &Drawn, disks: &[Vec<Volume>]) -> Vec<usize> {
    let is_of = |array: usize, wanted: usize| array != usize::MAX && array % drawn.arrays.len() == wanted;
    let has = |volumes: &[Volume], wanted: usize| {
        volumes.iter().any(|it| matches!(it, Volume::Member { array, .. } if is_of(*array, wanted)))
    };
    (0..drawn.arrays.len()).map(|wanted| disks.iter().filter(|volumes| has(volumes, wanted)).count()).collect()
}

/// The extents that LVM can make in each group: data begin 1 MiB after the first copy of the metadata, the second copy
/// ends the physical volume, and a copy has half of what `lvm_meta_size` leaves beside 8 MiB.
fn group_sizes(drawn: &Drawn, disks: &[Vec<Volume>]) -> Vec<u64> {
    let mut extents = vec![0; drawn.groups.len()];
    for volume in disks.iter().flatten() {
        if let Volume::Physical { group, payload, metadata } = volume {
            let copies = (metadata - 8) / 2 * 2;
            extents[group % drawn.groups.len()] += (payload + metadata - copies - 1) / 4;
        }
    }
    extents
}

fn describe(at: usize, disk: &DrawnDisk, size: u64, is_bootable: bool, volumes: Vec<Value>) -> Value {
    let extra = match disk.by {
        By::Extra => vec![link(at)],
        By::ExtraOfMany => vec!["disk/by-id/wwn-0xabsent".to_owned(), link(at)],
        By::Shared => vec!["disk/by-id/wwn-0xshared".to_owned()],
        By::StaleExtra => vec![format!("disk/by-id/ata-GONE{at}")],
        By::Id | By::Name => vec![],
    };
    let name = doc_name(at, disk);
    let id = if disk.by == By::Name { name.clone() } else { path_link(at) };
    json!({
        "type": "disk", "id": id, "name": name, "size": size, "free_space": 7, "extra": extra,
        "bootable": is_bootable, "volumes": volumes,
    })
}

struct Build<'a> {
    drawn: &'a Drawn,
    keeps: bool,
    ratio: u64,
    members: Vec<usize>,
}

impl Build<'_> {
    fn items(&self, at: usize, volumes: &[Volume]) -> Vec<Item> {
        let mut seen = Vec::new();
        let mut items = Vec::new();
        for (index, volume) in volumes.iter().enumerate() {
            if let Volume::Member { array, .. } = volume {
                // One member of an array a disk is enough.
                let array = if *array == usize::MAX { *array } else { array % self.drawn.arrays.len().max(1) };
                if seen.contains(&array) {
                    continue;
                }
                seen.push(array);
            }
            items.extend(self.item(&format!("{at}-{index}"), volume));
        }
        items
    }

    fn item(&self, name: &str, volume: &Volume) -> Option<Item> {
        let sized = |size: u64, value: Value| Some(Item { value, takes: size + 1, is_content: true });
        match volume {
            Volume::Nothing { kind, size } => Some(Item { value: nothing(*kind, *size), takes: 0, is_content: false }),
            Volume::Reservation { is_pool, size } => {
                let kind = if *is_pool { "lvm_meta_pool" } else { "boot" };
                Some(Item { value: json!({ "type": kind, "size": size }), takes: 0, is_content: false })
            }
            Volume::Partition { size, content, guid, is_kept } => {
                let mut value = self.filled("partition", *size, content, &format!("/data/{name}"));
                value["name"] = json!(format!("part-{name}"));
                value["partition_guid"] = guid.map_or(Value::Null, |guid| json!(GUIDS[guid]));
                sized(*size, self.kept(value, *is_kept))
            }
            Volume::Physical { group, payload, metadata } => {
                let group = group % self.drawn.groups.len();
                let size = payload + metadata;
                let value = json!({ "type": "pv", "vg": GROUPS[group], "size": size, "lvm_meta_size": metadata });
                let carries_root = group == 0 && matches!(root(self.drawn), Root::Volume);
                sized(size, self.kept(value, self.drawn.keeps.groups[group] && !carries_root))
            }
            Volume::Member { array, size } => self.member(*array, *size).and_then(|value| sized(*size, value)),
            Volume::LooseMember { size, is_kept } => {
                sized(*size, self.kept(json!({ "type": "raid", "size": size, "mount": "none" }), *is_kept))
            }
            Volume::Osd { size } => {
                let value = json!({
                    "type": "partition", "name": "ceph", "size": size, "mount": "none", "file_system": "none",
                    "disk_label": null, "partition_guid": OSD,
                });
                sized(*size, self.kept(value, self.drawn.keeps.osds))
            }
            Volume::Journal { size, is_partition } => {
                let (size, kind) = (*size.max(&self.ratio), if *is_partition { "partition" } else { "raid" });
                let value = json!({
                    "type": kind, "name": "cephjournal", "size": size, "mount": "none", "partition_guid": JOURNAL,
                });
                Some(Item {
                    value: self.kept(value, self.drawn.keeps.journals),
                    takes: size + self.ratio,
                    is_content: true,
                })
            }
        }
    }

    /// A member of an array, or a partition where it would be the only one.
    fn member(&self, array: usize, size: u64) -> Option<Value> {
        if array == usize::MAX {
            let kind = if matches!(root(self.drawn), Root::Array) { "raid" } else { "partition" };
            return Some(json!({ "type": kind, "size": size, "mount": "/", "file_system": self.root_file_system() }));
        }
        if self.drawn.arrays.is_empty() {
            return None;
        }
        let array = array % self.drawn.arrays.len();
        let content = &self.drawn.arrays[array];
        // All members for swap are of one array.
        let is_other_swap = |at: usize| matches!(self.drawn.arrays[at], Content::Swap { .. });
        if is_other_swap(array) && (0..array).any(is_other_swap) {
            return None;
        }
        let kind = if self.members[array] < 2 { "partition" } else { "raid" };
        let value = self.filled(kind, size, content, &format!("/array/{array}"));
        Some(self.kept(value, self.drawn.keeps.arrays[array]))
    }

    fn filled(&self, kind: &str, size: u64, content: &Content, mount: &str) -> Value {
        let mut value = Map::new();
        value.insert("type".to_owned(), json!(kind));
        value.insert("size".to_owned(), json!(size));
        let mut put = |key: &str, item: Value| value.insert(key.to_owned(), item);
        match content {
            Content::Mounted { depth, file_system, label } => {
                put("mount", json!(format!("{mount}{}", "/deeper".repeat(*depth))));
                if let Some(file_system) = file_system {
                    put("file_system", json!(FILE_SYSTEMS[*file_system]));
                }
                put("disk_label", json!(label));
            }
            Content::Unmounted { file_system, label } => {
                put("mount", json!("none"));
                put("file_system", json!(FILE_SYSTEMS[*file_system]));
                put("disk_label", json!(label));
            }
            Content::Swap { label } => {
                put("mount", json!("swap"));
                put("file_system", json!("swap"));
                put("disk_label", json!(label));
            }
            Content::Bare => {
                put("mount", json!("none"));
                put("file_system", json!("none"));
            }
        }
        Value::Object(value)
    }

    fn kept(&self, mut value: Value, is_kept: bool) -> Value {
        if self.keeps && is_kept {
            value["keep_data"] = json!(true);
        }
        value
    }

    fn lists_boot(&self, at: usize, is_touched: &[bool]) -> bool {
        let is_nvme = |at: usize| self.drawn.disks[at].node == Node::Nvme;
        match self.drawn.boot {
            Boot::Nowhere => false,
            Boot::First => is_touched.iter().position(|touched| *touched) == Some(at),
            // A disk with nothing else gets no partitions, so that it may list /boot only beside one that has it.
            Boot::Everywhere => is_touched[at] || (0..is_touched.len()).any(|at| is_touched[at] && !is_nvme(at)),
        }
    }

    fn boot(&self, disk: &DrawnDisk) -> Item {
        let kind = if disk.is_boot_raid { "raid" } else { "partition" };
        let mut value = json!({ "type": kind, "size": disk.boot_size, "mount": "/boot", "name": "Boot" });
        if self.drawn.has_boot_image {
            value["file_system"] = json!("ext2");
        }
        let value = self.kept(value, self.drawn.keeps.boot && !self.drawn.has_boot_image);
        Item { value, takes: disk.boot_size + 1, is_content: false }
    }

    fn group(&self, at: usize, content: &[Logical], extents: u64) -> Value {
        let name = GROUPS[at];
        let mut left = extents;
        let mut volumes = Vec::new();
        if at == 0 && matches!(root(self.drawn), Root::Volume) {
            let size = left.div_ceil(2).min(MAX_ROOT);
            left -= size;
            volumes.push(json!({
                "type": "lv", "name": "root", "mount": "/", "size": size * 4, "file_system": self.root_file_system()
            }));
        }
        for (index, logical) in content.iter().enumerate() {
            let share = left * logical.share / 1000;
            left -= share;
            let size = i64::try_from(share * 4).unwrap() - i64::try_from(logical.below).unwrap();
            let mut value = self.filled("lv", 0, &logical.content, &format!("/{name}/{index}"));
            value["size"] = json!(size);
            value["name"] = json!(format!("lv-{index}"));
            volumes.push(value);
        }
        json!({ "type": "vg", "id": name, "label": name, "min_size": 0, "_allocate_size": "all", "volumes": volumes })
    }

    fn root_file_system(&self) -> &'static str {
        if self.drawn.has_boot_image { "ext4" } else { "xfs" }
    }

    fn images(&self) -> Value {
        let image = |uri: &str, format: &str| json!({ "uri": uri, "format": format, "container": "gzip" });
        let mut images = json!({ "/": image("http://10.20.0.2:8080/root.img.gz", self.root_file_system()) });
        if self.drawn.has_boot_image && !matches!(self.drawn.boot, Boot::Nowhere) {
            images["/boot"] = image("http://10.20.0.2:8080/boot.img.gz", "ext2");
        }
        images
    }
}

fn nothing(kind: usize, size: i64) -> Value {
    match kind {
        0 => json!({ "type": "pv", "vg": GROUPS[0], "size": size, "lvm_meta_size": 0 }),
        1 => json!({ "type": "partition", "size": size, "mount": "/nothing", "file_system": "ext4" }),
        2 => json!({ "type": "raid", "size": size, "mount": "/nothing/either" }),
        _ => json!({ "type": "partition", "name": "ceph", "size": size, "mount": "none", "file_system": "none" }),
    }
}
