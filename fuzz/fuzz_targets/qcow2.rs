//! Any bytes as a qcow2 image: never a panic, never more than is promised.
#![no_main]

use bedplate::image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::qcow2(bytes));
