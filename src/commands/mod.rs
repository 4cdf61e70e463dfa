//! One file a subcommand: wiring only.

pub mod write_image;
