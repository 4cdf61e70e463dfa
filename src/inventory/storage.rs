//! The inventory's data model of storage: disks and what is built on them.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, SectorSize};

/// A whole disk: what carries a partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Disk {
    /// Kernel name with `/` for `!`, without `/dev/`: `sda`, `cciss/c0d0`, `mapper/NAME` for a multipath map.
    pub name: String,
    /// Device node: `/dev/sda`.
    pub device: String,
    /// Size.
    pub size: Bytes,
    /// Bytes per logical sector.
    pub sector_size: SectorSize,
    /// Device number, major.
    pub major: u32,
    /// Device number, minor.
    pub minor: u32,
    /// Every link to it that udev made, sorted: `/dev/disk/by-id/..`, `/dev/disk/by-path/..`, `/dev/mapper/..`.
    #[serde(default)]
    pub links: Vec<String>,
    /// Model as the device says it, trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World wide name, `0x..` or `eui...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// How it is attached: `ata`, `scsi`, `nvme`, `virtio`, `usb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Whether it rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_rotational: Option<bool>,
    /// Whether the kernel marks it removable.
    #[serde(default)]
    pub is_removable: bool,
    /// Whether it refuses writes.
    #[serde(default)]
    pub is_read_only: bool,
    /// Optimal I/O size, else minimal, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal_io: Option<u64>,
    /// For device-mapper devices their UUID (`mpath-..`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dm_uuid: Option<String>,
    /// For a multipath map the disks that are its paths; they are no entries of their own in the inventory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<MultipathPath>,
    /// Kind of the partition table on it: `gpt`, `dos`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whether its table is a GPT without a protective MBR before it, as Astute's `erase_node` leaves it: the kernel sees
    /// no partitions then, and those told here were read from the disk.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lacks_protective_mbr: bool,
    /// Partitions, by number.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// What is on the whole disk or on its partitions.
    #[serde(default)]
    pub signatures: Vec<Signature>,
    /// Superblocks and magic numbers that were found on it and on its partitions, also those that no signature tells of:
    /// what lay there earlier, copies, what is hidden beneath something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Trace>,
    /// Whether the first and the last MiB hold anything but zeroes; absent when they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_data: Option<bool>,
    /// What uses it or its partitions now: mounts, swap, holders.
    #[serde(default)]
    pub uses: Vec<Use>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Disk {
    /// A disk of which nothing is known but its name and size; sectors are taken to have 512 bytes.
    #[must_use]
    pub fn unknown(name: &str, size: Bytes) -> Self {
        Self {
            name: name.to_owned(),
            device: format!("/dev/{name}"),
            size,
            sector_size: SectorSize::B512,
            major: 0,
            minor: 0,
            links: Vec::new(),
            model: None,
            serial: None,
            wwn: None,
            transport: None,
            is_rotational: None,
            is_removable: false,
            is_read_only: false,
            optimal_io: None,
            dm_uuid: None,
            paths: Vec::new(),
            table: None,
            lacks_protective_mbr: false,
            partitions: Vec::new(),
            signatures: Vec::new(),
            traces: Vec::new(),
            has_data: None,
            uses: Vec::new(),
        }
    }

    /// Links below `/dev/disk/by-id/`.
    pub fn by_id(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(String::as_str).filter(|link| link.starts_with("/dev/disk/by-id/"))
    }

    /// Links below `/dev/disk/by-path/`.
    pub fn by_path(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(String::as_str).filter(|link| link.starts_with("/dev/disk/by-path/"))
    }

    /// The device node of one of its partitions.
    #[must_use]
    pub fn partition_device(&self, number: u32) -> String {
        partition_device(&self.device, number)
    }

    /// Whether it is a multipath map.
    #[must_use]
    pub fn is_multipath(&self) -> bool {
        self.dm_uuid.as_deref().is_some_and(|uuid| uuid.to_ascii_lowercase().starts_with("mpath"))
    }

    /// Whether nothing at all was found on it. Unknown counts as not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.has_data == Some(false)
            && self.table.is_none()
            && self.partitions.is_empty()
            && self.signatures.is_empty()
            && self.uses.is_empty()
    }
}

