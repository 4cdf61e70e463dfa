//! Bootstrap images: what they are, where they are kept, and which one nodes start.
//!
//! | file | holds |
//! |---|---|
//! | `metadata` | `metadata.yaml`, upstream's keys and our digests |
//! | `settings`, `repository` | the settings file; package repositories, their pins and keys |

pub mod metadata;
pub mod repository;
pub mod settings;
