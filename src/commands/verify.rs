//! `verify PLAN`: re-reads the machine and compares it with a saved plan.

use std::path::{Path, PathBuf};

use log::warn;

use super::plan::read;
use crate::error::{Kind, Result};
use crate::execute;
use crate::layout::Vg;
use crate::plan::Plan;
use crate::sys::command::{Call, Tool};
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
    let idle = idle_groups(&plan);
    for group in &idle {
        Call::new(Tool::Lvm, ["vgchange", "--activate", "y", group]).run()?;
    }
    let result = verify::verify(&plan, Path::new(SCRATCH));
    for group in &idle {
        if let Err(error) = Call::new(Tool::Lvm, ["vgchange", "--activate", "n", group]).run() {
            warn!("{error}");
        }
    }
    result
}

/// Volume groups whose volumes are not there: a run ends the use of what it opened.
fn idle_groups(plan: &Plan) -> Vec<&str> {
    let is_idle = |group: &&Vg| plan.layout.lvs.iter().any(|lv| lv.vg == group.name && !Path::new(&lv.device).exists());
    plan.layout.vgs.iter().filter(is_idle).map(|group| group.name.as_str()).collect()
}
