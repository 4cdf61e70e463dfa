//! What is there: a read-only picture of the machine, a plain value that can be saved and replayed.

mod model;
mod order;
mod saved;

pub use model::{
    Array, Cpu, Disk, Firmware, FirmwareMode, Interface, Inventory, LogicalVolume, Memory, MultipathPath, Partition,
    PhysicalVolume, Signature, System, Use, VolumeGroup, Warning,
};
pub use order::natural_key;
pub use saved::from_json;
