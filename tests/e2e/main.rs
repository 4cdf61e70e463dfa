//! Scenarios in QEMU machines, told from outside: what an operator sees is what counts.
//!
//! `make e2e` runs them all, `make e2e E2E=push` those whose name contains `push`; docs/testing.md tells how to add one.

#![allow(clippy::panic, reason = "a scenario ends by failing")]

#[allow(dead_code, reason = "scenarios and the demo each use a part of it")]
mod harness;

mod bad_input;
mod kept;
mod lean;
mod live;
mod pull;
mod push;
mod reinstall;
mod seed_flow;
mod signed_boot;
mod storage;
