//! Bootstrap images: what they are, where they are kept, and which one nodes start.
//!
//! | file | holds |
//! |---|---|
//! | `metadata` | `metadata.yaml`, upstream's keys and our digests |

pub mod metadata;
