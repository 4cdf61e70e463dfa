//! One file a subcommand: wiring only.

pub mod agent;
mod answer;
pub mod client;
pub mod config_drive;
pub mod discover;
pub mod erase;
pub mod erase_node;
pub mod image_options;
pub mod inventory;
pub mod netboot;
pub mod plan;
pub mod proof;
pub mod provision;
mod ready_drive;
mod report_file;
pub mod side_car;
#[cfg(test)]
mod testing;
pub mod unpack_image;
pub mod validate;
pub mod verify;
pub mod write_image;
