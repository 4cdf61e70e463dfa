//! The request's data model. Sizes are mebibytes, as in the document.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::netboot::Netboot;
use crate::units::Mib;

/// A password or token. It is shown as `***` and never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Hands the value out, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything a document asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Node id as Nailgun knows it; also the mcollective identity.
    pub uid: Option<String>,
    /// Fully qualified host name.
    pub hostname: String,
    /// Cobbler profile; the operating system is guessed from it.
    pub profile: String,
    /// Resolvers, without the literal quotes that Cobbler wants.
    pub name_servers: Vec<String>,
    /// Search domains, likewise.
    pub search_domains: Vec<String>,
    /// The interface that the node is reached by.
    pub admin: AdminInterface,
    /// Names for physical interfaces, from `udevrules`.
    pub nic_names: Vec<NicName>,
    /// Appended to the kernel command line of the installed system.
    pub kernel_params: String,
    /// Address of the master.
    pub master_ip: String,
    /// Time zone, `Etc/UTC`.
    pub timezone: String,
    /// Public keys for root and, in older releases, the default user; without the literal quotes, empty ones dropped.
    pub ssh_keys: Vec<String>,
    /// Accounts in the order sent.
    pub accounts: Vec<Account>,
    /// Puppet agent.
    pub puppet: Puppet,
    /// Mcollective of the installed system, if it is asked for.
    pub mcollective: Option<Mcollective>,
    /// Package repositories.
    pub repositories: Vec<Repository>,
    /// Images by mount point, in document order.
    pub images: Vec<ImageSpec>,
    /// Disks in document order.
    pub disks: Vec<DiskSpec>,
    /// Volume groups in document order.
    pub volume_groups: Vec<VgSpec>,
    /// Whether CentOS runs Fedora's long-term kernel (`kernel_lt`).
    pub is_kernel_lt: bool,
    /// Names of the cloud-init templates that Nailgun prefers.
    pub templates: std::collections::BTreeMap<String, String>,
    /// Where cloud-init reports that the first boot is done (extension).
    pub phone_home: Option<PhoneHome>,
    /// How the first boot's data reach the installed system (extension).
    pub config_drive: super::ConfigDriveSpec,
    /// Whether the installed system gets the package repositories (extension).
    pub configures_repositories: bool,
    /// A cloud-init network-config v2 document to use as it is (extension).
    pub network: Option<serde_json::Value>,
    /// Whether an image that nothing proves is an error (extension).
    pub requires_digest: bool,
    /// Name of the system in Cobbler, where it can be one.
    pub slave_name: Option<String>,
    /// How network boot of the node is switched (extension).
    pub netboot: Option<Netboot>,
}

/// The admin (PXE) interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminInterface {
    /// Name in the document.
    pub name: String,
    /// MAC address, lower case.
    pub mac: String,
    /// Address.
    pub ip: Ipv4Addr,
    /// Netmask.
    pub netmask: Ipv4Addr,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
}

/// A name that an interface is to have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NicName {
    /// MAC address, lower case.
    pub mac: String,
    /// Name.
    pub name: String,
}

/// The admin interface in the installed system, for images whose cloud-init leaves the network alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdminNetwork {
    /// Its name there.
    pub name: String,
    /// MAC address, lower case.
    pub mac: String,
    /// Address.
    pub address: Ipv4Addr,
    /// Netmask.
    pub netmask: Ipv4Addr,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers.
    pub name_servers: Vec<String>,
    /// Search domains.
    pub search_domains: Vec<String>,
}

impl AdminNetwork {
    /// That of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let admin = &request.admin;
        let named = request.nic_names.iter().find(|named| named.mac.eq_ignore_ascii_case(&admin.mac));
        Self {
            name: named.map_or(&admin.name, |named| &named.name).clone(),
            mac: admin.mac.to_lowercase(),
            address: admin.ip,
            netmask: admin.netmask,
            gateway: admin.gateway,
            // What upstream writes: the master resolves for its nodes.
            name_servers: vec![request.master_ip.clone()],
            search_domains: request.search_domains.clone(),
        }
    }
}

