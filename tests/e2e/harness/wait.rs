//! Deadlines that follow the work, not the clock of one machine.

use std::time::{Duration, Instant};

/// A machine that shares its cores with other work takes about this many times the CPU seconds of the work: a load of
/// 15 on two cores stretched 77 CPU seconds to 307 s.
const STRETCH: f64 = 4.0;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// The factor of this machine, from `BEDPLATE_E2E_FACTOR`.
fn factor() -> f64 {
    match std::env::var("BEDPLATE_E2E_FACTOR") {
        Err(_) => 1.0,
        Ok(text) => match text.parse() {
            Ok(factor) if factor > 0.0 => factor,
            _ => panic!("BEDPLATE_E2E_FACTOR is {text:?}, expected a number above 0"),
        },
    }
}

/// How long something may take that is expected to cost this many CPU seconds.
pub fn allowance(cpu_seconds: u32) -> Duration {
    Duration::from_secs_f64(f64::from(cpu_seconds) * STRETCH * factor())
}

/// A point in time by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    end: Instant,
    allowed: Duration,
}

impl Deadline {
    /// The deadline of work that is expected to cost this many CPU seconds.
    pub fn cpu(cpu_seconds: u32) -> Self {
        let allowed = allowance(cpu_seconds);
        Self { end: Instant::now() + allowed, allowed }
    }

    /// Time that is left.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The whole time that was given.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }
}

/// Asks until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, deadline: Deadline, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!deadline.is_over(), "waited {:.0} s for {what}", deadline.allowed().as_secs_f64());
        std::thread::sleep(INTERVAL);
    }
}
