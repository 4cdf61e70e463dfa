//! Starting the installed system: texts and bytes of its boot loader, file system table and interface names.
//!
//! Everything here is pure: names and identifiers in, text out. Reading folders and writing files is `execute/`'s part.

mod admin_network;
mod default_grub;
mod grub;
mod kernel;
mod nic_rules;
mod stub;

pub use admin_network::{ifcfg, ifcfg_gateway, interfaces, netplan};
pub use default_grub::default_grub;
pub use grub::{GrubMenu, GrubRoot, Storage, grub_cfg};
pub use kernel::{KernelChoice, KernelNames, RootDevice, choose_kernel, kernel_line};
pub use nic_rules::{NIC_GENERATOR_FILE, NIC_RULES_FILE, nic_generator_off, nic_rules};
pub use stub::{BOOT_CODE_LENGTH, handover_stub};