/// A user of the installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Clear-text password; hashed before it is written anywhere.
    pub password: Option<Secret>,
    /// Ready hash.
    pub hashed_password: Option<Secret>,
    /// Home folder.
    pub homedir: Option<String>,
    /// Login shell.
    pub shell: String,
    /// sudo rules.
    pub sudo: Vec<String>,
    /// Public keys.
    pub ssh_keys: Vec<String>,
}

/// Puppet agent of the installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puppet {
    /// Server name.
    pub master: Option<String>,
    /// Whether the agent runs.
    pub is_enabled: bool,
}

/// Mcollective of the installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the document's own `mco_` keys")]
pub struct Mcollective {
    pub pskey: Secret,
    pub vhost: String,
    pub host: String,
    pub user: String,
    pub password: Secret,
    pub connector: String,
    pub is_enabled: bool,
    pub identity: String,
}

/// A package repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the document's own keys")]
pub struct Repository {
    pub kind: String,
    pub name: String,
    pub uri: String,
    pub suite: Option<String>,
    pub section: Option<String>,
    pub priority: Option<i64>,
}

/// How an image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// One gzip stream, of one or several members.
    Gzip,
    /// As it is.
    Raw,
    /// zstd frames.
    Zstd,
    /// xz streams.
    Xz,
    /// bzip2 streams.
    Bzip2,
    /// lz4 frames.
    Lz4,
    /// A qcow2 file, whose parts may be packed one by one.
    Qcow2,
}

impl Container {
    /// All there are, in the order of the documentation.
    pub const ALL: [Self; 7] = [Self::Gzip, Self::Raw, Self::Zstd, Self::Xz, Self::Bzip2, Self::Lz4, Self::Qcow2];

    /// The document's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Raw => "raw",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Qcow2 => "qcow2",
        }
    }

    /// The container with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|container| container.as_str() == word)
    }

    /// What a file of this name holds by convention.
    #[must_use]
    pub fn of_file_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            Some("xz") => Self::Xz,
            Some("bz2") => Self::Bzip2,
            Some("lz4") => Self::Lz4,
            Some("qcow2") => Self::Qcow2,
            _ => Self::Raw,
        }
    }
}

/// An image and the mount point whose file system it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Where it stands in the document.
    pub path: String,
    /// Mount point.
    pub mount: String,
    /// http, https or file.
    pub uri: String,
    /// File system inside, or `tar`.
    pub format: String,
    /// Packing.
    pub container: Container,
    /// Further addresses of the same file (extension).
    pub mirrors: Vec<String>,
    /// Digests of the file as published, `algorithm:hex` in lower case (extension).
    pub digests: Vec<String>,
    /// Digests of the unpacked image (extension).
    pub raw_digests: Vec<String>,
    /// Public key of minisign that the file must be signed with (extension).
    pub minisign_key: Option<String>,
    /// Where that signature lies; beside the file when it is missing (extension).
    pub signature: Option<String>,
    /// Where a map of the blocks that matter lies (extension).
    pub bmap: Option<String>,
}

impl ImageSpec {
    /// Whether it is an archive of files, which is unpacked to a file system that is made.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        self.format == super::file_systems::ARCHIVE
    }
}

/// A disk and what is to be on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Where it stands in the document, for messages: `$.ks_meta.pm_data.ks_spaces[0]`.
    pub path: String,
    /// Kernel name without `/dev/`.
    pub name: String,
    /// by-path link without `/dev/`, or the kernel name.
    pub id: String,
    /// by-id links without `/dev/`.
    pub extra: Vec<String>,
    /// Size.
    pub size: Mib,
    /// Whether firmware is to start from it.
    pub is_bootable: bool,
    /// What must be true of it before anything is written (extension).
    pub expect: Option<DiskExpect>,
    /// How it is emptied before it is partitioned (extension). What is there is of no use then, flagged or not.
    pub erase: Option<EraseMode>,
    /// Volumes in order; those of size zero or below are kept here with size zero.
    pub volumes: Vec<VolumeSpec>,
}

