//! What several test programs share.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by failing")]

pub mod authority;
pub mod bootstraps;
pub mod cobblerd;
pub mod generate;
pub mod http_server;
pub mod images;
pub mod loop_device;
pub mod planning;
pub mod proxy;
pub mod root_directory;
pub mod scratch;
