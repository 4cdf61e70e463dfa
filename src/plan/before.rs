//! What is on the disks of a plan when it is made, in words that let a person recognise it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::{Disk, Inventory, Signature};
use crate::plan::DiskIdentity;
use crate::plan::steps::identify;
use crate::units::Bytes;

/// libblkid's word for an LVM physical volume.
pub const LVM_MEMBER: &str = "LVM2_member";
/// libblkid's word for a member of an md array.
pub const ARRAY_MEMBER: &str = "linux_raid_member";

/// What becomes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is erased and gets a table of its own.
    Prepared,
    /// Its table stays, and what the request asks to keep.
    Kept,
}

/// A disk of the plan and what was on it when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskBefore {
    /// Which disk.
    pub disk: DiskIdentity,
    /// What becomes of it.
    pub fate: Fate,
    /// Kind of its partition table: `gpt`, `dos`.
    pub table: Option<String>,
    /// What lies on the whole disk, in words: `ext4 label data`.
    pub content: Vec<String>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionBefore>,
}

/// A partition that was there when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartitionBefore {
    /// Number.
    pub number: u32,
    /// Device node.
    pub device: String,
    /// Offset from the start of the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
    /// What lies on it, in words: `part of VG os`.
    pub content: Vec<String>,
}

/// The disks of a plan as they are now.
pub fn look(disks: &[&Disk], kept: &BTreeSet<String>, inventory: &Inventory) -> Vec<DiskBefore> {
    let one = |disk: &&Disk| DiskBefore {
        disk: identify(disk),
        fate: if kept.contains(&disk.device) { Fate::Kept } else { Fate::Prepared },
        table: disk.table.clone(),
        content: content(disk, &disk.device, inventory),
        partitions: disk
            .partitions
            .iter()
            .map(|it| PartitionBefore {
                number: it.number,
                device: it.device.clone(),
                start: it.start,
                size: it.size,
                content: content(disk, &it.device, inventory),
            })
            .collect(),
    };
    disks.iter().map(one).collect()
}

/// What lies on a disk or a partition of it, in words.
pub fn content(disk: &Disk, device: &str, inventory: &Inventory) -> Vec<String> {
    let groups =
        inventory.volume_groups.iter().filter(|group| group.physical_volumes.iter().any(|pv| pv.device == device));
    let arrays = inventory.arrays.iter().filter(|array| array.members.iter().any(|member| member == device));
    let mut words: Vec<_> = groups.map(|group| format!("part of VG {}", group.name)).collect();
    words.extend(arrays.map(|array| format!("part of array {}", array.device)));
    words.extend(unexplained(disk, inventory).filter(|it| it.device == device).map(describe));
    words
}

/// Signatures that no known group or array accounts for.
pub fn unexplained<'a>(disk: &'a Disk, inventory: &'a Inventory) -> impl Iterator<Item = &'a Signature> {
    let in_group = |device: &str| {
        inventory.volume_groups.iter().any(|group| group.physical_volumes.iter().any(|pv| pv.device == device))
    };
    let in_array =
        |device: &str| inventory.arrays.iter().any(|array| array.members.iter().any(|member| member == device));
    disk.signatures.iter().filter(move |it| match it.kind.as_str() {
        LVM_MEMBER => !in_group(&it.device),
        ARRAY_MEMBER => !in_array(&it.device),
        _ => true,
    })
}

/// A signature in words: `ext4 label data`.
pub fn describe(signature: &Signature) -> String {
    let label = signature.label.as_ref().map_or_else(String::new, |label| format!(" label {label}"));
    format!("{}{label}", kind(&signature.kind))
}

/// libblkid's word for a kind of content, where people have another.
pub fn kind(blkid: &str) -> &str {
    match blkid {
        "ntfs" => "Windows NTFS",
        "BitLocker" => "Windows BitLocker",
        "vfat" => "FAT",
        "hfsplus" => "macOS HFS+",
        "apfs" => "macOS APFS",
        "VMFS" | "VMFS_volume_member" => "VMware VMFS",
        "crypto_LUKS" => "LUKS encrypted data",
        "zfs_member" => "member of a ZFS pool",
        "ceph_bluestore" => "Ceph BlueStore OSD",
        "isw_raid_member" => "member of an Intel firmware RAID",
        "ddf_raid_member" => "member of a DDF firmware RAID",
        LVM_MEMBER => "LVM physical volume of no known group",
        ARRAY_MEMBER => "member of an md array that does not run",
        other => other,
    }
}
