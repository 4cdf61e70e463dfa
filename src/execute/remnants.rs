//! What earlier tables left where new partitions will begin and end. An inventory knows the partitions that are there, not
//! those that will be: so the medium is asked, once it is planned where they go.

use std::fs::File;

use crate::error::{Context as _, Kind, Result};
use crate::plan::{Plan, Step};
use crate::sys::traces;

/// Superblocks in the places of new partitions, in words; those on partitions that are there are among the plan's losses.
///
/// # Errors
/// `Medium` when a disk cannot be read.
pub fn remnants(plan: &Plan) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for step in &plan.steps {
        let Step::WriteTable { disk, partitions, .. } = step else { continue };
        let reading = || format!("looking for leftovers on {}", disk.device);
        let mut file = File::open(&disk.device).context(Kind::Medium, reading)?;
        let before = plan.disks.iter().filter(|it| it.disk.device == disk.device).flat_map(|it| &it.partitions);
        let known: Vec<_> = before.map(|it| (it.start, it.size)).collect();
        for new in partitions.iter().filter(|it| !known.contains(&(it.start, it.size))) {
            let traces = traces::find(&mut file, new.start, new.size).context(Kind::Medium, reading)?;
            found.extend(traces.iter().map(|it| {
                let offset = new.start.get().saturating_add(it.offset.get());
                format!("{}: {}, left over, at byte {offset}, where {} will be", disk.device, it.kind, new.device)
            }));
        }
    }
    Ok(found)
}
