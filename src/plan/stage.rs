//! Parts of a plan, for those who carry it out piece by piece.

use crate::error::Result;
use crate::plan::{Expectation, Plan, Step};

/// A part of provisioning, as the commands of the field name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Tables, arrays, volumes, file systems.
    Partition,
    /// Images.
    CopyImage,
    /// The config drive.
    ConfigDrive,
    /// fstab, boot loader.
    BootLoader,
}

impl Plan {
    /// The plan of one stage alone, with its own digest. Identifiers are those of the whole plan, since they follow from
    /// its seed.
    ///
    /// # Errors
    /// `Bug` when the plan cannot be written as JSON.
    pub fn stage(mut self, stage: Stage) -> Result<Self> {
        let made: Vec<_> = self.layout.filesystems.iter().filter(|it| it.mkfs).map(|it| it.device.clone()).collect();
        let images: Vec<_> = self.layout.images.iter().map(|it| it.target.clone()).collect();
        self.steps.retain(|step| stage_of(step) == stage);
        if stage != Stage::Partition {
            self.destroys.clear();
            // An earlier stage made them; whoever rebooted in between finds them inactive.
            let arrays = self
                .layout
                .mds
                .iter()
                .map(|it| Step::AssembleArray { device: it.name.clone(), members: it.devices.clone() });
            let groups = self.layout.vgs.iter().map(|it| Step::ActivateVolumeGroup { name: it.name.clone() });
            self.steps.splice(0..0, arrays.chain(groups).collect::<Vec<_>>());
        }
        let config_drive = self.layout.configdrive_device.clone();
        self.expectations.retain(|expectation| match expectation {
            Expectation::Table { .. }
            | Expectation::Partitions { .. }
            | Expectation::Content { .. }
            | Expectation::Array { .. }
            | Expectation::VolumeGroup { .. }
            | Expectation::LogicalVolume { .. } => stage == Stage::Partition,
            Expectation::FileSystem { device, .. } => match stage {
                Stage::Partition => made.contains(device),
                Stage::CopyImage => images.contains(device),
                Stage::ConfigDrive => config_drive.as_ref() == Some(device),
                Stage::BootLoader => false,
            },
            Expectation::Fstab { .. } | Expectation::BootCode { .. } => stage == Stage::BootLoader,
        });
        self.digest = self.compute_digest()?;
        Ok(self)
    }
}

fn stage_of(step: &Step) -> Stage {
    match step {
        Step::RestoreTable { .. }
        | Step::CheckKept { .. }
        | Step::DeactivateVolumeGroup { .. }
        | Step::StopArray { .. }
        | Step::EraseDisk { .. }
        | Step::ErasePartition { .. }
        | Step::WithdrawBootCode { .. }
        | Step::WriteTable { .. }
        | Step::ActivateVolumeGroup { .. }
        | Step::AssembleArray { .. }
        | Step::CreateArray { .. }
        | Step::AddArrayMember { .. }
        | Step::CreatePhysicalVolume { .. }
        | Step::CreateVolumeGroup { .. }
        | Step::CreateLogicalVolume { .. }
        | Step::MakeFileSystem { .. } => Stage::Partition,
        Step::WriteImage { .. } => Stage::CopyImage,
        Step::WriteConfigDrive { .. } => Stage::ConfigDrive,
        Step::MountTarget { .. }
        | Step::WriteSeed
        | Step::WriteSystemFiles { .. }
        | Step::ConfigureGrub { .. }
        | Step::InstallBootCode { .. }
        | Step::UnmountTarget => Stage::BootLoader,
    }
}
