//! Releasing a node: a person sees the plan, and that plan is armed, once.

use super::state::Master;

/// Plans that were shown and not yet armed.
#[derive(Default)]
pub(crate) struct Drafts;

/// The request of a release.
pub(crate) fn request_path(release: &str) -> String {
    format!("requests/{release}.json")
}
impl Master {}
