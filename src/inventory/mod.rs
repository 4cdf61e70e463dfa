//! What is there: a read-only picture of the machine, a plain value that can be saved and replayed.

mod model;

pub use model::{
    Array, Cpu, Disk, Firmware, FirmwareMode, Interface, Inventory, LogicalVolume, Memory, Partition, PhysicalVolume,
    Signature, System, Use, VolumeGroup, Warning,
};
