//! Any bytes as a packed stream of each form: never a panic, never stuck.
#![no_main]

use bedplate::image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::packed(bytes));
