//! The layout's data model: the shape of `layout` in `plan --json`.

use serde::{Deserialize, Serialize};

use crate::request::file_systems::ARCHIVE;
use crate::units::Mib;

/// GPT type of GRUB's core image on BIOS machines.
pub const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// GPT type of a Linux file system, also given to PVs, md members and what has no type of its own.
pub const LINUX_FILESYSTEM: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/// GPT type of an EFI system partition.
pub const EFI_SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// GPT type of Ceph OSD data.
pub const CEPH_OSD: &str = "4fbd7e29-9d25-41b8-afd0-062c0ceff05d";

/// Where everything goes, in exact numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layout {
    /// Whether anything is kept, so that no table, array or volume is made anew where it lies.
    pub skip_partitioning: bool,
    /// Disks that are prepared, in document order.
    pub disks: Vec<LaidDisk>,
    /// Disks of the document on which nothing is wanted, by the document's names.
    pub untouched_disks: Vec<String>,
    /// md arrays.
    pub mds: Vec<Md>,
    /// LVM physical volumes.
    pub pvs: Vec<Pv>,
    /// LVM volume groups.
    pub vgs: Vec<Vg>,
    /// LVM logical volumes.
    pub lvs: Vec<Lv>,
    /// File systems and swap.
    pub filesystems: Vec<FileSystem>,
    /// Images and where they are written.
    pub images: Vec<Image>,
    /// The partition for the config drive.
    pub configdrive_device: Option<String>,
    /// What is installed.
    pub operating_system: OperatingSystem,
    /// What starts it.
    pub bootloader: BootLoader,
    /// Lines of /etc/fstab; `UUID=<uuid of DEVICE>` stands for what the plan fills in.
    pub fstab: Vec<String>,
    /// Mount points in the order in which the target is mounted.
    pub target_mount_order: Vec<String>,
}

/// A disk that is prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LaidDisk {
    /// The document's name for it.
    pub ks_name: String,
    /// Device node.
    pub device: String,
    /// Kind of partition table, always `gpt`.
    pub label: String,
    /// Size, rounded down.
    pub disk_size_mib: Mib,
    /// Whether it gets boot code.
    pub install_bootloader: bool,
    /// Its partitions.
    pub partitions: Vec<LaidPartition>,
}

/// A partition. It occupies the bytes from `start_mib` up to, excluding, `end_mib`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct LaidPartition {
    pub number: u32,
    pub device: String,
    pub start_mib: Mib,
    pub end_mib: Mib,
    pub size_mib: Mib,
    pub first_sector_512: u64,
    pub last_sector_512: u64,
    pub flags: Vec<String>,
    pub type_guid: String,
    /// Whether the document asked for the type.
    pub type_guid_explicit: bool,
    pub role: String,
    pub keep_data: bool,
}

/// An md array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct Md {
    pub name: String,
    pub level: String,
    /// mdadm's metadata version, `default` or `0.90`.
    pub metadata: String,
    pub devices: Vec<String>,
    pub spares: Vec<String>,
}

/// An LVM physical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct Pv {
    pub name: String,
    pub metadatasize_mib: Mib,
    pub metadatacopies: u32,
}

/// An LVM volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct Vg {
    pub name: String,
    pub pvs: Vec<String>,
    pub keep_data: bool,
}

/// An LVM logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct Lv {
    pub name: String,
    pub vg: String,
    pub size_mib: Mib,
    pub device: String,
    pub keep_data: bool,
}

/// A file system, or swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystem {
    /// Device node.
    pub device: String,
    /// Absolute path or `swap`; nothing when it is not mounted.
    pub mount: Option<String>,
    /// mkfs suffix.
    #[serde(rename = "type")]
    pub kind: String,
    /// Label as the document has it, empty for none.
    pub label_requested: String,
    /// Label as it is written.
    pub label_effective: String,
    /// Whether it stays as it is.
    pub keep_data: bool,
    /// Whether an image brings it.
    pub from_image: bool,
    /// Whether it is made.
    pub mkfs: bool,
}

/// An image and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Image {
    /// Where it comes from.
    pub uri: String,
    /// The device that it is written to.
    pub target: String,
    /// File system inside, or `tar` for an archive of files.
    pub format: String,
    /// How it is packed: `gzip`, `raw`, `zstd`, `xz`, `bzip2` or `lz4`.
    pub container: String,
    /// Unpacked size in bytes, from the side-car.
    pub size: Option<u64>,
    /// MD5 of the unpacked image, from the side-car.
    pub md5: Option<String>,
}

impl Image {
    /// Whether it is an archive of files, which is unpacked to a file system that is made.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        self.format == ARCHIVE
    }
}

/// What is installed, by upstream's names.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub struct OperatingSystem {
    pub name: String,
    pub major: Option<u64>,
    pub minor: Option<u64>,
}

/// What starts the installed system.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BootLoader {
    /// GRUB 1 or 2, judged by the operating system.
    pub grub_version_by_os: u8,
    /// Appended to the kernel command line.
    pub kernel_params: String,
    /// Which kernels may be started, where not just the newest.
    pub kernel_regexp: Option<String>,
    /// Which initial RAM disks belong to them.
    pub initrd_regexp: Option<String>,
    /// The device that holds the kernel.
    pub boot_device: Option<String>,
    /// Disks that get boot code.
    pub install_devices: Vec<String>,
}
