//! `validate FILE`: all violations of a request, each with its JSON path.

use std::path::PathBuf;

use log::warn;

use super::plan::{print, read};
use crate::error::{Error, Kind, Result};
use crate::request;

/// Options of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request: a provision.json
    pub file: PathBuf,
}

/// Prints what is wrong, a line each; says nothing of a request that is right.
///
/// # Errors
/// `Request` when there is any violation.
pub fn run(args: &Args) -> Result<()> {
    let checked = request::check(&read(&args.file, Kind::Request)?)?;
    for warning in &checked.warnings {
        warn!("{warning}");
    }
    let faults: String = checked.violations.iter().map(|violation| format!("{violation}\n")).collect();
    print(&faults)?;
    match checked.violations.len() {
        0 => Ok(()),
        count => Err(Error::new(Kind::Request, format!("{}: {count} violations", args.file.display()))),
    }
}
