//! What holds for every valid request on every machine that can carry it out: where partitions lie, what fits, what is
//! mentioned, what is kept, and that planning again changes nothing.
//!
//! Each property is tried on 64 random cases (`CASES`, or what `PROPTEST_CASES` says); a failing one is shrunk to the least
//! document and machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by failing")]

#[path = "../support/mod.rs"]
mod support;

mod coverage;
mod kept;
mod matching;
mod placed;
mod placement;
mod repeat;
mod scope;
mod volumes;

use bedplate::inventory::Inventory;
use bedplate::plan::{self, Plan};
use proptest::prelude::ProptestConfig;
use serde_json::Value;

use support::generate::read;

/// Random cases a property is tried on.
const CASES: u32 = 64;

fn config() -> ProptestConfig {
    let cases =
        std::env::var("PROPTEST_CASES").map_or(CASES, |count| count.parse().expect("PROPTEST_CASES is a number"));
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// The plan of a document that must have one.
fn plan(document: &Value, machine: &Inventory) -> Plan {
    plan::make(&read(document), machine, None, None).unwrap_or_else(|error| panic!("{error}"))
}
