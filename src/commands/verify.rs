//! `verify PLAN`: re-reads the machine and compares it with a saved plan.

use std::path::{Path, PathBuf};

use super::plan::read;
use crate::error::{Kind, Result};
use crate::execute;
use crate::plan::Plan;
use crate::verify;

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan: the output of `plan --json`
    pub plan: PathBuf,
}

/// Where the root file system is mounted, read-only, to look at its fstab.
pub(super) const SCRATCH: &str = "/run/bedplate/verify";

/// Compares; says nothing when all is as planned.
///
/// # Errors
/// `Verify` with every difference.
pub fn run(args: &Args) -> Result<()> {
    execute::require_root()?;
    let plan = Plan::parse(&read(&args.plan, Kind::Request)?)?;
    verify::verify(&plan, Path::new(SCRATCH))
}
