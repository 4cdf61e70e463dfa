//! The steps, with those that follow each other and do the same told as one.

use super::page::{Ink, Page};
use crate::plan::Step;
use crate::request::EraseMode;
use crate::request::file_systems::ARCHIVE;

/// Steps `first` to `last` of the plan, counted from 1.
struct Run {
    first: usize,
    last: usize,
    action: String,
    objects: Vec<String>,
}

/// The numbered list.
pub fn show(page: &mut Page, steps: &[Step]) {
    page.gap();
    page.line(Ink::Bold, "steps");
    for run in runs(steps) {
        let numbers = if run.first == run.last { run.first.to_string() } else { format!("{}-{}", run.first, run.last) };
        let words = [run.action, run.objects.join(", ")].join(" ");
        page.filled(Ink::Plain, &format!("{numbers:>7}  "), words.trim_end());
    }
}

fn runs(steps: &[Step]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (step, number) in steps.iter().zip(1..) {
        let (action, objects) = describe(step);
        match runs.last_mut().filter(|run| run.action == action) {
            Some(run) => {
                run.last = number;
                run.objects.extend(objects);
                run.objects.dedup();
            }
            None => runs.push(Run { first: number, last: number, action, objects }),
        }
    }
    runs
}

/// What a step does, and to what. Sizes, kinds and sources stand with the disks and groups above.
fn describe(step: &Step) -> (String, Vec<String>) {
    let (action, object) = match step {
        Step::RestoreTable { disk } => ("restore the protective MBR of", Some(&disk.device)),
        Step::DeactivateVolumeGroup { name, .. } => ("deactivate volume group", Some(name)),
        Step::StopArray { device, .. } => ("stop array", Some(device)),
        Step::EraseDisk { disk, mode, .. } => {
            let action = match mode {
                EraseMode::Quick => "erase everything on",
                EraseMode::Discard => "erase everything and discard the data on",
                EraseMode::Sanitize => "have the device erase itself:",
                EraseMode::Overwrite => "overwrite with zeroes",
            };
            (action, Some(&disk.device))
        }
        Step::ErasePartition { partition, .. } => ("erase", Some(&partition.device)),
        Step::WithdrawBootCode { disk } => ("take the boot code off", Some(&disk.device)),
        Step::WriteTable { disk, .. } => ("write a new partition table to", Some(&disk.device)),
        Step::ActivateVolumeGroup { name } => ("start volume group", Some(name)),
        Step::AssembleArray { device, .. } => ("start array", Some(device)),
        Step::CreateArray { device, .. } => ("create array", Some(device)),
        Step::AddArrayMember { member, .. } => ("add to its array", Some(member)),
        Step::CreatePhysicalVolume { .. } => ("create volume group", None),
        Step::CreateVolumeGroup { name, .. } => ("create volume group", Some(name)),
        Step::CreateLogicalVolume { group, .. } => ("create volume group", Some(group)),
        Step::MakeFileSystem { device, .. } => ("make file system on", Some(device)),
        Step::WriteImage { target, format, .. } if format == ARCHIVE => ("unpack archive to", Some(target)),
        Step::WriteImage { target, .. } => ("write image to", Some(target)),
        // Mounting is no news: it is part of what follows.
        Step::MountTarget { .. } | Step::WriteSystemFiles { .. } | Step::ConfigureGrub { .. } => {
            ("write fstab and GRUB's configuration", None)
        }
        Step::CheckKept { .. }
        | Step::WriteConfigDrive { .. }
        | Step::WriteSeed
        | Step::InstallBootCode { .. }
        | Step::UnmountTarget => {
            return (step.to_string(), Vec::new());
        }
    };
    (action.to_owned(), object.into_iter().cloned().collect())
}
