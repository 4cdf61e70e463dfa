//! The plan of emptying disks, and of nothing else.

use std::collections::BTreeSet;

use super::{Identities, Plan, before, guards, losses, steps};
use crate::error::Result;
use crate::inventory::{Disk, Inventory};
use crate::layout::Layout;
use crate::plan::Step;
use crate::request::EraseMode;

/// Makes the plan that empties these disks: what stands on them, and on them alone, is closed first.
///
/// # Errors
/// `Refused` when one of them is in use, or something on it reaches beyond them.
pub fn erase(disks: &[&Disk], mode: EraseMode, inventory: &Inventory) -> Result<Plan> {
    guards::refuse_disks_in_use(disks, inventory)?;
    let (layout, nothing) = (Layout::default(), BTreeSet::new());
    let fates = guards::Fates { kept: &nothing, rewritten: &nothing };
    let mut order = guards::closings(&layout, disks, &fates, inventory)?;
    order.extend(disks.iter().map(|disk| Step::EraseDisk {
        disk: steps::identify(disk),
        mode,
        partitions: disk.partitions.iter().map(steps::place).collect(),
    }));
    let mut plan = Plan {
        digest: String::new(),
        // Nothing is made that would need an identity.
        seed: Identities::NONE.to_owned(),
        firmware: inventory.firmware.mode,
        disks: before::look(disks, &nothing, inventory),
        destroys: losses::of(disks, &nothing, &nothing, inventory, &layout),
        layout,
        steps: order,
        expectations: Vec::new(),
        warnings: Vec::new(),
    };
    plan.digest = plan.compute_digest()?;
    Ok(plan)
}
