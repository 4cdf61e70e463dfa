//! Several servers that publish one image: which is asked, how long it is waited for, and when the next one is.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::Duration;

use log::warn;

use crate::error::{Error, Kind, Result};
use crate::http::{Client, Url};
use crate::units::widen;

use super::cancel::Cancel;
use super::patience::{Patience, Waiting};
use super::published::{Failure, Published};

/// How long the very first answer may take: a wrong address must not look like a slow server.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// How long one server may make no progress while there are others.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// How far a stream has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The byte that is wanted next.
    pub(super) position: u64,
    /// All bytes that have come so far.
    pub(super) received: u64,
}

impl Progress {
    pub(super) fn advance(&mut self, count: usize) {
        self.position = self.position.saturating_add(widen(count));
        self.received = self.received.saturating_add(widen(count));
    }
}

/// Servers that publish one image; the first in the queue is the one that is asked.
///
/// One that fails for good is left. One that makes no progress, silent or sending too slowly, goes to the end of the queue, so that it gets another turn
/// as long as the patience with all of them lasts.
#[derive(Debug)]
pub(super) struct Mirrors {
    queue: VecDeque<Published>,
    cancel: Cancel,
    patience: Patience,
    turn: Patience,
    /// How long the current one was waited for.
    waiting: Waiting,
    /// Why others were left.
    left: Vec<String>,
}

impl Mirrors {
    /// At least one address is needed.
    pub(super) fn new(client: &Client, urls: &[Url], cancel: Cancel, patience: Duration) -> Result<Self> {
        if urls.is_empty() {
            return Err(Error::bug("an image without an address"));
        }
        let queue = urls.iter().map(|url| Published::new(client.clone(), url.clone())).collect();
        let patience = patience.min(FIRST_PATIENCE);
        let mut mirrors = Self {
            queue,
            cancel,
            patience: Patience::new(patience),
            turn: Patience::new(patience),
            waiting: Waiting::from(0),
            left: Vec::new(),
        };
        mirrors.begin_turn();
        Ok(mirrors)
    }

    /// The server that is asked.
    pub(super) fn current(&self) -> &Published {
        // The queue is never empty: `new` refuses that, and `failed` keeps the last one.
        &self.queue[0]
    }

