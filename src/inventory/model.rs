//! The inventory's data model, the shape of `inventory --json`.

use serde::{Deserialize, Serialize};

use super::{Array, Disk, VolumeGroup};
use crate::units::Bytes;

/// A whole machine. What could not be read is absent, and `warnings` says why.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Inventory {
    /// Firmware and how it started this system.
    pub firmware: Firmware,
    /// Maker, product, serial number.
    pub system: System,
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Whole disks, by name in natural order (sda, sdb, .., sdz, sdaa).
    pub disks: Vec<Disk>,
    /// Physical network interfaces, by name in natural order.
    pub interfaces: Vec<Interface>,
    /// LVM volume groups found on any disk.
    pub volume_groups: Vec<VolumeGroup>,
    /// md arrays, active or inactive.
    pub arrays: Vec<Array>,
    /// What could not be read, and why.
    pub warnings: Vec<Warning>,
}

/// How the firmware started this system.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FirmwareMode {
    /// Legacy BIOS, or a UEFI in compatibility mode.
    Bios,
    /// UEFI.
    Uefi,
    /// Not told, as with a bare list of devices. Treated as BIOS.
    #[default]
    Unknown,
}

/// Firmware.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Firmware {
    /// How it started this system.
    pub mode: FirmwareMode,
    /// Whether Secure Boot is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
}

/// What the machine says of itself (SMBIOS).
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are SMBIOS' own names")]
pub struct System {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Host name, fully qualified where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Operating system that runs now, lower case (`ubuntu`, `debian`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}

/// Processors.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Cpu {
    /// Model of the first processor, blanks squeezed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Packages.
    pub sockets: u32,
    /// Logical processors.
    pub threads: u32,
    /// Highest frequency of the first processor in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mhz: Option<u32>,
    /// Feature flags of the first processor.
    pub flags: Vec<String>,
}

/// Memory.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Memory {
    /// What the kernel can use, in bytes (`MemTotal`).
    pub total: Bytes,
}

/// A physical network interface.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Permanent MAC address where known, else the current one; lower case.
    pub mac: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// IPv4 netmask, dotted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<String>,
    /// Whether PXE (or the way to the master) uses it.
    pub is_pxe: bool,
    /// Kernel driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Bus address, `0000:02:00.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_info: Option<String>,
    /// Speed of the link in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// Whether there is a carrier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_carrier: Option<bool>,
    /// `vendor:device` in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    /// NUMA node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// SR-IOV virtual functions that it can have; absent without SR-IOV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_vfs: Option<u32>,
    /// `vendor:device` of those functions in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_pci_id: Option<String>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Warning {
    /// What was to be read: a path or the name of a source.
    pub source: String,
    /// Why it could not.
    pub reason: String,
}
