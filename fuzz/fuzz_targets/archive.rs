//! Any bytes as an archive: never a panic, never a name that climbs.
#![no_main]

use bedplate::image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::archive(bytes));