/// The device node of a partition: `p` after a disk name that ends with a digit, as the kernel does it; `-part` for
/// multipath maps, as kpartx does it.
#[must_use]
pub fn partition_device(disk: &str, number: u32) -> String {
    let separator = if disk.starts_with("/dev/mapper/") {
        "-part"
    } else if disk.ends_with(|c: char| c.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    format!("{disk}{separator}{number}")
}

/// A disk that is one way to the storage behind a multipath map, and therefore nothing to write to by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MultipathPath {
    /// Kernel name, as in [`Disk::name`].
    pub name: String,
    /// Every link to it that udev made, sorted.
    #[serde(default)]
    pub links: Vec<String>,
}

/// A partition as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Partition {
    /// Number in its table.
    pub number: u32,
    /// Device node.
    pub device: String,
    /// Offset from the start of the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
}

/// Something recognised on a disk or partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Signature {
    /// Where: the disk's or the partition's device node.
    pub device: String,
    /// What, in libblkid's words: `ext4`, `LVM2_member`, `linux_raid_member`, `swap`, `ntfs`.
    pub kind: String,
    /// Label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// A superblock or magic number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trace {
    /// Where: the disk's or the partition's device node.
    pub device: String,
    /// What, in libblkid's words.
    pub kind: String,
    /// Offset from the start of that device.
    pub offset: Bytes,
}

/// What uses a disk or one of its partitions now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Use {
    /// A mounted file system.
    Mount {
        /// The mounted device.
        device: String,
        /// Where.
        path: String,
    },
    /// Active swap.
    Swap {
        /// The device.
        device: String,
    },
    /// A device built on top of it (LVM, md, crypt, ...).
    Holder {
        /// The disk or partition that is held.
        device: String,
        /// Kernel name of the device on top: `dm-0`, `md127`.
        by: String,
        /// Its name for people: `os-root`, `md127`.
        name: String,
        /// Of a device-mapper device its UUID, which tells whose it is: `LVM-..`, `CRYPT-..`, `mpath-..`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
    },
}

/// An LVM volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VolumeGroup {
    /// Name.
    pub name: String,
    /// LVM's own UUID form.
    pub uuid: String,
    /// Where it lies.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// What it holds.
    pub logical_volumes: Vec<LogicalVolume>,
}

/// An LVM physical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhysicalVolume {
    /// Device node, or `[unknown]` for a missing one.
    pub device: String,
    /// LVM's own UUID form.
    pub uuid: String,
}

/// An LVM logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogicalVolume {
    /// Name.
    pub name: String,
    /// Size.
    pub size: Bytes,
    /// Whether it is active.
    pub is_active: bool,
}

/// An md array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Array {
    /// Device node: `/dev/md0`.
    pub device: String,
    /// Level: `raid1`, `container`; absent when the array is inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Array UUID in mdadm's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Whether it runs.
    pub is_active: bool,
    /// Device nodes of its members.
    pub members: Vec<String>,
    /// Whether it is a firmware RAID container or a volume in one.
    pub is_firmware: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_devices_are_named_as_kernel_and_kpartx_do() {
        assert_eq!(partition_device("/dev/sda", 1), "/dev/sda1");
        assert_eq!(partition_device("/dev/nvme0n1", 3), "/dev/nvme0n1p3");
        assert_eq!(partition_device("/dev/cciss/c0d0", 2), "/dev/cciss/c0d0p2");
        assert_eq!(partition_device("/dev/md126", 2), "/dev/md126p2");
        assert_eq!(partition_device("/dev/mapper/mpatha", 4), "/dev/mapper/mpatha-part4");
    }
}
