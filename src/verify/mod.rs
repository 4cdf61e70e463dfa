//! The proof: the medium is read again by tools that did not write it, and compared with the plan's expectations.

mod compare;
mod facts;

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::plan::{Expectation, Plan};
use crate::sys::block;

/// Something that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What was looked at.
    pub subject: String,
    /// What the plan says.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.subject, self.expected, self.found)
    }
}

/// Looks at everything that the plan expects; `scratch` is a folder to mount the root file system on, read-only.
///
/// # Errors
/// `Tool` or `Medium` when something could not be looked at.
pub fn differences(plan: &Plan, scratch: &Path) -> Result<Vec<Difference>> {
    forget_caches(plan)?;
    of(&plan.expectations, scratch)
}

/// Looks at what these expectations are about.
fn of(expectations: &[Expectation], scratch: &Path) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for expectation in expectations {
        found.extend(match expectation {
            Expectation::Partitions { device, partitions } => {
                compare::places(device, partitions, &facts::table(device)?)
            }
            Expectation::Content { device, kind } => compare::content(device, kind, &facts::file_system(device)?),
            Expectation::Table { device, guid, partitions } => {
                compare::table(device, guid, partitions, &facts::table(device)?)
            }
            Expectation::Array { device, level, uuid, members } => {
                compare::array(device, level, uuid.as_deref(), members, &facts::array(device)?)
            }
            Expectation::VolumeGroup { name, physical_volumes } => {
                compare::group(name, physical_volumes, &facts::physical_volumes(name)?)
            }
            Expectation::LogicalVolume { group, name, size } => {
                compare::volume(group, name, *size, facts::volume_size(group, name)?)
            }
            Expectation::FileSystem { device, kind, uuid, label } => {
                compare::file_system(device, kind, uuid, label.as_deref(), &facts::file_system(device)?)
            }
            Expectation::Fstab { mounts, lines } => compare::fstab(lines, &facts::fstab(mounts, scratch)?),
            Expectation::BootCode { device } => compare::boot_code(device, &facts::boot_code(device)?),
        });
    }
    Ok(found)
}

/// Compares what is kept with what the request says of it, before anything is written.
///
/// # Errors
/// `Hardware` with both sides of every difference; `Tool` or `Medium` when something could not be looked at.
pub fn check_kept(expectations: &[Expectation]) -> Result<()> {
    // None of them is about files: nothing is mounted.
    let differences = of(expectations, Path::new("/nonexistent"))?;
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
    Err(Error::new(Kind::Hardware, format!("what is to be kept is not as the request says: {}", list.join("; ")))
        .advise("the request must list the same volumes in the same order as when the disks were prepared"))
}

/// Verifies the machine against the plan.
///
/// # Errors
/// `Verify` with every difference; `Tool` or `Medium` when something could not be looked at.
pub fn verify(plan: &Plan, scratch: &Path) -> Result<()> {
    let differences = differences(plan, scratch)?;
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
    Err(Error::new(Kind::Verify, format!("the machine is not as planned: {}", list.join("; ")))
        .advise("do not use the machine: provision it again, and report the log if it happens twice"))
}

/// What the page cache holds proves nothing about the medium.
fn forget_caches(plan: &Plan) -> Result<()> {
    for disk in &plan.layout.disks {
        let within = |error: Error| error.within(format!("flushing {}", disk.device));
        let file = File::open(&disk.device).map_err(|cause| {
            let kind = if cause.kind() == ErrorKind::NotFound { Kind::Hardware } else { Kind::Medium };
            within(Error::caused(kind, "opening it", cause))
        })?;
        block::flush(&file).map_err(within)?;
    }
    Ok(())
}
