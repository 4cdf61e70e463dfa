//! Events as words for people: a bar on a terminal, plain lines on everything else.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use super::{Event, EventKind, Sink};
use crate::error::Result;
use crate::units::Bytes;

/// Progress as plain lines: a serial console at 115200 baud and a log want few of them.
const LINE_INTERVAL_MS: u64 = 5_000;

/// Columns that every terminal has; one less than 80, so that the cursor never wraps.
const COLUMNS: usize = 79;

/// Columns of the bar between its brackets.
const BAR: u64 = 20;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line that is drawn over again.
    Bar,
    /// Lines, at most one a step every five seconds.
    Lines,
}

/// Shows events on a console.
pub struct ConsoleSink {
    out: Box<dyn Write + Send>,
    style: Style,
    run_began_ms: Option<u64>,
    steps: HashMap<String, Shown>,
    is_bar_open: bool,
}

/// What was shown of a step, in milliseconds since boot.
struct Shown {
    began_ms: u64,
    told_ms: u64,
}

impl ConsoleSink {
    /// Shows events on standard error.
    #[must_use]
    pub fn stderr() -> Self {
        let stderr = std::io::stderr();
        let device = std::fs::read_link("/proc/self/fd/2").unwrap_or_default();
        let style = style_for(stderr.is_terminal(), &device.to_string_lossy(), std::env::var("TERM").ok().as_deref());
        Self::new(stderr, style)
    }

    /// Shows events on `out`.
    pub fn new(out: impl Write + Send + 'static, style: Style) -> Self {
        Self { out: Box::new(out), style, run_began_ms: None, steps: HashMap::new(), is_bar_open: false }
    }

    fn line(&mut self, event: &Event, words: &str) {
        let clear = if std::mem::take(&mut self.is_bar_open) { "\r\x1b[K" } else { "" };
        let stamp = self.stamp(event);
        self.write(&format!("{clear}{stamp} {}\n", printable(words)));
    }

    fn bar(&mut self, event: &Event, step: &str) {
        let mut line = format!("{} {}", self.stamp(event), printable(&bar_text(event, step)));
        if let Some((end, _)) = line.char_indices().nth(COLUMNS) {
            line.truncate(end);
        }
        self.is_bar_open = true;
        self.write(&format!("\r{line}\x1b[K"));
    }

    /// Seconds since the run began, as the kernel writes its own.
    fn stamp(&mut self, event: &Event) -> String {
        let began = *self.run_began_ms.get_or_insert(event.boot_time_ms);
        format!("[{:>7}]", tenths(event.boot_time_ms.saturating_sub(began)))
    }

    fn write(&mut self, text: &str) {
        // A console that went away (a closed ssh session) must not end the run, and there is nowhere left to say so.
        let _gone = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn progress(&mut self, event: &Event, step: &str) {
        if self.style == Style::Bar {
            self.bar(event, step);
            return;
        }
        let now = event.boot_time_ms;
        let shown = self.steps.entry(step.to_owned()).or_insert(Shown { began_ms: now, told_ms: now });
        if now.saturating_sub(shown.told_ms) < LINE_INTERVAL_MS {
            return;
        }
        shown.told_ms = now;
        self.line(event, &format!("{step}: {}", progress_text(event)));
    }

    fn ended(&mut self, event: &Event, step: &str) {
        let shown = self.steps.remove(step);
        let took = shown.map(|shown| tenths(event.boot_time_ms.saturating_sub(shown.began_ms)));
        let words = match (event.kind, &event.error) {
            (EventKind::StepFailed, error) => {
                let after = took.map(|took| format!(" after {took} s")).unwrap_or_default();
                format!("{step}: FAILED{after}: {}", error.as_deref().unwrap_or("no error was given"))
            }
            _ => {
                let took = took.map(|took| format!(" in {took} s")).unwrap_or_default();
                let bytes = event.bytes_done.map(|bytes| format!(", {}", Bytes::new(bytes))).unwrap_or_default();
                format!("{step}: done{took}{bytes}")
            }
        };
        self.line(event, &words);
    }
}

impl Sink for ConsoleSink {
    fn accept(&mut self, event: &Event) {
        let step = event.step.as_deref().unwrap_or("run");
        let message = event.message.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::RunStarted => {
                self.run_began_ms = Some(event.boot_time_ms);
                self.line(event, &format!("run {}: {message}", event.run));
            }
            EventKind::StepStarted => {
                let shown = Shown { began_ms: event.boot_time_ms, told_ms: event.boot_time_ms };
                self.steps.insert(step.to_owned(), shown);
                let words = if message.is_empty() || message == step { "started" } else { message };
                self.line(event, &format!("{step}: {words}"));
            }
            EventKind::Progress => self.progress(event, step),
            EventKind::StepFinished | EventKind::StepFailed => self.ended(event, step),
            EventKind::RunFinished => {
                let error = event.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
                self.line(event, &format!("run {}: {message}{error}", event.run));
            }
            EventKind::Log => self.line(event, message),
        }
    }

    fn flush(&mut self, _within: Duration) -> Result<()> {
        Ok(())
    }
}

/// A bar needs a terminal that a person sits at: serial lines and the kernel's console are read back as logs.
fn style_for(is_terminal: bool, device: &str, term: Option<&str>) -> Style {
    let is_log = ["/dev/console", "/dev/ttyS", "/dev/ttyAMA", "/dev/hvc"].iter().any(|name| device.starts_with(name));
    if is_terminal && !is_log && term.is_some_and(|term| !term.is_empty() && term != "dumb") {
        Style::Bar
    } else {
        Style::Lines
    }
}

