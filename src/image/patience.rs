//! How long a server may make no progress.

use std::time::{Duration, Instant};

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What counts as progress. Less between two failures does not restart the patience, or a server that breaks off after
/// each byte would hold us for ever.
pub(super) const PROGRESS: u64 = 64 << 10;

/// How long lack of progress is borne.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When the stream stood still first, and where.
    since: Option<(Instant, u64)>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: None, pause: FIRST_PAUSE }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// How long to wait after a failure when `received` bytes had come, or nothing when it is time to give up.
    pub(super) fn pause(&mut self, received: u64) -> Option<Duration> {
        let now = Instant::now();
        let (began, _) = match self.since {
            Some((began, at)) if received.saturating_sub(at) < PROGRESS => (began, at),
            _ => {
                self.pause = FIRST_PAUSE;
                *self.since.insert((now, received))
            }
        };
        let left = self.limit.checked_sub(now.duration_since(began)).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_lack_of_progress_not_failures() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        assert_eq!(patience.pause(0), Some(FIRST_PAUSE));
        assert_eq!(patience.pause(10), Some(FIRST_PAUSE * 2));
        assert_eq!(patience.pause(PROGRESS), Some(FIRST_PAUSE), "progress starts over");
        for _ in 0..20 {
            assert!(patience.pause(PROGRESS + 1).unwrap() <= LONGEST_PAUSE);
        }
        assert_eq!(Patience::new(Duration::ZERO).pause(0), None);
    }
}
