//! Restarting the machine.

use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

use crate::error::{Context as _, Kind, Result};

/// Writes out what is cached and restarts the machine at once; nothing is asked to end first.
///
/// # Errors
/// `Refused` when the kernel does not let this process do it. It does not return otherwise.
pub fn restart() -> Result<()> {
    sync();
    reboot(RebootMode::RB_AUTOBOOT).map(|never| match never {}).context(Kind::Refused, || "restarting the machine")
}
