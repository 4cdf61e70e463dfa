//! Expectations against facts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Difference;
use crate::layout::LVM_EXTENT;
use crate::plan::{PartitionPlace, TablePartition};
use crate::units::Mib;

/// A partition table as it was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// `gpt`.
    pub label: String,
    /// Identity of the disk, lower case.
    pub guid: String,
    /// Its partitions.
    pub partitions: Vec<TablePartitionFacts>,
}

/// A partition as it was read; places in bytes, GUIDs in lower case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TablePartitionFacts {
    pub device: String,
    pub start: u64,
    pub size: u64,
    pub type_guid: String,
    pub guid: String,
    pub name: String,
}

/// What the first sector of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFacts {
    /// 55AA at its end.
    pub has_signature: bool,
    /// GRUB's code.
    pub has_grub: bool,
}

fn differ(subject: &str, expected: impl ToString, found: impl ToString) -> Option<Difference> {
    let (expected, found) = (expected.to_string(), found.to_string());
    (expected != found).then(|| Difference { subject: subject.to_owned(), expected, found })
}

pub fn table(device: &str, guid: &str, partitions: &[TablePartition], found: &TableFacts) -> Vec<Difference> {
    let mut differences: Vec<_> =
        differ(&format!("kind of partition table of {device}"), "gpt", &found.label).into_iter().collect();
    differences.extend(differ(&format!("GUID of {device}"), guid, &found.guid));
    let shown = |device: &str, start: u64, size: u64, kind: &str, guid: &str, name: &str| {
        format!("{device} at byte {start} of {size} bytes, type {kind}, GUID {guid}, name {name:?}")
    };
    let planned: BTreeMap<_, _> = partitions
        .iter()
        .map(|it| {
            (it.device.as_str(), shown(&it.device, it.start.get(), it.size.get(), &it.type_guid, &it.guid, &it.name))
        })
        .collect();
    let present: BTreeMap<_, _> = found
        .partitions
        .iter()
        .map(|it| (it.device.as_str(), shown(&it.device, it.start, it.size, &it.type_guid, &it.guid, &it.name)))
        .collect();
    let devices: BTreeSet<_> = planned.keys().chain(present.keys()).collect();
    let nothing = "no such partition".to_owned();
    differences.extend(devices.into_iter().filter_map(|it| {
        let (planned, present) = (planned.get(it).unwrap_or(&nothing), present.get(it).unwrap_or(&nothing));
        differ(&format!("partition {it}"), planned, present)
    }));
    differences
}

/// Where partitions lie, and nothing else of the table.
pub fn places(device: &str, partitions: &[PartitionPlace], found: &TableFacts) -> Vec<Difference> {
    let shown = |device: &str, start: u64, size: u64| format!("{device} at byte {start} of {size} bytes");
    let join = |places: Vec<String>| if places.is_empty() { "none".to_owned() } else { places.join(", ") };
    let planned = partitions.iter().map(|it| shown(&it.device, it.start.get(), it.size.get())).collect();
    let present = found.partitions.iter().map(|it| shown(&it.device, it.start, it.size)).collect();
    differ(&format!("partitions of {device}"), join(planned), join(present)).into_iter().collect()
}

/// What libblkid finds on a device.
pub fn content(device: &str, kind: &str, found: &BTreeMap<String, String>) -> Vec<Difference> {
    let present = found.get("TYPE").map_or("nothing known", String::as_str);
    differ(&format!("content of {device}"), kind, present).into_iter().collect()
}

/// An array as it is planned.
pub struct WantedArray<'a> {
    pub device: &'a str,
    pub level: &'a str,
    /// Version of its superblock; `default` is that of mdadm.
    pub metadata: Option<&'a str>,
    pub uuid: Option<&'a str>,
    pub members: &'a [String],
}

pub fn array(wanted: &WantedArray<'_>, found: &BTreeMap<String, String>) -> Vec<Difference> {
    let WantedArray { device, level, metadata, uuid, members } = *wanted;
    let fact = |key: &str| found.get(key).cloned().unwrap_or_else(|| "none".to_owned());
    // mdadm tells the number of a level that was asked for by name.
    let level = match level {
        "mirror" => "raid1",
        "stripe" => "raid0",
        other => other,
    };
    let mut differences: Vec<_> = differ(&format!("level of {device}"), level, fact("MD_LEVEL")).into_iter().collect();
    let metadata = metadata.map(|metadata| if metadata == "default" { "1.2" } else { metadata });
    differences.extend(metadata.and_then(|it| differ(&format!("metadata of {device}"), it, fact("MD_METADATA"))));
    differences.extend(differ(&format!("number of members of {device}"), members.len(), fact("MD_DEVICES")));
    let digits = |text: &str| text.replace(['-', ':'], "").to_lowercase();
    differences
        .extend(uuid.and_then(|uuid| differ(&format!("UUID of {device}"), digits(uuid), digits(&fact("MD_UUID")))));
    let present: BTreeSet<_> =
        found.iter().filter(|(key, _)| key.ends_with("_DEV")).map(|(_, it)| it.as_str()).collect();
    let planned: BTreeSet<_> = members.iter().map(String::as_str).collect();
    differences.extend(differ(&format!("members of {device}"), join(&planned), join(&present)));
    differences
}

pub fn group(name: &str, physical_volumes: &[String], found: &[String]) -> Vec<Difference> {
    let sorted = |names: &[String]| join(&names.iter().map(String::as_str).collect());
    let subject = format!("physical volumes of volume group {name}");
    differ(&subject, sorted(physical_volumes), sorted(found)).into_iter().collect()
}

