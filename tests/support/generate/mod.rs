//! Random valid requests on random machines that can carry them out. Everything shrinks.

#![allow(unused_imports, reason = "each test program uses a part")]

mod after;
mod document;
mod draw;
mod machine;

use std::fmt;

use bedplate::inventory::Inventory;
use bedplate::request::{self, Request};
use proptest::prelude::*;
use serde_json::Value;

pub use after::{after, replace};
pub use machine::partition_node;

use draw::Drawn;

/// A document for a machine, and the machine.
#[derive(Clone)]
pub struct Case {
    /// The document without what asks to keep data.
    pub fresh: Value,
    /// The document with it.
    pub keeping: Value,
    /// The machine before anything was done to it.
    pub machine: Inventory,
    /// The disks, by their place in the document, that are others when the node is provisioned again.
    pub replaced: Vec<usize>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = serde_json::to_string(&self.machine).map_err(|_| fmt::Error)?;
        write!(f, "replaced disks: {:?}\nks_spaces: {}\nmachine: {machine}", self.replaced, spaces(&self.keeping))
    }
}

/// `ks_spaces` of a document.
pub fn spaces(document: &Value) -> &Value {
    &document["ks_meta"]["pm_data"]["ks_spaces"]
}

/// The request that a document is.
pub fn read(document: &Value) -> Request {
    request::parse(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}")).request
}

/// Cases of up to 60 disks.
pub fn cases() -> impl Strategy<Value = Case> {
    draw::drawn().prop_map(|drawn| case(&drawn))
}

fn case(drawn: &Drawn) -> Case {
    let fresh = document::document(drawn, false);
    let keeping = document::document(drawn, true).value;
    let is_touched: Vec<bool> = (0..drawn.disks.len()).map(|at| is_touched(&spaces(&fresh.value)[at])).collect();
    let machine = machine::machine(drawn, &fresh.needs, &is_touched);
    let replaced = drawn.disks.iter().enumerate().filter(|(_, disk)| disk.is_replaced).map(|(at, _)| at).collect();
    Case { fresh: fresh.value, keeping, machine, replaced }
}

/// Whether a disk of a document gets partitions.
pub fn is_touched(disk: &Value) -> bool {
    let volumes = disk["volumes"].as_array().unwrap().iter();
    volumes.filter(|it| it["type"] != "boot" && it["type"] != "lvm_meta_pool" && it["mount"] != "/boot").any(is_wanted)
}

/// Whether a volume has a size.
pub fn is_wanted(volume: &Value) -> bool {
    volume["size"].as_i64().unwrap() > 0
}
