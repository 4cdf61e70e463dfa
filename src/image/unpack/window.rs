//! How far back a stream may refer, which is the memory that unpacking it takes.

use crate::units::MaxWindow;

const MIB: u64 = 1 << 20;

/// What is wrong with a stream that needs more than it may have.
pub(super) fn refusal(what: &str, needed: u64, allowed: u64) -> String {
    let (needed, allowed) = (needed.div_ceil(MIB), allowed / MIB);
    let remedy = if needed <= MaxWindow::MOST { format!(": --max-window {needed} allows it") } else { String::new() };
    format!("needs a {what} of {needed} MiB, {allowed} MiB are allowed{remedy}")
}
