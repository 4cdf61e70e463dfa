//! Steps for disks, arrays, volume groups and file systems.

use super::{Order, bytes, identify, label};
use crate::error::Result;
use crate::inventory::{Array, Partition};
use crate::layout::{LaidPartition, Md};
use crate::plan::{Expectation, PartitionPlace, Step, TablePartition, kept};

impl Order<'_> {
    /// Arrays and groups of kept disks, and the comparison of all that is kept.
    pub(super) fn open_what_stays(&mut self) {
        if self.scene.kept.is_empty() {
            return;
        }
        let layout = self.scene.layout;
        let kept = self.scene.disks.iter().filter(|disk| self.scene.kept.contains(&disk.device));
        let hidden = kept.clone().filter(|disk| disk.lacks_protective_mbr);
        let mut steps: Vec<_> = hidden.map(|disk| Step::RestoreTable { disk: identify(disk) }).collect();
        // Whoever assembled a kept array under another name stands in the way of it, and perhaps of another.
        let arrays = layout.mds.iter().filter(|md| self.scene.array_stays(md));
        steps.extend(arrays.clone().filter_map(|md| self.stop_misnamed(md)));
        steps.extend(arrays.map(|md| {
            let members = md.devices.iter().filter(|it| self.scene.is_on_kept_disk(it)).cloned().collect();
            Step::AssembleArray { device: md.name.clone(), members }
        }));
        let groups = layout.vgs.iter().filter(|vg| self.scene.group_stays(vg));
        steps.extend(groups.map(|vg| Step::ActivateVolumeGroup { name: vg.name.clone() }));
        let expectations = kept::expectations(layout, self.scene.kept);
        // Groups and volumes are expected once more where all of them are.
        let is_told_later =
            |it: &&Expectation| matches!(it, Expectation::LogicalVolume { .. } | Expectation::VolumeGroup { .. });
        let lasting = expectations.iter().filter(|it| !is_told_later(it)).cloned();
        let lasting: Vec<_> = lasting.collect();
        steps.push(Step::CheckKept { expectations });
        steps.extend(kept.map(|disk| Step::WithdrawBootCode { disk: identify(disk) }));
        self.steps.append(&mut steps);
        self.expectations.extend(lasting);
    }

    fn stop_misnamed(&self, md: &Md) -> Option<Step> {
        let is_it =
            |array: &&Array| !array.members.is_empty() && array.members.iter().all(|it| md.devices.contains(it));
        let array = self.scene.inventory.arrays.iter().find(is_it).filter(|array| array.device != md.name)?;
        Some(Step::StopArray { device: array.device.clone(), members: array.members.clone() })
    }

    pub(super) fn prepare_disks(&mut self) -> Result<()> {
        let pairs: Vec<_> = self.scene.layout.disks.iter().zip(self.scene.disks.iter().copied()).collect();
        let prepared = || pairs.iter().filter(|(laid, _)| !self.scene.kept.contains(&laid.device));
        let mut tables = Vec::new();
        let mut steps = Vec::new();
        for ((laid, disk), mode) in pairs.iter().zip(self.scene.erasures) {
            if !self.scene.kept.contains(&laid.device) {
                let partitions = disk.partitions.iter().map(place).collect();
                steps.push(Step::EraseDisk { disk: identify(disk), mode: mode.unwrap_or_default(), partitions });
            }
        }
        for (laid, disk) in pairs.iter().filter(|(laid, _)| self.scene.kept.contains(&laid.device)) {
            for it in laid.partitions.iter().filter(|it| self.scene.renewed.contains(&it.device)) {
                steps.push(Step::ErasePartition { disk: identify(disk), partition: laid_place(it)? });
            }
        }
        for (laid, disk) in prepared() {
            let guid = self.scene.identities.uuid(&format!("disk {}", laid.device));
            let partitions = laid.partitions.iter().map(|it| self.table_partition(it)).collect::<Result<Vec<_>>>()?;
            tables.push(Expectation::Table {
                device: laid.device.clone(),
                guid: guid.clone(),
                partitions: partitions.clone(),
            });
            steps.push(Step::WriteTable { disk: identify(disk), guid, partitions });
        }
        self.steps.append(&mut steps);
        self.expectations.append(&mut tables);
        Ok(())
    }

    fn table_partition(&self, it: &LaidPartition) -> Result<TablePartition> {
        Ok(TablePartition {
            number: it.number,
            device: it.device.clone(),
            start: bytes(it.start_mib)?,
            size: bytes(it.size_mib)?,
            type_guid: it.type_guid.clone(),
            guid: self.scene.identities.uuid(&format!("partition {}", it.device)),
            name: it.role.chars().take(36).collect(),
        })
    }

    pub(super) fn make_arrays(&mut self) {
        for md in &self.scene.layout.mds {
            let (device, level, members) = (md.name.clone(), md.level.clone(), md.devices.clone());
            let stays = self.scene.array_stays(md);
            let uuid = (!stays).then(|| self.scene.identities.uuid(&format!("array {device}")));
            self.expectations.push(Expectation::Array {
                device: device.clone(),
                level: level.clone(),
                metadata: (!stays).then(|| md.metadata.clone()),
                uuid: uuid.clone(),
                members: members.clone(),
            });
            match uuid {
                Some(uuid) => {
                    let metadata = md.metadata.clone();
                    self.steps.push(Step::CreateArray { device, level, metadata, uuid, members });
                }
                None => {
                    let new = members.into_iter().filter(|it| !self.scene.is_on_kept_disk(it)).collect::<Vec<_>>();
                    let add = |member| Step::AddArrayMember { device: device.clone(), member };
                    self.steps.extend(new.into_iter().map(add));
                }
            }
        }
    }

    pub(super) fn make_groups(&mut self) {
        for vg in &self.scene.layout.vgs {
            let name = vg.name.clone();
            self.expectations.push(Expectation::VolumeGroup { name: name.clone(), physical_volumes: vg.pvs.clone() });
            let volumes: Vec<_> = self.scene.layout.lvs.iter().filter(|lv| lv.vg == vg.name).collect();
            self.expectations.extend(volumes.iter().map(|lv| Expectation::LogicalVolume {
                group: lv.vg.clone(),
                name: lv.name.clone(),
                size: lv.size_mib,
            }));
            if self.scene.group_stays(vg) {
                continue;
            }
            let physical = self.scene.layout.pvs.iter().filter(|pv| vg.pvs.contains(&pv.name));
            let physical: Vec<_> = physical
                .map(|pv| Step::CreatePhysicalVolume {
                    device: pv.name.clone(),
                    metadata_size: pv.metadatasize_mib,
                    metadata_copies: pv.metadatacopies,
                })
                .collect();
            self.steps.extend(physical);
            self.steps.push(Step::CreateVolumeGroup { name, physical_volumes: vg.pvs.clone() });
            self.steps.extend(volumes.iter().map(|lv| Step::CreateLogicalVolume {
                group: lv.vg.clone(),
                name: lv.name.clone(),
                size: lv.size_mib,
                device: lv.device.clone(),
            }));
        }
    }

    pub(super) fn make_file_systems(&mut self) {
        for it in self.scene.layout.filesystems.iter().filter(|it| it.mkfs) {
            let (label, uuid) = (label(it), self.scene.file_system_uuid(it));
            self.expectations.push(Expectation::FileSystem {
                device: it.device.clone(),
                kind: it.kind.clone(),
                uuid: uuid.clone(),
                label: label.clone(),
            });
            self.steps.push(Step::MakeFileSystem { device: it.device.clone(), kind: it.kind.clone(), label, uuid });
        }
    }
}

fn laid_place(it: &LaidPartition) -> Result<PartitionPlace> {
    let (start, size) = (bytes(it.start_mib)?, bytes(it.size_mib)?);
    Ok(PartitionPlace { number: it.number, device: it.device.clone(), start, size })
}

/// Where a partition lies.
pub fn place(it: &Partition) -> PartitionPlace {
    PartitionPlace { number: it.number, device: it.device.clone(), start: it.start, size: it.size }
}
