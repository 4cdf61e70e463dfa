//! The embedded master as nodes and operators see it: a real process, real connections.
#![cfg(feature = "master")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test says what it expects by failing")]

mod boot;
#[path = "../support/bootstraps.rs"]
mod bootstraps;
mod crash;
mod discovery;
mod files;
mod images;
mod lifecycle;
mod release;
mod support;
mod tokens;
