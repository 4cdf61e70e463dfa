//! Telling: what happens becomes [`Event`]s, which go to every [`Sink`]; what has happened becomes a [`Report`].

mod event;
mod outcome;
mod reporter;

pub use event::{Event, EventKind};
pub use outcome::{DiskState, ErrorReport, ImageReport, Outcome, Report, StepReport};
pub use reporter::{Reporter, Sink};
