//! The log markers that Astute turns into percentages, literally as its parser expects them.
//!
//! Astute looks for `Next chunk` lines and for the `--- .. ---` lines of the ancestor's stages; percentages are all it takes
//! from them. Each line has the form of oslo.log: time, process, level, logger, `[-]`, message.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::json_lines::open_private;
use super::{Event, EventKind, Sink};
use crate::error::{Context as _, Error, Kind, Result};

/// Where the bootstrap's log shipper looks.
pub const LOG_FILE: &str = "/var/log/fuel-agent.log";

/// The logger's name in the ancestor's lines.
const LOGGER: &str = "fuel_agent.manager";

/// A stage of the ancestor and what announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The line.
    pub marker: &'static str,
    /// Families of our steps (first word of the identifier) that belong to it. The first to start prints the marker.
    pub families: &'static [&'static str],
    /// Whether it has been done when a later stage starts, so that its marker comes first.
    pub is_implied: bool,
}

/// The run's own markers: begin and good end.
const BEGIN: &str = "--- Provisioning (do_provisioning) ---";
const END: &str = "--- Provisioning END (do_provisioning) ---";

/// The stages in the order in which Astute's percentages grow. A stage that is skipped prints nothing, unless it is implied;
/// one that comes after a later one prints nothing either, so that the percentage never falls.
pub const STAGES: [Stage; 4] = [
    Stage {
        marker: "--- Partitioning disks (do_partitioning) ---",
        families: &[
            "deactivate-vg",
            "stop-array",
            "erase",
            "partition",
            "activate-vg",
            "assemble-array",
            "create-array",
            "create-pv",
            "create-vg",
            "create-lv",
            "mkfs",
        ],
        is_implied: false,
    },
    // Rendered before the first step, written after the images.
    Stage { marker: "--- Creating configdrive (do_configdrive) ---", families: &["configdrive"], is_implied: true },
    Stage { marker: "--- Copying images (do_copyimage) ---", families: &["write-image"], is_implied: false },
    Stage {
        marker: "--- Installing bootloader (do_bootloader) ---",
        families: &["mount-target", "system-files", "configure-grub", "boot-code"],
        is_implied: false,
    },
];

/// The families whose progress becomes `Next chunk` lines.
const CHUNK_FAMILIES: [&str; 1] = ["write-image"];

/// The ancestor copied, and logged, a MiB at a time.
const CHUNK: u64 = 1 << 20;

/// Astute's percentage is 92 + 6 x lines / 600, so that more lines than these say nothing.
const MOST_CHUNKS: u64 = 600;

/// Writes upstream's markers, and what failed, into the log that Astute reads.
pub struct MarkerLogSink {
    out: Box<dyn Write + Send>,
    stages: &'static [Stage],
    process: u32,
    next_stage: usize,
    chunks: u64,
    /// The image being written: its step, lines already printed for it, and lines that were left when it began.
    image: Option<(String, u64, u64)>,
    failure: Option<Error>,
}

impl MarkerLogSink {
    /// Appends to the log at `path`, [`LOG_FILE`] on a node.
    ///
    /// # Errors
    /// `Usage` when it cannot be opened for writing.
    pub fn file(path: &Path) -> Result<Self> {
        let file = open_private(path).context(Kind::Usage, || format!("opening the log {}", path.display()))?;
        Ok(Self::new(file, &STAGES, std::process::id()))
    }

    /// Writes to `out`, with these stages and this process number.
    pub fn new(out: impl Write + Send + 'static, stages: &'static [Stage], process: u32) -> Self {
        Self { out: Box::new(out), stages, process, next_stage: 0, chunks: 0, image: None, failure: None }
    }

    fn line(&mut self, event: &Event, level: &str, message: &str) {
        if self.failure.is_some() {
            return;
        }
        let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // The event's time is in UTC and whole seconds: `2026-01-02T03:04:05Z`.
        let time = event.time.trim_end_matches('Z').replacen('T', " ", 1);
        let line = format!("{time}.000 {} {level} {LOGGER} [-] {message}\n", self.process);
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
        self.failure = written.context(Kind::Master, || "writing log markers").err();
        if let Some(failure) = &self.failure {
            log::warn!("{failure}: no further markers are written");
        }
    }

