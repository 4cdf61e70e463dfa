//! Never more virtual CPUs than cores: machines wait for their turn.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static FREE: Mutex<Option<usize>> = Mutex::new(None);
static RETURNED: Condvar = Condvar::new();

/// Cores of this host.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The right to run so many virtual CPUs; given back when it goes out of scope.
#[derive(Debug)]
pub struct Slots(usize);

/// Waits until the host has cores for so many virtual CPUs. A machine with more than the host has waits for all.
pub fn take(cpus: usize) -> Slots {
    let wanted = cpus.min(cores());
    let mut free = lock();
    loop {
        let left = free.unwrap_or_else(cores);
        if left >= wanted {
            *free = Some(left - wanted);
            return Slots(wanted);
        }
        free = RETURNED.wait(free).unwrap_or_else(PoisonError::into_inner);
    }
}

fn lock() -> MutexGuard<'static, Option<usize>> {
    // A count is whole at any time, so that a scenario that failed while it held the lock has spoiled nothing.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut free = lock();
        *free = free.map(|left| left + self.0);
        RETURNED.notify_all();
    }
}
