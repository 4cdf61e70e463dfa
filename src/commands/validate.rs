//! `validate FILE`: all violations of a request, each with its JSON path.

use std::path::PathBuf;

use log::warn;

use super::plan::{print, read_request};
use crate::error::{Error, Kind, Result};
use crate::{layout, request};

/// Options of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request: a provision.json
    pub file: PathBuf,
}

/// Prints what is wrong, a line each; says nothing of a request that is right.
///
/// A request that is read without fault is laid out on the disks that it describes, which finds what would be wrong on
/// any machine.
///
/// # Errors
/// `Request` when there is any violation.
pub fn run(args: &Args) -> Result<()> {
    let within = |error: Error| error.within(args.file.display().to_string());
    let checked = request::check(&read_request(&args.file)?).map_err(within)?;
    let mut faults: Vec<_> = checked.violations.iter().map(ToString::to_string).collect();
    let mut warnings = checked.warnings;
    match checked.request.map(|request| layout::check_described(&request)) {
        Some(Ok(told)) => warnings.extend(told),
        Some(Err(error)) => faults.extend(error.faults()),
        None => {}
    }
    for warning in &warnings {
        warn!("{warning}");
    }
    print(&faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())?;
    match faults.len() {
        0 => Ok(()),
        1 => Err(Error::new(Kind::Request, format!("{}: 1 violation", args.file.display()))),
        count => Err(Error::new(Kind::Request, format!("{}: {count} violations", args.file.display()))),
    }
}
