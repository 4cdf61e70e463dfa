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

/// Looks at what these expectations are about. What cannot be looked at is a difference like any other, but for a medium
/// that cannot be read.
fn of(expectations: &[Expectation], scratch: &Path) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for expectation in expectations {
        match look(expectation, scratch) {
            Ok(differences) => found.extend(differences),
            Err(error) if matches!(error.kind(), Kind::Tool | Kind::Hardware | Kind::Verify) => {
                found.push(Difference {
                    subject: subject(expectation),
                    expected: "as planned".to_owned(),
                    found: format!("nothing that can be looked at: {error}"),
                })
            }
            Err(error) if found.is_empty() => return Err(error),
            Err(error) => {
                let differences: Vec<_> = found.iter().map(ToString::to_string).collect();
                return Err(error.within(format!("after these differences: {}", differences.join("; "))));
            }
        }
    }
    Ok(found)
}

fn look(expectation: &Expectation, scratch: &Path) -> Result<Vec<Difference>> {
    Ok(match expectation {
        Expectation::Partitions { device, partitions } => compare::places(device, partitions, &facts::table(device)?),
        Expectation::Content { device, kind } => compare::content(device, kind, &facts::file_system(device)?),
        Expectation::Table { device, guid, partitions } => {
            compare::table(device, guid, partitions, &facts::table(device)?)
        }
        Expectation::Array { device, level, metadata, uuid, members } => {
            let wanted =
                compare::WantedArray { device, level, metadata: metadata.as_deref(), uuid: uuid.as_deref(), members };
            compare::array(&wanted, &facts::array(device)?)
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
    })
}

/// What an expectation is about.
fn subject(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Table { device, .. } | Expectation::Partitions { device, .. } => {
            format!("partition table of {device}")
        }
        Expectation::Content { device, .. } => format!("content of {device}"),
        Expectation::Array { device, .. } => format!("array {device}"),
        Expectation::VolumeGroup { name, .. } => format!("volume group {name}"),
        Expectation::LogicalVolume { group, name, .. } => format!("volume {group}/{name}"),
        Expectation::FileSystem { device, .. } => format!("file system on {device}"),
        Expectation::Fstab { .. } => "/etc/fstab of the installed system".to_owned(),
        Expectation::BootCode { device } => format!("boot code of {device}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_a_difference_and_hides_no_other() {
        let missing = |device: &str| Expectation::FileSystem {
            device: device.to_owned(),
            kind: "ext4".to_owned(),
            uuid: "u".to_owned(),
            label: None,
        };
        let volume = Expectation::Array {
            device: "/dev/md-none".to_owned(),
            level: "mirror".to_owned(),
            metadata: None,
            uuid: None,
            members: Vec::new(),
        };
        let told =
            of(&[volume, missing("/dev/no-such-1"), missing("/dev/no-such-2")], Path::new("/nonexistent")).unwrap();
        let mut subjects: Vec<_> = told.iter().map(|it| it.subject.as_str()).collect();
        subjects.dedup();
        assert_eq!(subjects[0], "array /dev/md-none");
        assert!(
            subjects.iter().any(|it| it.contains("/dev/no-such-1"))
                && subjects.iter().any(|it| it.contains("/dev/no-such-2")),
            "{told:?}"
        );
    }
}
