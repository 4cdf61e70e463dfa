//! What is wanted: a provision.json as a typed value. Pure; knows nothing of the machine.

mod model;

pub use model::{
    Account, AdminInterface, Container, DiskSpec, ImageSpec, LvSpec, Mcollective, Mount, NicName, PhoneHome, Puppet,
    Repository, Request, Secret, VgSpec, VolumeKind, VolumeSpec,
};
