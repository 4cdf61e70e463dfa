//! Events to a master over HTTP, from a thread of their own with a spool in memory: a slow or dead master never slows the run.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Event, EventKind, Sink};
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method, Url};
use crate::request::Secret;

/// How the sink paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Most events that wait. Beyond it the oldest progress goes, then the oldest log lines; what started, finished or
    /// failed is never dropped.
    pub spool: usize,
    /// Most events in one POST.
    pub batch: usize,
    /// How long progress and log lines wait for company; anything else is sent at once, and takes them along.
    pub linger: Duration,
    /// Pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// How long the master may take to answer.
    pub answer_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // Five progress events a second: a quarter of an hour of a master that restarts, in about 1 MiB.
            spool: 4096,
            batch: 256,
            linger: Duration::from_secs(1),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(15),
            answer_within: Duration::from_secs(20),
        }
    }
}

/// Largest answer that is read: it holds one number.
const ANSWER_LIMIT: u64 = 64 << 10;

/// Sends events to a master as `application/x-ndjson`, in order, again and again until it acknowledges them. The master tells
/// repeated ones by run and number.
pub struct HttpSink {
    shared: Arc<Shared>,
    destination: Url,
}

struct Shared {
    spool: Mutex<Spool>,
    /// Woken when events come, when they are acknowledged, and when somebody waits for that.
    changed: Condvar,
    pace: Pace,
}

#[derive(Default)]
struct Spool {
    waiting: VecDeque<Queued>,
    /// Events that the thread is sending; they count as not arrived.
    in_flight: usize,
    refused: u64,
    failure: Option<String>,
    is_flushing: bool,
    is_closed: bool,
}

struct Queued {
    run: String,
    seq: u64,
    kind: EventKind,
    line: Vec<u8>,
}

impl Queued {
    /// Whether it must arrive.
    const fn is_milestone(&self) -> bool {
        !matches!(self.kind, EventKind::Progress | EventKind::Log)
    }
}

/// What a master answers: the last number of the run that it has written down.
#[derive(Deserialize)]
struct Answer {
    last_seq: u64,
}

/// How one POST ended.
enum Sent {
    /// Everything up to this number has arrived; without a number, everything.
    UpTo(Option<u64>),
    /// The master will never take this batch.
    Refused(String),
    /// It may take it later.
    Later(String),
}

impl HttpSink {
    /// Sends to this address, `{base}/api/nodes/N/events` of a master, with a bearer token where one is given.
    ///
    /// # Errors
    /// `Usage` when the address is not one.
    pub fn start(client: &Client, url: &str, token: Option<Secret>) -> Result<Self> {
        Self::with_pace(client, url, token, Pace::default())
    }

    /// As [`HttpSink::start`], with a pace of its own.
    ///
    /// # Errors
    /// `Usage` when the address is not one; `Bug` when no thread can be started.
    pub fn with_pace(client: &Client, url: &str, token: Option<Secret>, pace: Pace) -> Result<Self> {
        let destination: Url = url.parse().context(Kind::Usage, || "reading the address for events")?;
        let shared = Arc::new(Shared { spool: Mutex::default(), changed: Condvar::new(), pace });
        let sender =
            Sender { shared: Arc::clone(&shared), client: client.clone(), destination: destination.clone(), token };
        thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || sender.run())
            .context(Kind::Bug, || "starting the thread that sends events")?;
        Ok(Self { shared, destination })
    }
}

impl Sink for HttpSink {
    fn accept(&mut self, event: &Event) {
        let mut line = match serde_json::to_vec(event) {
            Ok(line) => line,
            // An event is strings and numbers; should it ever not be JSON, the run is worth more.
            Err(error) => return log::warn!("event {} as JSON: {error}: it is not sent", event.seq),
        };
        line.push(b'\n');
        let mut spool = self.shared.lock();
        spool.waiting.push_back(Queued { run: event.run.clone(), seq: event.seq, kind: event.kind, line });
        spool.trim(self.shared.pace.spool);
        self.shared.changed.notify_all();
    }