    pub(super) fn current_mut(&mut self) -> &mut Published {
        &mut self.queue[0]
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Forgets all but the current one.
    pub(super) fn settle(&mut self) {
        self.queue.truncate(1);
        self.begin_turn();
    }

    /// The first answer has come: from now on there is the whole patience.
    pub(super) fn answered(&mut self, patience: Duration) {
        self.patience = Patience::new(patience);
        self.begin_turn();
    }

    /// Counts the time that a read took, when `received` bytes had come before it.
    pub(super) fn has_waited(&mut self, time: Duration, received: u64) {
        self.waiting.add(time, received);
    }

    /// How long the current one may make no progress.
    pub(super) fn turn_limit(&self) -> Duration {
        self.turn.limit()
    }

    /// Passes over the current server when it sends, but too slowly to be waited for. True when another one is to be asked.
    ///
    /// # Errors
    /// `Image` when there is no other, or no patience left with all of them; `Terminated` when the run is to end.
    pub(super) fn is_left_as_slow(&mut self, progress: Progress) -> Result<bool> {
        let Some(little) = self.waiting.slowness(self.turn.limit(), progress.received) else { return Ok(false) };
        self.waiting = Waiting::from(progress.received);
        self.failed(Failure::Slow(format!("the server sends too slowly: {little}")), progress)?;
        Ok(true)
    }

    /// Whether the current server is waited for no longer.
    pub(super) fn is_slow(&self, received: u64) -> bool {
        self.waiting.slowness(self.turn.limit(), received).is_some()
    }

    /// After a failure: comes back when it is time to ask again, maybe another server.
    ///
    /// # Errors
    /// `Image` when nobody is left to be asked; `Terminated` when the run is to end.
    pub(super) fn failed(&mut self, failure: Failure, progress: Progress) -> Result<()> {
        self.cancel.check()?;
        let reason = match failure {
            Failure::Lasting(reason) => return self.leave(&reason, progress),
            Failure::Slow(reason) => return self.pass_over(&reason, progress),
            Failure::Passing(reason) => reason,
        };
        let left = self.patience.pause(progress.received);
        match (left, self.turn.pause(progress.received)) {
            (Some(left), Some(pause)) => {
                let pause = pause.min(left);
                warn!("{}: {reason}; trying again in {} ms", self.place(progress), pause.as_millis());
                self.cancel.sleep(pause)
            }
            (Some(_), None) if self.queue.len() > 1 => {
                let limit = self.turn.limit().as_secs_f64();
                self.rotate(&format!("{reason} (no progress for {limit} s)"), progress);
                Ok(())
            }
            _ => Err(self.given_up(&reason, progress)),
        }
    }

    /// The current server was waited for as long as its turn lasts: it gets another one after the others.
    fn pass_over(&mut self, reason: &str, progress: Progress) -> Result<()> {
        let left = self.patience.left(self.turn.limit(), progress.received);
        if self.queue.len() == 1 {
            return Err(self.fault(progress, reason));
        }
        if left.is_none() {
            return Err(self.given_up(reason, progress));
        }
        self.rotate(reason, progress);
        Ok(())
    }

    fn rotate(&mut self, reason: &str, progress: Progress) {
        let place = self.place(progress);
        self.queue.rotate_left(1);
        warn!("{place}: {reason}; going on with {}", self.current().url());
        self.begin_turn();
    }

    fn given_up(&self, reason: &str, progress: Progress) -> Error {
        let limit = self.patience.limit().as_secs();
        self.fault(progress, format!("{reason} (no progress for {limit} s)"))
    }

    fn leave(&mut self, reason: &str, progress: Progress) -> Result<()> {
        if self.queue.len() == 1 {
            return Err(self.fault(progress, reason));
        }
        let place = self.place(progress);
        self.left.push(format!("{}: {reason}", self.current().url()));
        self.queue.pop_front();
        warn!("{place}: {reason}; going on with {}", self.current().url());
        self.begin_turn();
        Ok(())
    }

    fn begin_turn(&mut self) {
        let count = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        let limit = self.patience.limit();
        self.waiting.restart();
        self.turn = Patience::new(if count > 1 { (limit / count).min(LONGEST_TURN) } else { limit });
    }

    /// Where the stream stands, for messages.
    pub(super) fn place(&self, progress: Progress) -> String {
        let url = self.current().url();
        match (progress.position, self.current().length()) {
            (0, _) => format!("reading {url}"),
            (position, Some(length)) => format!("reading {url}: at byte {position} of {length}"),
            (position, None) => format!("reading {url}: at byte {position}"),
        }
    }

    /// The error that ends the stream.
    pub(super) fn fault(&self, progress: Progress, reason: impl Display) -> Error {
        let before = if self.left.is_empty() { String::new() } else { format!(" (before: {})", self.left.join("; ")) };
        Error::new(Kind::Image, format!("{}: {reason}{before}", self.place(progress)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Settings;

    const TURN: Duration = LONGEST_TURN;

    fn two(patience: Duration) -> Mirrors {
        let client = Client::new(&Settings::default()).unwrap();
        let urls = ["http://a.example/i", "http://b.example/i"].map(|url| url.parse().unwrap());
        let mut mirrors = Mirrors::new(&client, &urls, Cancel::default(), patience).unwrap();
        mirrors.answered(patience);
        mirrors
    }

    #[test]
    fn a_server_that_sends_too_slowly_is_asked_again_after_the_others() {
        let mut mirrors = two(10 * TURN);
        let mut progress = Progress::default();
        let mut turns = Vec::new();
        for count in [100, 50, 10] {
            turns.push(mirrors.current().url().to_string());
            progress.advance(count);
            mirrors.has_waited(TURN / 2, progress.received);
            assert!(!mirrors.is_left_as_slow(progress).unwrap());
            mirrors.has_waited(TURN / 2, progress.received);
            assert!(mirrors.is_left_as_slow(progress).unwrap());
        }
        assert_eq!(turns, ["http://a.example/i", "http://b.example/i", "http://a.example/i"]);
        assert_eq!(mirrors.left, Vec::<String>::new());
    }
}
