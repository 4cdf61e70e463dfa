//! The embedded master: boot scripts, discovery, images, requests, events, and the person's word that releases a node.
//!
//! | file | holds |
//! |---|---|
//! | `cli`, `client` | the command line and its calls of a running master |
//! | `server`, `http/` | the listener; routes by who calls them |
//! | `state`, `store` | nodes in memory, each change on disk first |
//! | `node` | a node's record and its life; pure |
//! | `bootstrap` | which mode of the bootstrap is started, with the digest of what it fetches |
//! | `bootstraps/` | bootstrap images: their metadata, where they are kept, which one is active |
//! | `images`, `builds` | what operators do with bootstrap images; builds of them in the background |
//! | `boots`, `discovery`, `runs`, `release`, `orders`, `watchdog` | what a call does, by what it is about |
//! | `profile`, `compose`, `allocate` | from a profile and a machine to a provision.json; pure |
//! | `scripts` | what iPXE and GRUB are told; pure |
//! | `dnsmasq` | a DHCP and TFTP configuration |
//!
//! It shares request, inventory and report with the agent, and the pure `plan` for showing a person what a release
//! would do: the agent then refuses any other plan, which needs one and the same code on both sides.

mod allocate;
mod boots;
mod bootstrap;
pub mod bootstraps;
pub mod builds;
pub mod cli;
mod client;
mod compose;
mod config;
mod discovery;
mod dnsmasq;
mod events;
mod http;
mod ident;
pub mod images;
mod node;
mod orders;
mod profile;
mod refusal;
mod release;
mod runs;
mod schema;
mod scripts;
mod server;
mod state;
mod store;
mod token;
mod view;
mod watchdog;

pub use server::{Server, Settings};
