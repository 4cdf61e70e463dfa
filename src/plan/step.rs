//! The steps of a plan and what must be true after them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::request::file_systems::ARCHIVE;
use crate::request::{AdminNetwork, DriveFileSystem, DriveForm, EraseMode, NicName, shown_uri};
use crate::units::{Bytes, Mib, SectorSize};

/// By what a disk is recognised again when the plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskIdentity {
    /// Device node.
    pub device: String,
    /// Size.
    pub size: Bytes,
    /// Bytes per logical sector.
    pub sector_size: SectorSize,
    /// Model, for people.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name.
    pub wwn: Option<String>,
}

/// An entry of a partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TablePartition {
    /// Number.
    pub number: u32,
    /// Device node.
    pub device: String,
    /// Offset from the start of the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
    /// GPT type.
    pub type_guid: String,
    /// GPT identity.
    pub guid: String,
    /// GPT name, at most 36 characters.
    pub name: String,
}

/// Where a partition lies that is there already.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPlace {
    /// Number.
    pub number: u32,
    /// Device node.
    pub device: String,
    /// Offset from the start of the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
}

/// A file system of the installed system, and where it is mounted while it is worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TargetMount {
    /// Device node.
    pub device: String,
    /// Mount point within the installed system.
    pub path: String,
    /// Type of file system.
    pub kind: String,
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "do", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields repeat the layout's")]
pub enum Step {
    /// Puts the protective MBR before a kept table that was left without: the kernel sees its partitions again.
    RestoreTable { disk: DiskIdentity },
    /// Compares what is kept with the request: the last moment at which nothing is lost.
    CheckKept { expectations: Vec<Expectation> },
    /// Ends the use of a volume group whose disks are prepared anew.
    DeactivateVolumeGroup { name: String, uuid: String },
    /// Ends an md array whose disks are prepared anew.
    StopArray { device: String, members: Vec<String> },
    /// Empties a disk, at least of everything by which what is on it and on its partitions is recognised.
    EraseDisk { disk: DiskIdentity, mode: EraseMode, partitions: Vec<PartitionPlace> },
    /// Erases the signature of a partition whose disk is kept, and whose group or array is made anew.
    ErasePartition { disk: DiskIdentity, partition: PartitionPlace },
    /// Takes the boot code off a disk that is kept: until the end it must not start what is half written.
    WithdrawBootCode { disk: DiskIdentity },
    /// Writes a partition table, clears the ends of each partition, and waits for the device nodes.
    WriteTable { disk: DiskIdentity, guid: String, partitions: Vec<TablePartition> },
    /// Starts a volume group that stays.
    ActivateVolumeGroup { name: String },
    /// Starts an md array that stays.
    AssembleArray { device: String, members: Vec<String> },
    /// Creates an md array.
    CreateArray { device: String, level: String, metadata: String, uuid: String, members: Vec<String> },
    /// Gives a kept array a member on a new disk.
    AddArrayMember { device: String, member: String },
    /// Makes a partition an LVM physical volume.
    CreatePhysicalVolume { device: String, metadata_size: Mib, metadata_copies: u32 },
    /// Creates a volume group.
    CreateVolumeGroup { name: String, physical_volumes: Vec<String> },
    /// Creates a logical volume.
    CreateLogicalVolume { group: String, name: String, size: Mib, device: String },
    /// Makes a file system or swap.
    MakeFileSystem { device: String, kind: String, label: Option<String>, uuid: String },
    /// Writes an image, proves it, grows its file system and gives it an identity of its own. An archive of files is
    /// unpacked instead, to the file system that was made for it.
    WriteImage {
        source: String,
        target: String,
        container: String,
        /// File system inside, or `tar` for an archive of files.
        format: String,
        label: Option<String>,
        uuid: String,
        /// Unpacked size.
        size: Option<Bytes>,
        /// Digests of the unpacked image, `algorithm:hex`.
        digests: Vec<String>,
        /// Size of what is fetched.
        container_size: Option<Bytes>,
        /// Digests of what is fetched.
        container_digests: Vec<String>,
        /// Further addresses of the same file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mirrors: Vec<String>,
        /// Public key of minisign that what is fetched must be signed with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minisign_key: Option<String>,
        /// Where the signature lies; beside the source where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Where a map of the blocks that matter lies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bmap: Option<String>,
        /// Of an archive: the file systems that its files go to, the target first, then what is mounted below it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<TargetMount>,
    },
    /// Writes the config drive.
    WriteConfigDrive {
        device: String,
        size: Bytes,
        sector_size: SectorSize,
        file_system: DriveFileSystem,
        form: DriveForm,
        volume_id: u32,
        /// Where a ready image is from; its digests prove it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        digests: Vec<String>,
    },
    /// Writes what the first boot is told into the root file system.
    WriteSeed,
    /// Mounts the installed system.
    MountTarget { mounts: Vec<TargetMount> },
    /// Writes the installed system's fstab, and what it must know of its arrays and network interfaces; the admin interface
    /// itself where the image's cloud-init leaves the network alone.
    WriteSystemFiles { fstab: Vec<String>, arrays: Vec<String>, nic_names: Vec<NicName>, admin: AdminNetwork },
    /// Writes GRUB's configuration.
    ConfigureGrub {
        kernel_params: String,
        /// `root=` of the kernel.
        root: String,
        /// UUID of the file system with the kernel.
        boot_uuid: String,
        /// Type of that file system.
        boot_format: String,
        /// What it lies on.
        boot_storage: BootStorage,
        /// The kernel's folder in it: `/` where it is mounted on /boot, else `/boot`.
        boot_folder: String,
        kernel_regexp: Option<String>,
        initrd_regexp: Option<String>,
    },
    /// Makes disks bootable: the last thing that is written.
    InstallBootCode { disks: Vec<DiskIdentity> },
    /// Unmounts the installed system.
    UnmountTarget,
}

