//! The operating system: the only place for unsafe code, ioctls, mounts, external commands and reboot.

pub mod blkid;
pub mod block;
pub mod boot_sector;
mod child;
pub mod claim;
pub mod clock;
pub mod command;
pub mod files;
pub mod gpt;
pub mod health;
pub mod interfaces;
pub mod job;
pub mod kpartx;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod nss;
pub mod power;
pub mod random;
pub mod signal;
pub mod traces;
pub mod udev;
pub mod xattr;
