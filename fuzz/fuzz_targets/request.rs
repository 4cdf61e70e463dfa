//! Any bytes: never a panic, and all that is said has a JSON path.
#![no_main]

use bedplate::error::Kind;
use bedplate::request::{self, SideCar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    match request::check(document) {
        Ok(checked) => {
            assert_eq!(checked.request.is_some(), checked.violations.is_empty());
            let violations = checked.violations.iter().map(ToString::to_string);
            for told in violations.chain(checked.warnings) {
                assert!(told.starts_with('$') && told.len() < 10_000, "{told}");
                assert!(!told.contains("what docs/request.md says"), "dropped without a fault");
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Request);
            assert!(error.to_string().starts_with("reading the request: $"), "{error}");
        }
    }
    if let Err(error) = SideCar::parse(document) {
        assert_eq!(error.kind(), Kind::Image);
    }
});
