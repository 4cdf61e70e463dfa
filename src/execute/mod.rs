//! A plan becomes effects, one step after the other. Nothing is decided here: where the machine differs from the plan,
//! the run stops before the next step.

mod admin_network;
mod adoption;
pub mod arguments;
mod boot_loader;
mod config_drive;
mod erasure;
mod file_system;
mod guard;
mod health;
mod image;
mod partition;
mod remnants;
mod sanitize;
mod storage;
mod target;
mod together;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use log::warn;

use crate::configdrive::ConfigDrive;
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::plan::{Plan, Step};
use crate::report::{ImageReport, Reporter, StepReport};
use crate::sys::command::{Call, Tool};
use crate::sys::mount::Mounts;
use crate::sys::signal;
use crate::units::MaxWindow;
use crate::verify;

pub use config_drive::check as check_config_drive;
pub use guard::{lock, prepare, require_root};
pub use health::check_health;
pub use remnants::remnants;
pub use target::leave;

/// What steps need besides the plan.
pub struct Inputs<'a> {
    /// Fetches images.
    pub http: &'a http::Client,
    /// What goes onto the config drive: it holds secrets, so the plan does not.
    pub config_drive: &'a ConfigDrive,
    /// Is told what happens.
    pub reporter: &'a Reporter,
    /// Where the installed system is mounted while it is worked on.
    pub target: &'a Path,
    /// How far back a packed image may refer.
    pub max_window: MaxWindow,
}

/// What was done, also when it ended in an error.
#[derive(Debug, Default)]
pub struct Done {
    /// Steps that ended well.
    pub steps: Vec<StepReport>,
    /// Images that were written and proved.
    pub images: Vec<ImageReport>,
    /// Whether anything was written to a disk.
    pub is_destructive: bool,
    /// The step that failed; of several at once the first.
    pub failed_step: Option<String>,
    /// Steps that were begun, whatever became of them.
    pub begun: BTreeSet<String>,
}

/// A run of a plan, with what it opened and must close.
pub struct Run<'a> {
    inputs: Inputs<'a>,
    done: Done,
    mounts: Mounts,
    opened: Vec<Opened>,
    is_disarmed: bool,
}