impl Step {
    /// A short identifier, for events and reports.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::RestoreTable { disk } => format!("restore-table {}", disk.device),
            Self::CheckKept { .. } => "check-kept".to_owned(),
            Self::DeactivateVolumeGroup { name, .. } => format!("deactivate-vg {name}"),
            Self::StopArray { device, .. } => format!("stop-array {device}"),
            Self::EraseDisk { disk, .. } => format!("erase {}", disk.device),
            Self::ErasePartition { partition, .. } => format!("erase-partition {}", partition.device),
            Self::WithdrawBootCode { disk } => format!("withdraw-boot-code {}", disk.device),
            Self::WriteTable { disk, .. } => format!("partition {}", disk.device),
            Self::ActivateVolumeGroup { name } => format!("activate-vg {name}"),
            Self::AssembleArray { device, .. } => format!("assemble-array {device}"),
            Self::CreateArray { device, .. } => format!("create-array {device}"),
            Self::AddArrayMember { member, .. } => format!("add-member {member}"),
            Self::CreatePhysicalVolume { device, .. } => format!("create-pv {device}"),
            Self::CreateVolumeGroup { name, .. } => format!("create-vg {name}"),
            Self::CreateLogicalVolume { group, name, .. } => format!("create-lv {group}/{name}"),
            Self::MakeFileSystem { device, .. } => format!("mkfs {device}"),
            Self::WriteImage { target, format, .. } if format == ARCHIVE => format!("unpack-image {target}"),
            Self::WriteImage { target, .. } => format!("write-image {target}"),
            Self::WriteConfigDrive { device, .. } => format!("configdrive {device}"),
            Self::WriteSeed => "seed".to_owned(),
            Self::MountTarget { .. } => "mount-target".to_owned(),
            Self::WriteSystemFiles { .. } => "system-files".to_owned(),
            Self::ConfigureGrub { .. } => "configure-grub".to_owned(),
            Self::InstallBootCode { .. } => "boot-code".to_owned(),
            Self::UnmountTarget => "unmount-target".to_owned(),
        }
    }
}

