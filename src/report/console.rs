//! Events as words for people: a bar on a terminal, plain lines on everything else.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Event, EventKind, Sink};
use crate::error::Result;
use crate::units::Bytes;

/// Progress as plain lines: a serial console at 115200 baud and a log want few of them.
const LINE_INTERVAL_MS: u64 = 5_000;

/// The bar first, since a long step name may be cut off at the edge of the terminal. No colours.
const WITH_TOTAL: &str = "{bar:20} {percent:>3} % {wide_msg}";
const WITHOUT_TOTAL: &str = "{wide_msg}";

/// Whatever writes to the terminal has to move the same bars out of its way.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line a step that is drawn over again.
    Bar,
    /// Lines, at most one a step every five seconds.
    Lines,
}

/// Shows events on a console.
pub struct ConsoleSink {
    out: Box<dyn Write + Send>,
    bars: Option<MultiProgress>,
    run_began_ms: Option<u64>,
    steps: HashMap<String, Shown>,
}

/// What was shown of a step, in milliseconds since boot.
struct Shown {
    began_ms: u64,
    told_ms: u64,
    bar: Option<ProgressBar>,
}

impl ConsoleSink {
    /// Shows events on standard error.
    #[must_use]
    pub fn stderr() -> Self {
        let stderr = std::io::stderr();
        let device = std::fs::read_link("/proc/self/fd/2").unwrap_or_default();
        let style = style_for(stderr.is_terminal(), &device.to_string_lossy(), std::env::var("TERM").ok().as_deref());
        Self::new(stderr, (style == Style::Bar).then(|| BARS.clone()))
    }

    /// Shows events on `out`, and progress as bars where there are any.
    pub fn new(out: impl Write + Send + 'static, bars: Option<MultiProgress>) -> Self {
        Self { out: Box::new(out), bars, run_began_ms: None, steps: HashMap::new() }
    }

    fn line(&mut self, event: &Event, words: &str) {
        let line = format!("{} {}\n", self.stamp(event), printable(words));
        // A console that went away (a closed ssh session) must not end the run, and there is nowhere left to say so.
        let mut write = || {
            let _gone = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
        };
        match &self.bars {
            Some(bars) => bars.suspend(&mut write),
            None => write(),
        }
    }

    /// Seconds since the run began, as the kernel writes its own.
    fn stamp(&mut self, event: &Event) -> String {
        let began = *self.run_began_ms.get_or_insert(event.boot_time_ms);
        format!("[{:>7}]", tenths(event.boot_time_ms.saturating_sub(began)))
    }

    fn progress(&mut self, event: &Event, step: &str) {
        let now = event.boot_time_ms;
        let shown = self.steps.entry(step.to_owned()).or_insert_with(|| Shown::at(now));
        if let Some(bars) = &self.bars {
            let bar = shown.bar.get_or_insert_with(|| bars.add(ProgressBar::no_length()));
            draw(bar, event, step);
        } else if now.saturating_sub(shown.told_ms) >= LINE_INTERVAL_MS {
            shown.told_ms = now;
            self.line(event, &format!("{step}: {}", progress_text(event)));
        }
    }

    fn ended(&mut self, event: &Event, step: &str) {
        let shown = self.steps.remove(step);
        let took = shown.as_ref().map(|shown| tenths(event.boot_time_ms.saturating_sub(shown.began_ms)));
        if let Some(shown) = shown {
            self.take_away(shown);
        }
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

    fn take_away(&self, shown: Shown) {
        if let (Some(bars), Some(bar)) = (&self.bars, shown.bar) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }
}

impl Shown {
    fn at(now: u64) -> Self {
        Self { began_ms: now, told_ms: now, bar: None }
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
                self.steps.insert(step.to_owned(), Shown::at(event.boot_time_ms));
                let words = if message.is_empty() || message == step { "started" } else { message };
                self.line(event, &format!("{step}: {words}"));
            }
            EventKind::Progress => self.progress(event, step),
            EventKind::StepFinished | EventKind::StepFailed => self.ended(event, step),
            EventKind::RunFinished => {
                // A step that neither ended nor failed must not leave its bar below the words that follow.
                for (_, shown) in std::mem::take(&mut self.steps) {
                    self.take_away(shown);
                }
                // What went wrong was told with its step, and is what the program ends with.
                self.line(event, &format!("run {}: {message}", event.run));
            }
            EventKind::Log => self.line(event, message),
        }
    }

    fn flush(&mut self, _within: Duration) -> Result<()> {
        Ok(())
    }
}

/// Standard error for what does not come as an event, such as log lines: bars that are being drawn make room for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        BARS.suspend(|| std::io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
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
    if let Some(percent) = percent(event) {
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

/// Brings a bar to where the step is. Rate and time left are the event's, which are those that other sinks show.
fn draw(bar: &ProgressBar, event: &Event, step: &str) {
    let total = event.bytes_total.filter(|&total| total > 0);
    let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
    // The templates are ours, and a test draws both.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("#."));
    }
    bar.set_message(printable(&bar_text(event, step)));
    bar.update(|state| {
        let done = event.bytes_done.unwrap_or(0);
        state.set_pos(total.map_or(done, |total| done.min(total)));
        if let Some(total) = total {
            state.set_len(total);
        }
    });
}

