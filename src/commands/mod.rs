//! One file a subcommand: wiring only.

pub mod agent;
mod answer;
mod client;
pub mod discover;
pub mod inventory;
pub mod netboot;
#[cfg(test)]
mod testing;
pub mod write_image;
