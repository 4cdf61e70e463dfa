//! Any bytes as members of gzip or frames of zstd that are unpacked side by side: the same as one after the other.
#![no_main]

use bedplate::image::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::split(bytes));