/// What stands behind the bar: `100 MiB 10 MiB/s 3 s write-image /dev/sda4`
fn bar_text(event: &Event, step: &str) -> String {
    let mut text = Bytes::new(event.bytes_done.unwrap_or(0)).to_string();
    if let Some(rate) = event.rate {
        text += &format!(" {}/s", Bytes::new(rate));
    }
    if let Some(left) = event.eta_s {
        text += &format!(" {left} s");
    }
    format!("{text} {step}")
}

/// What is done, in percent, where the total is known.
fn percent(event: &Event) -> Option<u64> {
    let total = event.bytes_total.filter(|&total| total > 0)?;
    let done = event.bytes_done.unwrap_or(0).min(total);
    u64::try_from(u128::from(done) * 100 / u128::from(total)).ok()
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
    use indicatif::{ProgressDrawTarget, TermLike};

    use super::super::testing::{Shared, event};
    use super::*;

    fn shown(events: &[Event]) -> String {
        let out = Shared::default();
        let mut sink = ConsoleSink::new(out.clone(), None);
        for event in events {
            sink.accept(event);
        }
        out.text()
    }

    /// A terminal of 80 columns that writes down what is drawn.
    #[derive(Debug, Default, Clone)]
    struct Paper(Shared);

    impl Paper {
        fn put(&self, text: &str) -> std::io::Result<()> {
            self.0.clone().write_all(text.as_bytes())
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, lines: usize) -> std::io::Result<()> {
            self.put(&"<up>".repeat(lines))
        }

        fn move_cursor_down(&self, lines: usize) -> std::io::Result<()> {
            self.put(&"<down>".repeat(lines))
        }

        fn move_cursor_right(&self, _columns: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _columns: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn write_line(&self, line: &str) -> std::io::Result<()> {
            self.put(&format!("{line}\n"))
        }

        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.put(text)
        }

        fn clear_line(&self) -> std::io::Result<()> {
            self.put("<clear>")
        }

        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn drawn(events: &[Event]) -> String {
        let paper = Paper::default();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(paper.clone())));
        let mut sink = ConsoleSink::new(paper.0.clone(), Some(bars));
        for event in events {
            sink.accept(event);
        }
        paper.0.text()
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
            shown(&run()),
            "[    0.0] run r1: provisioning node-1\n\
             [    0.1] write-image /dev/sda4: writing a.gz\n\
             [    5.1] write-image /dev/sda4: 50 MiB of 200 MiB (25 %), 10 MiB/s, 3 s left\n\
             [   10.1] write-image /dev/sda4: 100 MiB of 200 MiB (50 %), 10 MiB/s, 3 s left\n\
             [   20.1] write-image /dev/sda4: done in 20.0 s, 200 MiB\n\
             [   21.0] run r1: done\n"
        );
    }

    #[test]
    fn bar_is_drawn_over_fits_the_terminal_and_is_cleared_before_a_line() {
        let mut events = run();
        // The library draws a burst of twenty at the most.
        events.retain(|event| event.kind != EventKind::Progress || [15_100, 20_100].contains(&event.boot_time_ms));
        let text = drawn(&events);
        let end = "[   20.1] write-image /dev/sda4: done in 20.0 s, 200 MiB\n[   21.0] run r1: done\n";
        assert!(text.contains("##########..........  50 % 100 MiB 10 MiB/s 3 s write-image /dev/sda4 "), "{text}");
        assert!(text.ends_with(&format!("<clear>{end}")), "{text}");
        for line in text.split('\n').flat_map(|line| line.split("<clear>")) {
            assert!(line.chars().count() <= 80, "{line:?}");
        }
    }

    #[test]
    fn bars_of_two_steps_stand_below_each_other_and_a_line_moves_them() {
        let progress = |step: &str, total| Event {
            step: Some(step.to_owned()),
            bytes_done: Some(1 << 20),
            bytes_total: total,
            ..event(EventKind::Progress, 0)
        };
        let log = Event { message: Some("the server is slow".into()), ..event(EventKind::Log, 0) };
        let text = drawn(&[progress("one", Some(4 << 20)), progress("two", None), log]);
        let bars = format!("{:<80}{:<80}", "#####...............  25 % 1 MiB one", "1 MiB two");
        assert!(text.ends_with(&format!("<clear><up>[    0.0] the server is slow\n{bars}")), "{text}");
    }

    #[test]
    fn failure_carries_the_error_and_nothing_that_steers_the_terminal() {
        let failed = Event {
            step: Some("fetch".into()),
            error: Some("server said \x1b[2J\nno".into()),
            ..event(EventKind::StepFailed, 5)
        };
        assert_eq!(shown(&[failed]), "[    0.0] fetch: FAILED: server said  [2J no\n");
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
