//! Bedplate: a request and a machine become a plan, the plan becomes an installed system.
//!
//! ```text
//! provision.json --parse--> Request --+
//!                                     +--resolve--> Layout --order--> Plan { steps, expectations, digest }
//! /sys, udev, SMBIOS --collect--> Inventory --+                         |
//!                                                                       v
//!                                               execute(plan) --Event--> console | JSON lines | master
//!                                                                       v
//!                                               verify(plan.expectations) --> Report
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`units`], [`error`] | sizes as types; whose fault an error is, and its exit code |
//! | [`sys`] | the operating system: ioctls, mounts, external commands |
//! | [`http`] | the one HTTP client |
//! | [`report`] | events, sinks, the final report |
//! | [`request`] | what is wanted |
//! | [`inventory`] | what is there |
//! | `layout`, `plan` | where it goes, what will be done; pure |
//! | [`image`] | streams |
//! | `configdrive`, `boot` | first boot and what starts it |
//! | `execute`, `verify` | the plan's effects and their proof |
//! | [`netboot`] | switching PXE off |
//! | [`settings`] | configuration from file and kernel command line |
//! | [`commands`] | one file a subcommand |
//! | `master` | the embedded master (feature `master`) |

pub mod boot;
pub mod cli;
pub mod commands;
pub mod configdrive;
pub mod error;
pub mod execute;
pub mod http;
pub mod image;
pub mod inventory;
pub mod layout;
#[cfg(test)]
#[path = "../tests/support/loop_device.rs"]
pub(crate) mod loop_device;
#[cfg(feature = "master")]
pub mod master;
pub mod netboot;
pub mod plan;
pub mod report;
pub mod request;
#[cfg(test)]
#[path = "../tests/support/scratch.rs"]
pub(crate) mod scratch;
pub mod settings;
pub mod sys;
pub mod units;
pub mod verify;
