//! The kernel's random numbers. UUIDs, salts and TLS need them, and whoever asks too early after the start waits without a
//! word, on a machine without a source of its own (RDRAND, a TPM, virtio-rng) for minutes.

#![allow(unsafe_code, reason = "getrandom has no safe wrapper")]

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Kind, Result};
use crate::sys::signal;

/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// How long nothing is said: the kernel gathers what it lacks within a second where it can.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until the kernel has random numbers, and says so when that takes time.
///
/// # Errors
/// `Hardware` when it has none within `deadline`; the error of a signal that came meanwhile.
pub fn wait(deadline: Duration, tell: impl Fn(&str)) -> Result<()> {
    let (ready, is_ready) = channel();
    let begun = Instant::now();
    // Only a call that waits has the kernel gather; nothing ends such a call, so it has a thread of its own.
    std::thread::spawn(move || {
        // Whoever waited may be gone.
        let _unheard = ready.send(draw());
    });
    let mut is_told = false;
    loop {
        match is_ready.recv_timeout(LOOK) {
            // A kernel without this call has no such wait either.
            Ok(Ok(()) | Err(Errno::ENOSYS)) => return Ok(()),
            Ok(Err(errno)) => return Err(Error::caused(Kind::Hardware, "drawing random numbers", errno)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::bug("the thread that draws a random number panicked"));
            }
            Err(RecvTimeoutError::Timeout) => signal::check()?,
        }
        let waited = begun.elapsed();
        if waited >= deadline {
            let seconds = deadline.as_secs();
            return Err(Error::new(
                Kind::Hardware,
                format!("waiting for the kernel's random numbers: it has none after {seconds} s"),
            )
            .advise("the machine needs a source of them: RDRAND, a TPM, or virtio-rng in a virtual machine"));
        }
        if waited >= PATIENCE && !is_told {
            tell("waiting for the kernel's random numbers");
            is_told = true;
        }
    }
}

/// Draws one byte.
fn draw() -> std::result::Result<(), Errno> {
    let mut byte = 0u8;
    loop {
        // SAFETY: one byte is written to where one byte is.
        let drawn = unsafe { libc::getrandom((&raw mut byte).cast(), 1, 0) };
        match Errno::result(drawn) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_that_has_random_numbers_is_not_waited_for() {
        let begun = Instant::now();
        wait(Duration::from_secs(60), |words| panic!("{words}")).unwrap();
        assert!(begun.elapsed() < PATIENCE);
    }
}