/// How a disk is emptied (extension key `erase`, command `erase`).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EraseMode {
    /// Everything by which content is recognised; the content itself stays.
    #[default]
    Quick,
    /// The device is told that it need not keep anything; what is read afterwards is up to it.
    Discard,
    /// The device erases itself: NVMe sanitize or format, ATA secure erase.
    Sanitize,
    /// Zeroes over everything that can be addressed.
    Overwrite,
}

impl EraseMode {
    /// All of them, the quickest first.
    pub const ALL: [Self; 4] = [Self::Quick, Self::Discard, Self::Sanitize, Self::Overwrite];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Discard => "discard",
            Self::Sanitize => "sanitize",
            Self::Overwrite => "overwrite",
        }
    }

    /// The mode with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

/// What must be true of a disk before anything is written to any disk (extension key `expect`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DiskExpect {
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name, `0x..` or `eui...`.
    pub wwn: Option<String>,
    /// The least size.
    pub min_size: Option<Mib>,
    /// The largest size.
    pub max_size: Option<Mib>,
    /// Whether it rotates.
    pub is_rotational: Option<bool>,
    /// Whether it must hold nothing, or nothing but what Fuel or this program laid out.
    pub is_empty_or_ours: bool,
}

/// A volume on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Where it stands in the document.
    pub path: String,
    /// What it is.
    pub kind: VolumeKind,
    /// Size; zero means that it is not wanted.
    pub size: Mib,
    /// `ceph` and `cephjournal` have a meaning.
    pub name: Option<String>,
    /// Whether what is on it stays.
    pub keep_data: bool,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A reservation for boot records; creates nothing.
    Boot,
    /// A reservation for LVM metadata; creates nothing.
    LvmMetaPool,
    /// A partition.
    Partition {
        /// Mount point.
        mount: Mount,
        /// mkfs suffix; `none` and absent are `None`.
        file_system: Option<String>,
        /// File system label as asked for.
        label: Option<String>,
        /// GPT type GUID, lower case.
        type_guid: Option<String>,
    },
    /// A member of the md array for its mount point.
    Raid {
        /// Mount point.
        mount: Mount,
        /// mkfs suffix.
        file_system: Option<String>,
        /// File system label as asked for.
        label: Option<String>,
        /// GPT type GUID, lower case.
        type_guid: Option<String>,
    },
    /// An LVM physical volume.
    Pv {
        /// Its group.
        vg: String,
        /// What `size` holds for LVM's metadata.
        lvm_meta_size: Mib,
    },
}

/// Where a file system goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Nowhere.
    None,
    /// It is swap.
    Swap,
    /// An absolute path.
    Path(String),
}

/// LVM's default extent size: a logical volume is as many whole ones.
pub const LVM_EXTENT: Mib = Mib::new(4);

/// A volume group and what is to be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VgSpec {
    /// Where it stands in the document.
    pub path: String,
    /// Its name (`id` in the document).
    pub name: String,
    /// Logical volumes in order.
    pub volumes: Vec<LvSpec>,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LvSpec {
    /// Where it stands in the document.
    pub path: String,
    /// Name.
    pub name: String,
    /// Size; zero means that it is not wanted.
    pub size: Mib,
    /// Mount point.
    pub mount: Mount,
    /// mkfs suffix.
    pub file_system: Option<String>,
    /// File system label as asked for.
    pub label: Option<String>,
}

/// Where the installed system reports its first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneHome {
    /// The URL that cloud-init posts to; it holds a token.
    pub url: Secret,
}

#[cfg(test)]
mod tests {
    use super::Container;

    #[test]
    fn a_container_is_known_by_its_word_and_by_the_names_of_files() {
        assert_eq!(Container::ALL.map(|container| Container::of_word(container.as_str())), Container::ALL.map(Some));
        assert_eq!(Container::of_word("zip"), None);
        let names = ["a.img.gz", "a.img", "a.img.zst", "a.xz", "a.bz2", "a.lz4", "a.qcow2"];
        assert_eq!(names.map(Container::of_file_name), Container::ALL);
        assert_eq!(Container::of_file_name("gz"), Container::Raw);
    }
}
