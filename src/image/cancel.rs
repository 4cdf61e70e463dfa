//! Stopping from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::signal;

/// How often a waiting thread looks whether it is to stop.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// A flag that a signal handler sets. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Uses a flag that exists already.
    #[must_use]
    pub fn with_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    ///
    /// # Errors
    /// `Interrupted` when it was SIGINT, else `Terminated`.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(signal::received());
        }
        Ok(())
    }

    /// Does what may wait for a silent server, on a thread that is left behind when the run is to end: nothing else wakes
    /// it before its time is over.
    ///
    /// # Errors
    /// Its own, or that of [`Cancel::check`].
    pub fn aside<T: Send + 'static>(&self, act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (tell, happened) = mpsc::channel();
        // Whoever does not listen any more was asked to end.
        let run = move || drop(tell.send(act()));
        thread::Builder::new().name("aside".to_owned()).spawn(run).context(Kind::Bug, || "starting a thread")?;
        loop {
            self.check()?;
            match happened.recv_timeout(GLANCE) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::bug("the thread that waits for a server has vanished"));
                }
            }
        }
    }

    /// Waits, but not beyond a request to stop.
    ///
    /// # Errors
    /// That of [`Cancel::check`].
    pub fn sleep(&self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(GLANCE));
        }
    }
}
