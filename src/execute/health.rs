//! Disks that say of themselves that they fail.

use std::path::Path;
use std::sync::Mutex;
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::sys::health::{self, UnhealthyDisks};

/// Asks all disks of a plan at once; returns what they complain of.
///
/// # Errors
/// `Refused` with all complaints, where that is wanted.
pub fn check_health(plan: &Plan, unhealthy: UnhealthyDisks) -> Result<Vec<String>> {
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for before in &plan.disks {
            let (device, complaints) = (&before.disk.device, &complaints);
            scope.spawn(move || {
                if let Some(complaint) = health::complaint(Path::new(device)) {
                    let mut complaints = complaints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    complaints.push(format!("disk {device} is not well: {complaint}"));
                }
            });
        }
    });
    let mut complaints = complaints.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    complaints.sort();
    judge(complaints, unhealthy)
}

fn judge(complaints: Vec<String>, unhealthy: UnhealthyDisks) -> Result<Vec<String>> {
    if unhealthy == UnhealthyDisks::Warn {
        return Ok(complaints);
    }
    let faults = complaints.into_iter().map(|complaint| {
        Error::new(Kind::Refused, complaint)
            .advise("replace the disk, or go on all the same with --unhealthy-disks warn")
    });
    Error::join(faults.collect()).map_or(Ok(Vec::new()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_that_are_not_well_are_told_or_refused_as_the_caller_wants() {
        let complaints = || vec!["disk /dev/sda is not well: it has become read-only".to_owned()];
        assert_eq!(judge(complaints(), UnhealthyDisks::Warn).unwrap(), complaints());
        let error = judge(complaints(), UnhealthyDisks::Refuse).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Refused, complaints()[0].clone()));
        assert_eq!(judge(Vec::new(), UnhealthyDisks::Refuse).unwrap(), [""; 0]);
    }
}