    fn step_started(&mut self, event: &Event, step: &str) {
        let family = family(step);
        let due = self.stages.get(self.next_stage..).unwrap_or_default();
        if let Some(at) = due.iter().position(|stage| stage.families.contains(&family)) {
            self.next_stage += at + 1;
            for stage in due[..at].iter().filter(|stage| stage.is_implied).chain([&due[at]]) {
                self.line(event, "DEBUG", stage.marker);
            }
        }
        if CHUNK_FAMILIES.contains(&family) {
            self.image = Some((step.to_owned(), 0, MOST_CHUNKS.saturating_sub(self.chunks)));
        }
    }

    /// Prints the lines that are due after `done` of `total` bytes: one a MiB, or fewer where the rest would not suffice.
    fn image_progressed(&mut self, event: &Event, done: u64, total: Option<u64>) {
        let Some((step, printed, budget)) = self.image.clone() else { return };
        if event.step.as_deref() != Some(step.as_str()) {
            return;
        }
        let due = match total {
            Some(total) => (done / total.div_ceil(budget.max(1)).max(CHUNK)).min(budget),
            None => due_of_unknown(done / CHUNK, budget),
        };
        for chunk in printed + 1..=due {
            self.chunks += 1;
            self.line(event, "DEBUG", &format!("Next chunk: {chunk}"));
        }
        self.image = Some((step, due.max(printed), budget));
    }
}

/// Lines after so many MiB of an image whose size nobody knows: half of those that are left at one a MiB, half of the rest at
/// one every four, and so on. A large image goes on having lines, and leaves some to the next.
fn due_of_unknown(mut chunks: u64, budget: u64) -> u64 {
    let (mut due, mut stride) = (0, 1);
    loop {
        let share = (budget - due) / 2;
        if share == 0 || chunks / stride < share {
            return due + (chunks / stride).min(share);
        }
        due += share;
        chunks -= share * stride;
        stride *= 4;
    }
}

impl Sink for MarkerLogSink {
    fn accept(&mut self, event: &Event) {
        let step = event.step.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::RunStarted => {
                (self.next_stage, self.chunks, self.image) = (0, 0, None);
                self.line(event, "DEBUG", BEGIN);
            }
            EventKind::StepStarted => self.step_started(event, step),
            EventKind::Progress => {
                self.image_progressed(event, event.bytes_done.unwrap_or(0), event.bytes_total);
            }
            // Progress is told five times a second: a small image is done between two of them.
            EventKind::StepFinished => {
                if let Some(done) = event.bytes_done {
                    self.image_progressed(event, done, event.bytes_total);
                }
            }
            EventKind::StepFailed => {
                let error = event.error.as_deref().unwrap_or("no error was given");
                self.line(event, "ERROR", &format!("{step}: {error}"));
            }
            EventKind::RunFinished => match &event.error {
                None => self.line(event, "DEBUG", END),
                Some(error) => self.line(event, "ERROR", &format!("Unexpected error: {error}")),
            },
            EventKind::Log => self.line(event, "INFO", event.message.as_deref().unwrap_or_default()),
        }
    }

    fn flush(&mut self, _within: Duration) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(Error::new(failure.kind(), failure.to_string())))
    }
}

