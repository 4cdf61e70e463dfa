//! The kernel's block devices: disks, partitions and what is built on them, read once.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;
use super::udev_db::Record;
use crate::units::Bytes;

/// sysfs counts in units of 512 bytes, whatever the sector size.
const SYSFS_SECTOR: u64 = 512;

/// The deepest stack that is followed: LVM on crypt on md on partitions is four.
const DEPTH: usize = 16;

/// A block device, a partition included.
pub(super) struct Device {
    /// Name in sysfs: `sda1`, `dm-0`, `cciss!c0d0`.
    pub(super) kernel_name: String,
    /// Path of its folder: `/sys/block/sda/sda1`.
    pub(super) base: String,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) size: Bytes,
    /// Kernel names of the devices directly on top of it.
    holders: Vec<String>,
    pub(super) record: Record,
    /// For device-mapper devices name and UUID.
    pub(super) dm: Option<(String, String)>,
    /// For a partition number, offset and kernel name of its disk.
    pub(super) partition: Option<(u32, Bytes, String)>,
}

impl Device {
    /// The kernel's name with `/` for `!`, a multipath map's own name.
    pub(super) fn name(&self) -> String {
        match &self.dm {
            Some((name, _)) if self.is_multipath() => format!("mapper/{name}"),
            _ => self.kernel_name.replace('!', "/"),
        }
    }

    /// The node that people know it by.
    pub(super) fn node(&self) -> String {
        match &self.dm {
            Some((name, _)) => format!("/dev/mapper/{name}"),
            None => format!("/dev/{}", self.kernel_name.replace('!', "/")),
        }
    }

    /// Its name for people: `os-root` for a device-mapper device.
    pub(super) fn label(&self) -> String {
        self.dm.as_ref().map_or_else(|| self.kernel_name.replace('!', "/"), |(name, _)| name.clone())
    }

    pub(super) fn is_multipath(&self) -> bool {
        self.dm.as_ref().is_some_and(|(_, uuid)| uuid.to_ascii_lowercase().starts_with("mpath-"))
    }

    /// For a partition of a device-mapper disk (kpartx: `part1-mpath-..`) its number and the UUID of the disk.
    pub(super) fn mapped_partition(&self) -> Option<(u32, &str)> {
        let (number, uuid) = self.dm.as_ref()?.1.strip_prefix("part")?.split_once('-')?;
        Some((number.parse().ok()?, uuid))
    }
}

/// All block devices by kernel name.
pub(super) struct Devices(BTreeMap<String, Device>);

impl Devices {
    /// Reads `/sys/block` with udev's records.
    pub(super) fn read(tree: &Tree) -> Self {
        let mut devices = BTreeMap::new();
        tree.names("/sys/block").into_iter().for_each(|name| add_with_partitions(tree, &mut devices, name));
        Self(devices)
    }

    /// Reads one disk, what it is made of, and everything that is built on it: of a machine with many disks a small part.
    pub(super) fn around(tree: &Tree, disk: &str) -> Self {
        let mut devices = BTreeMap::new();
        let mut names = vec![disk.to_owned()];
        names.extend(tree.names(&format!("/sys/block/{disk}/slaves")));
        while let Some(name) = names.pop() {
            // What is built on a partition is no disk's own folder; the disk of such a part is not asked for.
            if devices.contains_key(&name) || !tree.exists(&format!("/sys/block/{name}")) {
                continue;
            }
            add_with_partitions(tree, &mut devices, name.clone());
            let of_disk = |device: &&Device| {
                device.kernel_name == name || device.partition.as_ref().is_some_and(|(_, _, disk)| *disk == name)
            };
            names.extend(devices.values().filter(of_disk).flat_map(|device| device.holders.iter().cloned()));
        }
        Self(devices)
    }

