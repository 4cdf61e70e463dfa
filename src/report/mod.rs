//! Telling: what happens becomes [`Event`]s, which go to every [`Sink`]; what has happened becomes a [`Report`].

mod console;
mod event;
mod json_lines;
mod markers;
mod outcome;
mod reporter;
#[cfg(test)]
mod testing;

pub use console::{ConsoleSink, Style};
pub use event::{Event, EventKind};
pub use json_lines::JsonLinesSink;
pub use markers::{LOG_FILE, MarkerLogSink, STAGES, Stage};
pub use outcome::{DiskState, ErrorReport, ImageReport, Outcome, Report, StepReport};
pub use reporter::{Reporter, Sink};
