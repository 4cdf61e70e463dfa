//! Bootstrap images: what they are, where they are kept, and which one nodes start.
//!
//! | file | holds |
//! |---|---|
//! | `metadata` | `metadata.yaml`, upstream's keys and our digests |
//! | `build/` | makes an image from package repositories |
//! | `cli` | the command line, and that of upstream's `fuel-bootstrap` |
//! | `settings`, `repository` | the settings file; package repositories, their pins and keys |
//! | `store` | the folder of all images, the links that name the active and the previous one |
//! | `import` | from an archive to an image of the store |
//! | `activation`, `cobbler` | which image nodes start, and that Cobbler knows of it |
//! | `commands` | the command line of what is kept |

pub mod activation;
pub mod build;
pub mod cli;
pub mod cobbler;
pub mod commands;
mod import;
pub mod metadata;
pub mod repository;
pub mod settings;
pub mod store;
#[cfg(test)]
mod tests;

pub use import::Imported;
