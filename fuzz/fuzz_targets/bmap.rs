//! Any bytes as a block map: what is read keeps its promises.
#![no_main]

use bedplate::image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::bmap(bytes));
