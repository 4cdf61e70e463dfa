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
        let left = self.left(Duration::ZERO, received)?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    /// How much of it is left when `received` bytes had come, and then nearly nothing for so long.
    pub(super) fn left(&mut self, waited: Duration, received: u64) -> Option<Duration> {
        let now = Instant::now();
        let (began, _) = match self.since {
            Some((began, at)) if received.saturating_sub(at) < PROGRESS => (began, at),
            _ => {
                self.pause = FIRST_PAUSE;
                *self.since.insert((now.checked_sub(waited).unwrap_or(now), received))
            }
        };
        self.limit.checked_sub(now.duration_since(began)).filter(|left| !left.is_zero())
    }
}

/// How long a server was waited for without progress: it may send, and yet never come to an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    time: Duration,
    /// How many bytes had come when it began.
    since: u64,
}

impl Waiting {
    pub(super) fn from(received: u64) -> Self {
        Self { time: Duration::ZERO, since: received }
    }

    /// Another server is waited for.
    pub(super) fn restart(&mut self) {
        self.time = Duration::ZERO;
    }

    /// Counts the time that a read took, not that between reads: a slow medium is no slow server.
    pub(super) fn add(&mut self, time: Duration, received: u64) {
        if received.saturating_sub(self.since) >= PROGRESS {
            *self = Self::from(received);
        } else {
            self.time = self.time.saturating_add(time);
        }
    }

    /// Why it is not waited for any longer, if so: how little came in which time.
    pub(super) fn slowness(&self, limit: Duration, received: u64) -> Option<String> {
        let came = received.saturating_sub(self.since);
        (self.time >= limit).then(|| format!("{came} bytes in {} s", self.time.as_secs()))
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

    #[test]
    fn what_was_waited_for_in_vain_counts_from_its_beginning() {
        let minute = Duration::from_secs(60);
        let mut patience = Patience::new(minute);
        let left = patience.left(minute / 2, 10).unwrap();
        assert!(left <= minute / 2 && left > minute / 4, "{left:?}");
        assert!(patience.left(minute, 20).unwrap() <= left, "it goes on from the first time");
        assert_eq!(patience.left(minute, 10 + PROGRESS), None, "progress starts over");
    }

    #[test]
    fn waiting_is_over_once_too_little_came_for_too_long() {
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::from(100);
        waiting.add(2 * second, 150);
        assert_eq!(waiting.slowness(3 * second, 150), None);
        waiting.add(second, 200);
        assert_eq!(waiting.slowness(3 * second, 200).as_deref(), Some("100 bytes in 3 s"));
        waiting.add(9 * second, 200 + PROGRESS);
        assert_eq!(waiting.slowness(3 * second, 200 + PROGRESS), None, "progress starts over");
        waiting.add(3 * second, 200 + PROGRESS);
        waiting.restart();
        assert_eq!(waiting.slowness(3 * second, 200 + PROGRESS), None, "so does another server");
    }
}
