//! A document and a machine, with a zero byte between them: a plan that can be read back, or an error that is somebody's
//! fault and not ours.
#![no_main]

use bedplate::error::Kind;
use bedplate::inventory;
use bedplate::plan::{self, Plan};
use bedplate::request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(at) = input.iter().position(|byte| *byte == 0) else { return };
    let (Ok(parsed), Ok(machine)) = (request::parse(&input[..at]), inventory::from_json(&input[at + 1..])) else {
        return;
    };
    match plan::make(&parsed.request, &machine, None, None) {
        Ok(plan) => {
            assert!(!plan.text(false).is_empty() && !plan.text(true).is_empty());
            let saved = serde_json::to_vec(&plan).expect("a plan can be written");
            assert!(Plan::parse(&saved).expect("a saved plan can be read") == plan);
        }
        Err(error) => assert!(
            matches!(error.kind(), Kind::Request | Kind::Hardware | Kind::Image | Kind::Refused),
            "{:?}: {error}",
            error.kind()
        ),
    }
});