/// The step in the operator's words.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestoreTable { disk } => write!(f, "restore the protective MBR of {}", disk.device),
            Self::CheckKept { .. } => f.write_str("compare what is kept with the request"),
            Self::DeactivateVolumeGroup { name, .. } => write!(f, "deactivate volume group {name}"),
            Self::StopArray { device, members } => write!(f, "stop array {device} of {}", members.join(", ")),
            Self::EraseDisk { disk, mode, .. } => match mode {
                EraseMode::Quick => write!(f, "erase all signatures on {}", disk.device),
                EraseMode::Discard => write!(f, "discard everything on {}", disk.device),
                EraseMode::Sanitize => write!(f, "have {} erase itself", disk.device),
                EraseMode::Overwrite => write!(f, "overwrite {} with zeroes", disk.device),
            },
            Self::ErasePartition { partition, .. } => write!(f, "erase the signature on {}", partition.device),
            Self::WithdrawBootCode { disk } => write!(f, "take the boot code off {}", disk.device),
            Self::WriteTable { disk, partitions, .. } => {
                write!(f, "write a GPT with {} partitions to {}", partitions.len(), disk.device)
            }
            Self::ActivateVolumeGroup { name } => write!(f, "activate volume group {name}"),
            Self::AssembleArray { device, .. } => write!(f, "assemble array {device}"),
            Self::CreateArray { device, level, members, .. } => {
                write!(f, "create array {device} ({level}) of {}", members.join(", "))
            }
            Self::AddArrayMember { device, member } => write!(f, "add {member} to array {device}"),
            Self::CreatePhysicalVolume { device, .. } => write!(f, "create physical volume {device}"),
            Self::CreateVolumeGroup { name, physical_volumes } => {
                write!(f, "create volume group {name} on {}", physical_volumes.join(", "))
            }
            Self::CreateLogicalVolume { group, name, size, .. } => write!(f, "create volume {group}/{name} of {size}"),
            Self::MakeFileSystem { device, kind, label, .. } => {
                write!(f, "make {kind} on {device}")?;
                label.as_ref().map_or(Ok(()), |label| write!(f, " with label {label}"))
            }
            Self::WriteImage { source, target, format, mounts, .. } if format == ARCHIVE => {
                let below = mounts.iter().skip(1).map(|it| format!(", {}", it.path)).collect::<String>();
                write!(f, "unpack archive {} to {target}{below}", shown_uri(source))
            }
            Self::WriteImage { source, target, size, .. } => {
                write!(f, "write image {} to {target}", shown_uri(source))?;
                size.map_or(Ok(()), |size| write!(f, " ({size})"))
            }
            Self::WriteConfigDrive { device, source: Some(source), .. } => {
                write!(f, "write the config drive {} to {device}", shown_uri(source))
            }
            Self::WriteConfigDrive { device, .. } => write!(f, "write the config drive to {device}"),
            Self::WriteSeed => f.write_str("write cloud-init's seed into the installed system"),
            Self::MountTarget { mounts } => write!(f, "mount the installed system ({} file systems)", mounts.len()),
            Self::WriteSystemFiles { fstab, .. } => write!(f, "write fstab ({} lines)", fstab.len()),
            Self::ConfigureGrub { .. } => f.write_str("configure GRUB"),
            Self::InstallBootCode { disks } => {
                let names: Vec<_> = disks.iter().map(|disk| disk.device.as_str()).collect();
                write!(f, "install boot code on {}", names.join(", "))
            }
            Self::UnmountTarget => f.write_str("unmount the installed system"),
        }
    }
}

/// What the file system with the kernel lies on: GRUB needs another module for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum BootStorage {
    Partition,
    Lvm,
    Md,
}

/// What must be true of the medium when all steps are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "that", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields repeat the layout's")]
pub enum Expectation {
    /// A disk has exactly this table.
    Table { device: String, guid: String, partitions: Vec<TablePartition> },
    /// A disk has partitions at these places; what else its table says does not count.
    Partitions { device: String, partitions: Vec<PartitionPlace> },
    /// A device holds something of this kind, in libblkid's words.
    Content { device: String, kind: String },
    /// An array runs on these members.
    Array {
        device: String,
        level: String,
        /// Version of its superblock; none where an array is kept, whatever it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<String>,
        uuid: Option<String>,
        members: Vec<String>,
    },
    /// A group lies on these physical volumes.
    VolumeGroup { name: String, physical_volumes: Vec<String> },
    /// A logical volume has exactly this size, rounded up to extents of 4 MiB.
    LogicalVolume { group: String, name: String, size: Mib },
    /// A device holds this file system.
    FileSystem { device: String, kind: String, uuid: String, label: Option<String> },
    /// The installed system's fstab has exactly these lines.
    Fstab { mounts: Vec<TargetMount>, lines: Vec<String> },
    /// A disk starts GRUB.
    BootCode { device: String },
}