/// `512 MiB of 1.4 GiB (36 %), 80 MiB/s, 11 s left`
fn progress_text(event: &Event) -> String {
    let mut text = Bytes::new(event.bytes_done.unwrap_or(0)).to_string();
    if let Some(total) = event.bytes_total {
        text += &format!(" of {}", Bytes::new(total));
    }
    if let Some(percent) = share(event, 100) {
        text += &format!(" ({percent} %)");
    }
    if let Some(rate) = event.rate {
        text += &format!(", {}/s", Bytes::new(rate));
    }
    if let Some(left) = event.eta_s {
        text += &format!(", {left} s left");
    }
    text
}

/// The bar first, since a long step name may be cut off at the edge of the terminal.
fn bar_text(event: &Event, step: &str) -> String {
    let mut text = String::new();
    if let (Some(filled), Some(percent)) = (share(event, BAR), share(event, 100)) {
        text = (0..BAR).map(|column| if column < filled { '#' } else { '.' }).collect();
        text += &format!(" {percent:>3} % ");
    }
    text += &Bytes::new(event.bytes_done.unwrap_or(0)).to_string();
    if let Some(rate) = event.rate {
        text += &format!(" {}/s", Bytes::new(rate));
    }
    if let Some(left) = event.eta_s {
        text += &format!(" {left} s");
    }
    format!("{text} {step}")
}

/// What is done as a part of `whole`, where the total is known.
fn share(event: &Event, whole: u64) -> Option<u64> {
    let total = event.bytes_total.filter(|&total| total > 0)?;
    let done = event.bytes_done.unwrap_or(0).min(total);
    u64::try_from(u128::from(done) * u128::from(whole) / u128::from(total)).ok()
}

/// Milliseconds as seconds with one decimal.
fn tenths(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

/// Words of servers and tools without what would steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shared, event};
    use super::*;

    fn shown(style: Style, events: &[Event]) -> String {
        let out = Shared::default();
        let mut sink = ConsoleSink::new(out.clone(), style);
        for event in events {
            sink.accept(event);
        }
        out.text()
    }

    fn run() -> Vec<Event> {
        let step = Some("write-image /dev/sda4".to_owned());
        let mib = 1 << 20;
        let mut events = vec![
            Event { message: Some("provisioning node-1".into()), ..event(EventKind::RunStarted, 10_000) },
            Event { step: step.clone(), message: Some("writing a.gz".into()), ..event(EventKind::StepStarted, 10_100) },
        ];
        for ms in (10_300..22_000).step_by(200) {
            let done = Some((ms - 10_100) * mib / 100);
            events.push(Event {
                step: step.clone(),
                bytes_done: done,
                bytes_total: Some(200 * mib),
                rate: Some(10 * mib),
                eta_s: Some(3),
                ..event(EventKind::Progress, ms)
            });
        }
        events.push(Event { step, bytes_done: Some(200 * mib), ..event(EventKind::StepFinished, 30_150) });
        events.push(Event { message: Some("done".into()), ..event(EventKind::RunFinished, 31_000) });
        events
    }

    #[test]
    fn plain_lines_tell_start_end_and_progress_every_five_seconds() {
        assert_eq!(
            shown(Style::Lines, &run()),
            "[    0.0] run r1: provisioning node-1\n\
             [    0.1] write-image /dev/sda4: writing a.gz\n\
             [    5.1] write-image /dev/sda4: 50 MiB of 200 MiB (25 %), 10 MiB/s, 3 s left\n\
             [   10.1] write-image /dev/sda4: 100 MiB of 200 MiB (50 %), 10 MiB/s, 3 s left\n\
             [   20.1] write-image /dev/sda4: done in 20.0 s, 200 MiB\n\
             [   21.0] run r1: done\n"
        );
    }

    #[test]
    fn bar_is_drawn_over_fits_eighty_columns_and_is_cleared_before_a_line() {
        let text = shown(Style::Bar, &run());
        assert!(
            text.contains("\r[   10.1] ##########..........  50 % 100 MiB 10 MiB/s 3 s write-image /dev/sda4\x1b[K")
        );
        assert!(
            text.ends_with(
                "\r\x1b[K[   20.1] write-image /dev/sda4: done in 20.0 s, 200 MiB\n[   21.0] run r1: done\n"
            )
        );
        for drawn in text.split(['\r', '\n']) {
            assert!(drawn.replace("\x1b[K", "").chars().count() <= COLUMNS, "{drawn:?}");
        }
    }

    #[test]
    fn failure_carries_the_error_and_nothing_that_steers_the_terminal() {
        let failed = Event {
            step: Some("fetch".into()),
            error: Some("server said \x1b[2J\nno".into()),
            ..event(EventKind::StepFailed, 5)
        };
        assert_eq!(shown(Style::Lines, &[failed]), "[    0.0] fetch: FAILED: server said  [2J no\n");
    }

    #[test]
    fn bar_is_for_terminals_that_people_sit_at() {
        assert_eq!(style_for(true, "/dev/pts/3", Some("xterm")), Style::Bar);
        assert_eq!(style_for(true, "/dev/tty1", Some("linux")), Style::Bar);
        assert_eq!(style_for(true, "/dev/console", Some("linux")), Style::Lines);
        assert_eq!(style_for(true, "/dev/ttyS0", Some("vt220")), Style::Lines);
        assert_eq!(style_for(true, "/dev/pts/3", Some("dumb")), Style::Lines);
        assert_eq!(style_for(false, "/tmp/log", Some("xterm")), Style::Lines);
    }
}
