//! Gives events their number and time and hands them to the sinks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, EventKind};
use crate::error::{Error, Result};
use crate::sys::clock;

/// Progress is told at most this often (interfaces: five a second).
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A rate is that of so long: it follows what happens, and a burst hardly moves it.
const RATE_OVER: Duration = Duration::from_secs(5);

/// A receiver of events. It must not block for long: a slow receiver queues.
pub trait Sink: Send {
    /// Takes one event.
    fn accept(&mut self, event: &Event);

    /// Waits until everything accepted has arrived, at most `within`.
    ///
    /// # Errors
    /// What did not arrive, and why.
    fn flush(&mut self, within: Duration) -> Result<()>;
}

/// Tells all sinks what happens. Clones share the run.
#[derive(Clone)]
pub struct Reporter {
    run: Arc<Mutex<Run>>,
}

struct Run {
    id: String,
    seq: u64,
    sinks: Vec<Box<dyn Sink>>,
    progress: HashMap<String, Pace>,
}

/// How fast a step went lately.
struct Pace {
    /// When it was where, the oldest first: its begin, then what was told of the last seconds.
    told: VecDeque<(Instant, u64)>,
    has_told: bool,
}

impl Pace {
    fn since(began: Instant) -> Self {
        Self { told: VecDeque::from([(began, 0)]), has_told: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        let last = self.told.back().filter(|_| self.has_told);
        last.is_none_or(|&(told, _)| now.duration_since(told) >= PROGRESS_INTERVAL)
    }

    /// Notes where the step is now; gives bytes per second over the last seconds.
    fn tell(&mut self, now: Instant, done: u64) -> Option<u64> {
        // What was written is read back from the start: another rate.
        if self.told.back().is_some_and(|&(_, before)| done < before) {
            self.told.clear();
        }
        while self.told.len() > 1 && self.told.front().is_some_and(|&(told, _)| now.duration_since(told) > RATE_OVER) {
            self.told.pop_front();
        }
        let rate = self.told.front().and_then(|&(began, before)| {
            let elapsed = u64::try_from(now.duration_since(began).as_millis()).unwrap_or(u64::MAX);
            (elapsed > 0).then(|| done.saturating_sub(before).saturating_mul(1000) / elapsed)
        });
        self.told.push_back((now, done));
        self.has_told = true;
        rate
    }
}

impl Reporter {
    /// A reporter for the run `id`.
    #[must_use]
    pub fn new(id: impl Into<String>, sinks: Vec<Box<dyn Sink>>) -> Self {
        let run = Run { id: id.into(), seq: 0, sinks, progress: HashMap::new() };
        Self { run: Arc::new(Mutex::new(run)) }
    }

    /// A reporter that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self::new("silent", Vec::new())
    }

    /// The run's identifier.
    #[must_use]
    pub fn id(&self) -> String {
        self.lock().id.clone()
    }

    /// A run begins.
    pub fn run_started(&self, message: &str) {
        self.lock().tell(EventKind::RunStarted, |event| event.message = Some(message.to_owned()));
    }

    /// A step begins.
    pub fn step_started(&self, step: &str, message: &str) {
        let mut run = self.lock();
        run.progress.insert(step.to_owned(), Pace::since(Instant::now()));
        run.tell(EventKind::StepStarted, |event| {
            event.step = Some(step.to_owned());
            event.message = Some(message.to_owned());
        });
    }

    /// A step has done `done` of `total` bytes. Called as often as is convenient; told at most five times a second.
    pub fn progress(&self, step: &str, done: u64, total: Option<u64>) {
        let mut run = self.lock();
        let now = Instant::now();
        let pace = run.progress.entry(step.to_owned()).or_insert_with(|| Pace::since(now));
        if !pace.is_due(now) {
            return;
        }
        let rate = pace.tell(now, done);
        run.tell(EventKind::Progress, |event| {
            event.step = Some(step.to_owned());
            event.bytes_done = Some(done);
            event.bytes_total = total;
            event.rate = rate;
            event.eta_s = match (rate, total) {
                (Some(rate), Some(total)) if rate > 0 => Some(total.saturating_sub(done) / rate),
                _ => None,
            };
        });
    }

