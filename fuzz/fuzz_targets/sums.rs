//! Any bytes as a list of checksums: never a panic, and no digests that contradict each other.
#![no_main]

use bedplate::image::sums;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|list: &[u8]| {
    match sums::digests(list, "image.img") {
        Ok(digests) => assert!(!digests.is_empty()),
        Err(words) => assert!(words.starts_with("it ") || words.starts_with("none of its "), "{words}"),
    }
});