    fn flush(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(within);
        let mut spool = self.shared.lock();
        spool.is_flushing = true;
        self.shared.changed.notify_all();
        while !spool.is_empty() {
            let left = deadline.map_or(within, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            spool = self.shared.changed.wait_timeout(spool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        spool.is_flushing = false;
        let missing = spool.waiting.len() + spool.in_flight;
        let failure = spool.failure.clone();
        let refused = std::mem::take(&mut spool.refused);
        let reason = failure.unwrap_or_else(|| "no answer yet".to_owned());
        if missing > 0 {
            let message = format!("sending events to {}: {missing} did not arrive within {within:?}", self.destination);
            return Err(Error::caused(Kind::Master, message, reason));
        }
        if refused > 0 {
            let message = format!("sending events to {}: {refused} were refused", self.destination);
            return Err(Error::caused(Kind::Master, message, reason));
        }
        Ok(())
    }
}

impl Drop for HttpSink {
    /// Lets the thread go without waiting for it: it may be in the middle of a connection to a dead master.
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Spool> {
        // Nothing between lock and unlock can leave the spool half changed.
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    fn trim(&mut self, most: usize) {
        while self.waiting.len() > most {
            let oldest = |kind| self.waiting.iter().position(|queued: &Queued| queued.kind == kind);
            let Some(at) = oldest(EventKind::Progress).or_else(|| oldest(EventKind::Log)) else { return };
            self.waiting.remove(at);
        }
    }
}

/// The thread's side.
struct Sender {
    shared: Arc<Shared>,
    client: Client,
    destination: Url,
    token: Option<Secret>,
}

impl Sender {
    fn run(self) {
        let pace = self.shared.pace;
        let mut pause = pace.first_pause;
        // Events that are still to be sent one by one, since a batch of them was refused.
        let mut singles = 0;
        while let Some(batch) = self.next_batch(if singles > 0 { 1 } else { pace.batch }) {
            let sent = self.post(&batch);
            let mut spool = self.shared.lock();
            spool.in_flight = 0;
            let (acknowledged, failure) = match sent {
                Sent::UpTo(last) => {
                    let is_missing = |queued: &&Queued| last.is_some_and(|last| queued.seq > last);
                    let acknowledged = batch.len() - batch.iter().filter(is_missing).count();
                    (acknowledged, (acknowledged == 0).then(|| "it acknowledges none of them".to_owned()))
                }
                Sent::Refused(reason) if batch.len() == 1 => {
                    log::warn!("event {} of run {} is refused: {reason}", batch[0].seq, batch[0].run);
                    spool.refused += 1;
                    spool.failure = Some(reason);
                    (1, None)
                }
                Sent::Refused(_) => {
                    singles = batch.len();
                    (0, None)
                }
                Sent::Later(reason) => (0, Some(reason)),
            };
            if acknowledged > 0 {
                singles = singles.saturating_sub(acknowledged);
                pause = pace.first_pause;
            }
            for queued in batch.into_iter().skip(acknowledged).rev() {
                spool.waiting.push_front(queued);
            }
            spool.trim(pace.spool);
            self.shared.changed.notify_all();
            if let Some(reason) = failure {
                log::debug!("sending events to {}: {reason}; again in {pause:?}", self.destination);
                spool.failure = Some(reason);
                self.rest(spool, pause);
                pause = pause.saturating_mul(2).min(pace.longest_pause);
            }
        }
    }

    /// Waits for events and takes them out of the spool; nothing when the sink is gone.
    fn next_batch(&self, most: usize) -> Option<Vec<Queued>> {
        let linger = self.shared.pace.linger;
        let mut since: Option<Instant> = None;
        let mut spool = self.shared.lock();
        loop {
            if spool.is_closed {
                return None;
            }
            let is_due = spool.is_flushing
                || spool.waiting.len() >= most
                || spool.waiting.iter().any(Queued::is_milestone)
                || since.is_some_and(|since| since.elapsed() >= linger);
            if !spool.waiting.is_empty() && is_due {
                break;
            }
            spool = if spool.waiting.is_empty() {
                self.shared.changed.wait(spool).unwrap_or_else(PoisonError::into_inner)
            } else {
                let left = linger.saturating_sub(since.get_or_insert_with(Instant::now).elapsed());
                self.shared.changed.wait_timeout(spool, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        // One run a batch: the answer's number belongs to one run.
        let run = spool.waiting.front()?.run.clone();
        let length = spool.waiting.iter().take(most).take_while(|queued| queued.run == run).count();
        let batch: Vec<_> = spool.waiting.drain(..length).collect();
        spool.in_flight = batch.len();
        Some(batch)
    }

    fn post(&self, batch: &[Queued]) -> Sent {
        let body: Vec<u8> = batch.iter().flat_map(|queued| queued.line.iter().copied()).collect();
        let mut request = self
            .client
            .request_to(Method::POST, &self.destination)
            .header("Content-Type", "application/x-ndjson")
            .answer_within(self.shared.pace.answer_within)
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let response = match request.send() {
            Ok(response) => response,
            Err(error) => return Sent::Later(error.to_string()),
        };
        let status = response.status_text();
        match response.status() {
            200..=299 => match response.bytes(ANSWER_LIMIT) {
                // A collector that is no master of ours just says that all is well.
                Ok(bytes) => Sent::UpTo(serde_json::from_slice(&bytes).ok().map(|answer: Answer| answer.last_seq)),
                Err(error) => Sent::Later(error.to_string()),
            },
            // The content is at fault. 401, 403 and 404 are not: a restarting master may not know the token or the node yet.
            400 | 413 | 415 | 422 => Sent::Refused(format!("it answers {status}")),
            _ => Sent::Later(format!("it answers {status}")),
        }
    }

    /// Pauses after a failure, shorter while somebody waits, and ends at once with the sink.
    fn rest(&self, mut spool: MutexGuard<'_, Spool>, pause: Duration) {
        let began = Instant::now();
        loop {
            let pause = if spool.is_flushing { pause.min(self.shared.pace.first_pause) } else { pause };
            let left = pause.saturating_sub(began.elapsed());
            if spool.is_closed || left.is_zero() {
                return;
            }
            spool = self.shared.changed.wait_timeout(spool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests;
