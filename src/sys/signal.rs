//! SIGINT, SIGTERM and SIGHUP (a lost ssh session) end a run between two steps or chunks, so that it can clean up.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Context as _, Error, Kind, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Set as soon as the process was asked to end.
pub fn cancel_flag() -> Arc<AtomicBool> {
    Arc::clone(FLAG.get_or_init(|| Arc::new(AtomicBool::new(false))))
}

/// Starts to listen for SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// `Bug` when the kernel refuses a handler.
pub fn install() -> Result<()> {
    // The handler may only touch what exists already.
    cancel_flag();
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: `note` only stores to atomics, which is async-signal-safe (signal-safety(7)).
        #[allow(unsafe_code, reason = "sigaction installs a handler that runs at any point")]
        unsafe { sigaction(signal, &action) }.context(Kind::Bug, || format!("listening for {signal}"))?;
    }
    Ok(())
}

extern "C" fn note(signal: i32) {
    RECEIVED.store(signal, Ordering::SeqCst);
    if let Some(flag) = FLAG.get() {
        flag.store(true, Ordering::SeqCst);
    }
}

/// The error that ends a run which was asked to end.
///
/// # Errors
/// `Interrupted` or `Terminated` once a signal was received.
pub fn check() -> Result<()> {
    if !cancel_flag().load(Ordering::SeqCst) {
        return Ok(());
    }
    Err(received())
}

/// Waits, and notices a signal soon.
///
/// # Errors
/// `Interrupted` or `Terminated` once a signal was received.
pub fn pause(how_long: Duration) -> Result<()> {
    /// How late a signal is noticed at most.
    const STEP: Duration = Duration::from_millis(100);
    let until = Instant::now() + how_long;
    loop {
        check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STEP));
    }
}

/// The error for the signal that was received.
#[must_use]
pub fn received() -> Error {
    match RECEIVED.load(Ordering::SeqCst) {
        signal if signal == Signal::SIGINT as i32 => Error::new(Kind::Interrupted, "interrupted by SIGINT"),
        signal if signal == Signal::SIGHUP as i32 => Error::new(Kind::Terminated, "ended by SIGHUP"),
        _ => Error::new(Kind::Terminated, "ended by SIGTERM"),
    }
}