    pub(super) fn get(&self, kernel_name: &str) -> Option<&Device> {
        self.0.get(kernel_name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Device> {
        self.0.values()
    }

    /// The device with this number.
    pub(super) fn numbered(&self, major: u32, minor: u32) -> Option<&Device> {
        self.all().find(|device| (device.major, device.minor) == (major, minor))
    }

    /// The device that a path below `/dev` names: its node, its kernel node or one of its links.
    pub(super) fn at(&self, path: &str) -> Option<&Device> {
        self.all().find(|device| {
            let kernel_node =
                path.strip_prefix("/dev/").is_some_and(|name| name.replace('/', "!") == device.kernel_name);
            kernel_node || device.node() == path || device.record.links.iter().any(|link| link == path)
        })
    }

    /// Partitions of a disk, by number.
    pub(super) fn partitions_of(&self, disk: &Device) -> Vec<&Device> {
        let of_disk = |device: &&Device| {
            device.partition.as_ref().is_some_and(|(_, _, name)| *name == disk.kernel_name)
                || device.mapped_partition().is_some_and(|(_, uuid)| disk.dm.as_ref().is_some_and(|dm| dm.1 == uuid))
        };
        let mut partitions: Vec<_> = self.all().filter(of_disk).collect();
        partitions.sort_by_key(|device| {
            device
                .partition
                .as_ref()
                .map(|(number, ..)| *number)
                .or(device.mapped_partition().map(|(number, _)| number))
        });
        partitions
    }

    /// Everything built on a device, directly or through others, each once.
    pub(super) fn holders_of(&self, device: &Device) -> Vec<&Device> {
        let mut seen = BTreeSet::from([device.kernel_name.as_str()]);
        let mut found = Vec::new();
        let mut level = vec![device];
        for _ in 0..DEPTH {
            let mut above = Vec::new();
            for holder in level.iter().flat_map(|device| &device.holders).filter_map(|name| self.get(name)) {
                if seen.insert(holder.kernel_name.as_str()) {
                    found.push(holder);
                    above.push(holder);
                    above.extend(self.partitions_of(holder).into_iter().filter(|part| part.partition.is_some()));
                }
            }
            if above.is_empty() {
                break;
            }
            level = above;
        }
        found
    }
}

fn add_with_partitions(tree: &Tree, devices: &mut BTreeMap<String, Device>, name: String) {
    let base = format!("/sys/block/{name}");
    for part in tree.names(&base).into_iter().filter(|part| part.starts_with(name.as_str())) {
        let part_base = format!("{base}/{part}");
        let number = tree.number(&format!("{part_base}/partition"));
        let start = tree.number::<u64>(&format!("{part_base}/start")).and_then(sectors);
        if let (Some(number), Some(start)) = (number, start) {
            add(tree, devices, part, part_base, Some((number, start, name.clone())));
        }
    }
    add(tree, devices, name, base, None);
}

fn add(
    tree: &Tree,
    devices: &mut BTreeMap<String, Device>,
    kernel_name: String,
    base: String,
    partition: Option<(u32, Bytes, String)>,
) {
    let number = tree.attribute(&format!("{base}/dev"));
    let Some((major, minor)) = number.as_deref().and_then(|number| {
        let (major, minor) = number.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }) else {
        tree.warn(base, "left out: it has no device number");
        return;
    };
    let Some(size) = tree.number::<u64>(&format!("{base}/size")).and_then(sectors) else {
        tree.warn(base, "left out: its size could not be read");
        return;
    };
    let dm = tree.attribute(&format!("{base}/dm/name")).map(|name| {
        let uuid = tree.attribute(&format!("{base}/dm/uuid")).unwrap_or_default();
        (name, uuid)
    });
    let record = Record::of_block(tree, (major, minor)).unwrap_or_default();
    let holders = tree.names(&format!("{base}/holders"));
    devices
        .insert(kernel_name.clone(), Device { kernel_name, base, major, minor, size, holders, record, dm, partition });
}

fn sectors(count: u64) -> Option<Bytes> {
    count.checked_mul(SYSFS_SECTOR).map(Bytes::new)
}