/// The first word of a step's identifier.
fn family(step: &str) -> &str {
    step.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shared, event};
    use super::*;

    fn step(kind: EventKind, step: &str) -> Event {
        Event { step: Some(step.into()), ..event(kind, 0) }
    }

    fn progress(name: &str, done_mib: u64, total_mib: Option<u64>) -> Event {
        let (done, total) = (Some(done_mib * CHUNK), total_mib.map(|total| total * CHUNK));
        Event { bytes_done: done, bytes_total: total, ..step(EventKind::Progress, name) }
    }

    fn logged(events: &[Event]) -> String {
        let out = Shared::default();
        let mut sink = MarkerLogSink::new(out.clone(), &STAGES, 42);
        for event in events {
            sink.accept(event);
        }
        out.text()
    }

    fn chunks(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.split("[-] Next chunk: ").nth(1)).collect()
    }

    #[test]
    fn markers_are_literal_once_each_and_in_order() {
        let mut events = vec![event(EventKind::RunStarted, 0)];
        for name in ["partition /dev/sda", "mkfs /dev/sda3", "write-image /dev/sda4", "configdrive /dev/sda6"] {
            events.push(step(EventKind::StepStarted, name));
            events.push(step(EventKind::StepFinished, name));
        }
        // A file system that is made after the images must not take the percentage back.
        events.push(step(EventKind::StepStarted, "mkfs /dev/sda5"));
        events.push(step(EventKind::StepStarted, "mount-target"));
        events.push(event(EventKind::RunFinished, 0));
        let line = |message| format!("2026-01-02 03:04:05.000 42 DEBUG fuel_agent.manager [-] {message}\n");
        let expected = [
            "--- Provisioning (do_provisioning) ---",
            "--- Partitioning disks (do_partitioning) ---",
            "--- Creating configdrive (do_configdrive) ---",
            "--- Copying images (do_copyimage) ---",
            "--- Installing bootloader (do_bootloader) ---",
            "--- Provisioning END (do_provisioning) ---",
        ];
        assert_eq!(logged(&events), expected.map(line).concat());
    }

    #[test]
    fn failed_run_has_its_reason_and_no_end_marker() {
        let failed = Event {
            error: Some("writing /dev/sda: I/O error".into()),
            ..step(EventKind::StepFailed, "erase /dev/sda")
        };
        let finished = Event { error: failed.error.clone(), ..event(EventKind::RunFinished, 0) };
        assert_eq!(
            logged(&[failed, finished]),
            "2026-01-02 03:04:05.000 42 ERROR fuel_agent.manager [-] erase /dev/sda: writing /dev/sda: I/O error\n\
             2026-01-02 03:04:05.000 42 ERROR fuel_agent.manager [-] Unexpected error: writing /dev/sda: I/O error\n"
        );
    }

    #[test]
    fn small_image_has_a_chunk_line_for_every_mebibyte() {
        let name = "write-image /dev/sda3";
        let events = [step(EventKind::StepStarted, name), progress(name, 2, None), progress(name, 3, None)];
        assert_eq!(chunks(&logged(&events)), ["1", "2", "3"]);
    }

    #[test]
    fn image_that_is_done_before_progress_is_told_has_its_chunk_lines() {
        let name = "write-image /dev/sda3";
        let finished = Event { bytes_done: Some(2 * CHUNK), ..step(EventKind::StepFinished, name) };
        assert_eq!(chunks(&logged(&[step(EventKind::StepStarted, name), finished])), ["1", "2"]);
    }

    #[test]
    fn images_of_unknown_size_leave_lines_to_those_after_them() {
        assert_eq!([0, 299, 300, 304, 900, 2100].map(|mib| due_of_unknown(mib, 600)), [0, 299, 300, 301, 450, 525]);
        assert_eq!([u64::MAX, 10].map(|mib| due_of_unknown(mib, 1)), [0, 0]);
        assert_eq!(due_of_unknown(u64::MAX, 600), 599);
        let mut events = Vec::new();
        for name in ["write-image /dev/sda3", "write-image /dev/sda4"] {
            events.push(step(EventKind::StepStarted, name));
            events.extend((0..=4096).step_by(64).map(|done| progress(name, done, None)));
        }
        let text = logged(&events);
        let numbers = chunks(&text);
        let second = numbers.iter().rposition(|&chunk| chunk == "1").unwrap();
        assert_eq!((second, numbers.len()), (556, 599));
    }

    #[test]
    fn chunk_lines_of_all_images_never_exceed_what_astute_counts_to() {
        let mut events = Vec::new();
        for (name, size) in [("write-image /dev/sda3", 64), ("write-image /dev/mapper/os-root", 8000)] {
            events.push(step(EventKind::StepStarted, name));
            events.extend((0..=size).step_by(8).map(|done| progress(name, done, Some(size))));
            events.push(step(EventKind::StepFinished, name));
        }
        let text = logged(&events);
        let count = text.lines().filter(|line| line.contains("Next chunk")).count();
        assert!((590..=600).contains(&count), "{count} lines");
        // Half of the large image is about half of the lines: the percentage grows evenly.
        let half = text.lines().position(|line| line.ends_with("Next chunk: 268")).unwrap();
        assert!((300..=345).contains(&half), "line {half}");
    }
}