fn join(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}

pub fn volume(group: &str, name: &str, size: Mib, found: Option<u64>) -> Vec<Difference> {
    let extents = size.get().checked_next_multiple_of(LVM_EXTENT.get()).map(Mib::new);
    let planned = extents.and_then(Mib::bytes).map_or(u64::MAX, |size| size.get());
    let found = found.map_or_else(|| "no such volume".to_owned(), |size| format!("{size} bytes"));
    differ(&format!("volume {group}/{name}"), format!("{planned} bytes"), found).into_iter().collect()
}

pub fn file_system(
    device: &str,
    kind: &str,
    uuid: &str,
    label: Option<&str>,
    found: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let fact = |key: &str| found.get(key).map_or("none", String::as_str);
    let mut differences: Vec<_> = differ(&format!("file system on {device}"), kind, fact("TYPE")).into_iter().collect();
    differences.extend(differ(&format!("UUID of {device}"), uuid, fact("UUID")));
    // Without a wish the image's own label is right.
    differences.extend(label.and_then(|label| differ(&format!("label of {device}"), label, fact("LABEL"))));
    differences
}

pub fn fstab(lines: &[String], found: &[String]) -> Vec<Difference> {
    differ("/etc/fstab of the installed system", lines.join(" | "), found.join(" | ")).into_iter().collect()
}

pub fn boot_code(device: &str, found: &BootFacts) -> Vec<Difference> {
    let found = match (found.has_grub, found.has_signature) {
        (true, true) => "GRUB",
        (true, false) => "GRUB without the boot signature 55AA",
        (false, _) => "no GRUB",
    };
    differ(&format!("boot code of {device}"), "GRUB", found).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn planned() -> TablePartition {
        TablePartition {
            number: 1,
            device: "/dev/sda1".to_owned(),
            start: Bytes::mib(1),
            size: Bytes::mib(24),
            type_guid: "t".to_owned(),
            guid: "g".to_owned(),
            name: "n".to_owned(),
        }
    }

    fn found() -> TableFacts {
        let partition = TablePartitionFacts {
            device: "/dev/sda1".to_owned(),
            start: 1 << 20,
            size: 24 << 20,
            type_guid: "t".to_owned(),
            guid: "g".to_owned(),
            name: "n".to_owned(),
        };
        TableFacts { label: "gpt".to_owned(), guid: "d".to_owned(), partitions: vec![partition] }
    }

    #[test]
    fn equal_tables_do_not_differ() {
        assert_eq!(table("/dev/sda", "d", &[planned()], &found()), []);
    }

    #[test]
    fn every_difference_of_a_table_is_told() {
        let mut facts = found();
        facts.guid = "other".to_owned();
        facts.partitions[0].size -= 512;
        facts.partitions.push(TablePartitionFacts { device: "/dev/sda2".to_owned(), ..facts.partitions[0].clone() });
        let told: Vec<_> = table("/dev/sda", "d", &[planned()], &facts).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "GUID of /dev/sda: expected d, found other",
                "partition /dev/sda1: expected /dev/sda1 at byte 1048576 of 25165824 bytes, type t, GUID g, name \"n\", found /dev/sda1 at byte 1048576 of 25165312 bytes, type t, GUID g, name \"n\"",
                "partition /dev/sda2: expected no such partition, found /dev/sda2 at byte 1048576 of 25165312 bytes, type t, GUID g, name \"n\"",
            ]
        );
    }

    #[test]
    fn volumes_are_rounded_up_to_extents() {
        assert_eq!(volume("os", "root", Mib::new(1001), Some(1004 << 20)), []);
        assert_eq!(
            volume("os", "root", Mib::new(1001), None)[0].to_string(),
            "volume os/root: expected 1052770304 bytes, found no such volume"
        );
    }

    #[test]
    fn every_difference_of_an_array_is_told() {
        let members = ["/dev/sda3".to_owned(), "/dev/sdb3".to_owned()];
        let wanted = WantedArray {
            device: "/dev/md0",
            level: "mirror",
            metadata: Some("default"),
            uuid: Some("0bf1a2c3-d4e5-f607-1829-3a4b5c6d7e8f"),
            members: &members,
        };
        let facts = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let right = facts(&[
            ("MD_LEVEL", "raid1"),
            ("MD_METADATA", "1.2"),
            ("MD_DEVICES", "2"),
            ("MD_UUID", "0bf1a2c3:d4e5f607:18293a4b:5c6d7e8f"),
            ("MD_DEVICE_dev_sda3_DEV", "/dev/sda3"),
            ("MD_DEVICE_dev_sdb3_DEV", "/dev/sdb3"),
        ]);
        assert_eq!(array(&wanted, &right), []);
        let wrong = facts(&[("MD_LEVEL", "raid0"), ("MD_METADATA", "0.90"), ("MD_DEVICES", "1")]);
        let told: Vec<_> = array(&wanted, &wrong).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "level of /dev/md0: expected raid1, found raid0",
                "metadata of /dev/md0: expected 1.2, found 0.90",
                "number of members of /dev/md0: expected 2, found 1",
                "UUID of /dev/md0: expected 0bf1a2c3d4e5f60718293a4b5c6d7e8f, found none",
                "members of /dev/md0: expected /dev/sda3, /dev/sdb3, found none",
            ]
        );
    }

    #[test]
    fn a_stub_is_not_boot_code() {
        let stub = BootFacts { has_signature: true, has_grub: false };
        assert_eq!(boot_code("/dev/sda", &stub)[0].to_string(), "boot code of /dev/sda: expected GRUB, found no GRUB");
    }
}