    /// A step ended well; `bytes` it wrote, where that says something.
    pub fn step_finished(&self, step: &str, bytes: Option<u64>) {
        let mut run = self.lock();
        run.progress.remove(step);
        run.tell(EventKind::StepFinished, |event| {
            event.step = Some(step.to_owned());
            event.bytes_done = bytes;
        });
    }

    /// A step failed.
    pub fn step_failed(&self, step: &str, error: &Error) {
        let mut run = self.lock();
        run.progress.remove(step);
        run.tell(EventKind::StepFailed, |event| {
            event.step = Some(step.to_owned());
            event.error = Some(error.to_string());
        });
    }

    /// The run ended.
    pub fn run_finished(&self, message: &str, error: Option<&Error>) {
        self.lock().tell(EventKind::RunFinished, |event| {
            event.message = Some(message.to_owned());
            event.error = error.map(ToString::to_string);
        });
    }

    /// A line for the operator.
    pub fn log(&self, message: impl Into<String>) {
        let message = message.into();
        self.lock().tell(EventKind::Log, |event| event.message = Some(message));
    }

    /// Waits until every sink has what it was told, at most `within` each.
    ///
    /// # Errors
    /// The first sink that could not deliver.
    pub fn flush(&self, within: Duration) -> Result<()> {
        let mut first = Ok(());
        for sink in &mut self.lock().sinks {
            let flushed = sink.flush(within);
            if first.is_ok() {
                first = flushed;
            }
        }
        first
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // A sink that panicked has left no half-made event behind: events are built before they are handed out.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn tell(&mut self, kind: EventKind, fill: impl FnOnce(&mut Event)) {
        self.seq += 1;
        let mut event = Event {
            run: self.id.clone(),
            seq: self.seq,
            time: clock::now_rfc3339(),
            boot_time_ms: clock::since_boot_ms(),
            kind,
            step: None,
            bytes_done: None,
            bytes_total: None,
            rate: None,
            eta_s: None,
            message: None,
            error: None,
        };
        fill(&mut event);
        for sink in &mut self.sinks {
            sink.accept(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Collect(Arc<Mutex<Vec<Event>>>);

    impl Sink for Collect {
        fn accept(&mut self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }

        fn flush(&mut self, _within: Duration) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn progress_is_told_at_most_five_times_a_second_and_numbers_have_no_gap() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::new("r1", vec![Box::new(Collect(Arc::clone(&seen)))]);
        reporter.step_started("s", "doing s");
        for done in 0..1000 {
            reporter.progress("s", done, Some(1000));
        }
        reporter.step_finished("s", Some(1000));
        let events = seen.lock().unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds.first(), Some(&EventKind::StepStarted));
        assert_eq!(kinds.last(), Some(&EventKind::StepFinished));
        assert!(kinds.len() <= 5, "a burst of 1000 calls told {} events", kinds.len());
        let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn rate_is_that_of_the_last_seconds_and_starts_anew_where_a_step_does() {
        let began = Instant::now();
        let at = |tenths: u32| began + Duration::from_millis(100) * tenths;
        let mut pace = Pace::since(began);
        assert_eq!(pace.tell(began, 0), None, "no time has passed");
        // A thousand bytes a second for ten seconds, then a hundred.
        for second in 1..=10 {
            assert_eq!(pace.tell(at(10 * second), u64::from(second) * 1000), Some(1000));
        }
        assert!(!pace.is_due(at(101)) && pace.is_due(at(102)));
        for second in 11..=15 {
            pace.tell(at(10 * second), 10_000 + u64::from(second - 10) * 100);
        }
        assert_eq!(pace.tell(at(160), 10_600), Some(100));
        assert_eq!(pace.tell(at(170), 50), None, "reading back begins");
        assert_eq!(pace.tell(at(180), 4050), Some(4000));
    }
}