/// Something that a run started to use, and ends to use when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Opened {
    VolumeGroup(String),
    Array(String),
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    #[must_use]
    pub fn new(inputs: Inputs<'a>) -> Self {
        Self { inputs, done: Done::default(), mounts: Mounts::default(), opened: Vec::new(), is_disarmed: false }
    }

    /// Carries out all steps.
    ///
    /// # Errors
    /// The first error; nothing is undone yet, see [`Run::close`].
    pub fn carry_out(&mut self, plan: &Plan) -> Result<()> {
        let mut rest = plan.steps.as_slice();
        while let Some(first) = rest.first() {
            if let Err(error) = self.disarm(plan, first) {
                self.begin(&first.id(), &first.to_string());
                return self.record(&first.id(), Instant::now(), Err(error));
            }
            // Disks do not wait for each other.
            let (now, later) = rest.split_at(together::count(rest));
            if now.len() > 1 {
                self.carry_out_together(now)?;
            } else {
                let id = first.id();
                let begun = Instant::now();
                self.begin(&id, &first.to_string());
                let result = signal::check().and_then(|()| self.step(&id, first));
                self.record(&id, begun, result)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Before the first disk is erased none of those that will be may start its old system any more.
    fn disarm(&mut self, plan: &Plan, next: &Step) -> Result<()> {
        if self.is_disarmed || !matches!(next, Step::EraseDisk { .. }) {
            return Ok(());
        }
        self.is_disarmed = true;
        self.done.is_destructive = true;
        let erased = plan.steps.iter().filter_map(|step| match step {
            Step::EraseDisk { disk, .. } => Some(disk),
            _ => None,
        });
        signal::check().and_then(|()| partition::disarm(erased))
    }

    /// Carries out steps that have nothing to do with each other at the same time. Their events are told as they happen;
    /// the report has them in the plan's order. After a failure those that are under way come to their end.
    fn carry_out_together(&mut self, steps: &[Step]) -> Result<()> {
        self.done.is_destructive = true;
        let outcome = {
            let reporter = self.inputs.reporter;
            together::carry_out(steps, reporter, |step| on_one_device(step, reporter))
        };
        self.done.begun.extend(outcome.begun);
        self.done.steps.extend(outcome.done);
        let Some((id, error)) = outcome.failed else { return Ok(()) };
        self.done.failed_step = Some(id);
        Err(error)
    }

    fn begin(&mut self, id: &str, message: &str) {
        self.done.begun.insert(id.to_owned());
        self.inputs.reporter.step_started(id, message);
    }

    /// Does something beyond the plan's steps that is told and recorded like one.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn extra_step(&mut self, id: &str, message: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        self.begin(id, message);
        let result = signal::check().and_then(|()| act());
        self.record(id, begun, result.map(|()| None))
    }

    fn record(&mut self, id: &str, begun: Instant, result: Result<Option<u64>>) -> Result<()> {
        match result {
            Ok(bytes) => {
                self.inputs.reporter.step_finished(id, bytes);
                let seconds = begun.elapsed().as_secs_f64();
                self.done.steps.push(StepReport { step: id.to_owned(), seconds, bytes });
                Ok(())
            }
            Err(error) => {
                let error = caused_by_signal(error);
                // Told before any cleaning up: whatever else goes wrong then, the cause is on record.
                self.inputs.reporter.step_failed(id, &error);
                self.done.failed_step = Some(id.to_owned());
                Err(error)
            }
        }
    }

    /// After a failure: disks that may have boot code already hand over to the next boot device again.
    pub fn withdraw_boot_code(&self, plan: &Plan) {
        for step in &plan.steps {
            let Step::InstallBootCode { disks } = step else { continue };
            let id = step.id();
            let is_begun =
                self.done.failed_step.as_ref() == Some(&id) || self.done.steps.iter().any(|it| it.step == id);
            for disk in disks.iter().filter(|_| is_begun) {
                if let Err(error) = boot_loader::withdraw(disk) {
                    // The first error stands; this one is told beside it.
                    self.inputs.reporter.log(format!("error: {error}"));
                }
            }
        }
    }

    /// Carries out one step; returns the bytes that it wrote where that says something.
    fn step(&mut self, id: &str, step: &Step) -> Result<Option<u64>> {
        self.done.is_destructive |= !matches!(
            step,
            Step::ActivateVolumeGroup { .. }
                | Step::AssembleArray { .. }
                | Step::CheckKept { .. }
                | Step::UnmountTarget
        );
        match step {
            Step::RestoreTable { disk } => partition::restore_table(disk)?,
            Step::CheckKept { expectations } => verify::check_kept(expectations)?,
            Step::DeactivateVolumeGroup { name, uuid } => storage::deactivate_group(name, uuid)?,
            Step::StopArray { device, .. } => storage::stop_array(device)?,
            Step::EraseDisk { .. }
            | Step::ErasePartition { .. }
            | Step::WriteTable { .. }
            | Step::MakeFileSystem { .. } => on_one_device(step, self.inputs.reporter)?,
            Step::WithdrawBootCode { disk } => boot_loader::withdraw(disk)?,
            Step::ActivateVolumeGroup { name } => {
                storage::activate_group(name)?;
                self.opened.push(Opened::VolumeGroup(name.clone()));
            }
            Step::AssembleArray { device, members } => {
                storage::assemble_array(device, members)?;
                self.opened.push(Opened::Array(device.clone()));
            }
            Step::CreateArray { device, level, metadata, uuid, members } => {
                storage::create_array(device, level, metadata, uuid, members)?;
                self.opened.push(Opened::Array(device.clone()));
            }
            Step::AddArrayMember { device, member } => storage::add_member(device, member)?,
            Step::CreatePhysicalVolume { device, metadata_size, metadata_copies } => {
                storage::create_physical_volume(device, *metadata_size, *metadata_copies)?;
            }
            Step::CreateVolumeGroup { name, physical_volumes } => {
                storage::create_group(name, physical_volumes)?;
                self.opened.push(Opened::VolumeGroup(name.clone()));
            }
            Step::CreateLogicalVolume { group, name, size, device } => {
                storage::create_volume(group, name, *size, device)?;
            }
            Step::WriteImage { .. } => {
                let report = image::write(id, step, &self.inputs)?;
                let bytes = report.bytes_written;
                self.done.images.push(report);
                return Ok(Some(bytes));
            }
            Step::WriteConfigDrive { .. } => return config_drive::write(id, step, &self.inputs),
            Step::WriteSeed => config_drive::write_seed(self.inputs.target, self.inputs.config_drive)?,
            Step::MountTarget { mounts } => target::mount(&mut self.mounts, self.inputs.target, mounts)?,
            Step::WriteSystemFiles { fstab, arrays, nic_names, admin } => {
                target::write_files(self.inputs.target, fstab, arrays, nic_names)?;
                admin_network::write_where_needed(self.inputs.target, admin)?;
            }
            Step::ConfigureGrub { .. } => boot_loader::configure(self.inputs.target, step)?,
            Step::InstallBootCode { disks } => boot_loader::install(self.inputs.target, disks)?,
            Step::UnmountTarget => self.mounts.unmount_all()?,
        }
        Ok(None)
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// Ends the use of everything that the run opened, and of nothing else; with `keeps_open` of the mounts alone.
    ///
    /// # Errors
    /// The first that could not be closed; the others are tried all the same.
    pub fn close(mut self, keeps_open: bool) -> (Done, Result<()>) {
        let mut first = self.mounts.unmount_all();
        if keeps_open {
            return (self.done, first);
        }
        for opened in self.opened.iter().rev() {
            let closed = match opened {
                Opened::VolumeGroup(name) => {
                    Call::new(Tool::Lvm, ["vgchange", "--activate", "n", name]).run().map(drop)
                }
                Opened::Array(device) => storage::stop_array(device),
            };
            if let Err(error) = closed {
                // After a failed step a group or array may not exist: that is no error of its own.
                warn!("closing {opened:?}: {error}");
                if first.is_ok() && self.done.failed_step.is_none() {
                    first = Err(error);
                }
            }
        }
        (self.done, first)
    }
}

/// Carries out a step that concerns one disk, partition or volume alone.
fn on_one_device(step: &Step, reporter: &Reporter) -> Result<()> {
    match step {
        Step::EraseDisk { disk, mode, partitions } => erasure::erase(&step.id(), disk, *mode, partitions, reporter),
        Step::ErasePartition { disk, partition } => partition::erase_partition(disk, partition),
        Step::WriteTable { disk, guid, partitions } => partition::write_table(disk, guid, partitions),
        Step::MakeFileSystem { device, kind, label, uuid } => file_system::make(device, kind, label.as_deref(), uuid),
        other => Err(Error::bug(format!("the step {} concerns more than one device", other.id()))),
    }
}

/// A terminal's Ctrl-C ends the tool, too: the signal is the cause, not the tool.
fn caused_by_signal(error: Error) -> Error {
    match signal::check() {
        Err(signal) if signal.kind() != error.kind() => Error::caused(signal.kind(), signal.to_string(), error),
        _ => error,
    }
}

/// A device node that a step was told to work on must be one by now.
///
/// # Errors
/// `Hardware` when it is missing or no block device: writing would fill the memory of the bootstrap (LP#1492989).
fn require_device(device: &str) -> Result<PathBuf> {
    let path = PathBuf::from(device);
    let file = std::fs::File::open(&path)
        .map_err(|cause| Error::caused(Kind::Hardware, format!("opening {device}"), cause))?;
    if crate::sys::block::is_block_device(&file)? {
        return Ok(path);
    }
    Err(Error::new(Kind::Hardware, format!("{device} is not a block device")))
}
