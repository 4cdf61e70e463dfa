//! Telling: what happens becomes [`Event`]s, which go to every [`Sink`]; what has happened becomes a [`Report`].

mod console;
mod event;
mod http;
mod json_lines;
mod markers;
mod outcome;
mod reporter;
#[cfg(test)]
mod testing;

pub use console::{BesideBars, ConsoleSink};
pub use event::{Event, EventKind};
pub use http::{HttpSink, Pace};
pub use json_lines::JsonLinesSink;
pub use markers::{LOG_FILE, MarkerLogSink, STAGES, Stage};
pub use outcome::{DiskState, ErrorReport, ImageReport, Outcome, Report, StepReport};
pub use reporter::{Reporter, Sink};

use std::path::Path;

use crate::error::Result;

/// The sink that `--events DEST` names: `-` for standard output, an http or https address, else a file.
///
/// # Errors
/// `Usage` when the address is not one or the file cannot be opened for writing.
pub fn sink_for(destination: &str, client: &crate::http::Client) -> Result<Box<dyn Sink>> {
    Ok(match destination {
        "-" => Box::new(JsonLinesSink::stdout()),
        url if url.starts_with("http://") || url.starts_with("https://") => {
            Box::new(HttpSink::start(client, url, None)?)
        }
        path => Box::new(JsonLinesSink::file(Path::new(path))?),
    })
}
