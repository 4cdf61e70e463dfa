//! What will be done: ordered steps as data, what each destroys, what must be true afterwards, and a digest over all
//! of it. Pure: the same inputs and seed give the same plan, byte for byte.

mod before;
mod erasure;
mod guards;
mod identity;
mod images;
mod kept;
mod losses;
mod render;
mod stacks;
mod stage;
mod step;
mod steps;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};
use crate::inventory::{FirmwareMode, Inventory};
use crate::layout::{self, Layout, Resolved};
use crate::request::{Request, SideCar};

pub use before::{DiskBefore, Fate, PartitionBefore};
pub use erasure::erase;
pub use identity::Identities;
pub use losses::Loss;
pub use stage::Stage;
pub use step::{BootStorage, DiskIdentity, Expectation, PartitionPlace, Step, TablePartition, TargetMount};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// `sha256:HEX` over the plan without this key, as JSON with sorted keys and no white space.
    pub digest: String,
    /// From which all UUIDs of the plan are derived.
    pub seed: String,
    /// How the machine starts.
    pub firmware: FirmwareMode,
    /// The disks of the layout, in its order, and what is on them now.
    pub disks: Vec<DiskBefore>,
    /// Where everything goes.
    pub layout: Layout,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What is lost.
    pub destroys: Vec<Loss>,
    /// What must be true afterwards.
    pub expectations: Vec<Expectation>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Makes the plan that carries out `request` on this machine.
///
/// Without `seed` the UUIDs derive from the layout and the identities of the disks, so that an unchanged machine gets
/// the same plan again.
///
/// # Errors
/// Those of [`layout::resolve`]; `Refused` when a disk is in use or something on it reaches beyond the disks that the
/// request names; `Image` when images are not proved although the request demands it.
pub fn make(request: &Request, inventory: &Inventory, side_car: Option<&SideCar>, seed: Option<&str>) -> Result<Plan> {
    let resolved = layout::resolve(request, inventory, side_car)?;
    let Resolved { layout, disks, erasures, mut warnings } = resolved;
    let images = images::known(&layout, request, side_car)?;
    warnings.extend(images::require_proof(&images, request, side_car)?);
    warnings.extend(boot_warning(&layout, inventory.firmware.mode));
    let kept = layout::kept_disks(&layout);
    let renewed = layout::renewed_partitions(&layout, &kept);
    guards::refuse_disks_in_use(&disks, inventory)?;
    kept::compare(&layout, &disks, &kept, inventory, &mut warnings)?;
    let mut rewritten = layout::rewritten_partitions(&layout, &kept);
    rewritten.extend(renewed.iter().cloned());
    let closings = guards::closings(&layout, &disks, &guards::Fates { kept: &kept, rewritten: &rewritten }, inventory)?;
    let seed = match seed {
        Some(seed) => seed.to_owned(),
        None => identity::seed(request, &layout, &disks)?,
    };
    let identities = Identities::new(&seed);
    let scene = steps::Scene {
        layout: &layout,
        disks: &disks,
        erasures: &erasures,
        kept: &kept,
        renewed: &renewed,
        inventory,
        identities: &identities,
    };
    let (steps, expectations) = steps::order(scene, closings, &images, request)?;
    guards::refuse_planned_identities_elsewhere(&expectations, &disks, inventory)?;
    let destroys = losses::of(&disks, &kept, &renewed, inventory, &layout);
    let firmware = inventory.firmware.mode;
    let disks = before::look(&disks, &kept, inventory);
    let mut plan =
        Plan { digest: String::new(), seed, firmware, disks, layout, steps, destroys, expectations, warnings };
    plan.digest = plan.compute_digest()?;
    Ok(plan)
}

/// What is planned although a run would be refused (11): the boot loader of these machines is not installed yet.
fn boot_warning(layout: &Layout, firmware: FirmwareMode) -> Option<String> {
    let refused = "`provision` refuses that";
    if layout.bootloader.grub_version_by_os == 1 {
        return Some(format!("the installed system would start through GRUB 1: {refused}"));
    }
    let uefi = "this machine was started through UEFI, and the boot loader is installed for BIOS alone";
    (firmware == FirmwareMode::Uefi).then(|| format!("{uefi}: {refused}"))
}

impl Plan {
    /// The digest that belongs into `digest`.
    ///
    /// # Errors
    /// `Bug` when the plan cannot be written as JSON.
    pub fn compute_digest(&self) -> Result<String> {
        let mut value =
            serde_json::to_value(self).map_err(|cause| Error::bug(format!("writing the plan as JSON: {cause}")))?;
        if let Some(object) = value.as_object_mut() {
            object.remove("digest");
        }
        // serde_json sorts the keys of a Value and writes no white space.
        Ok(format!("sha256:{}", hex(&Sha256::digest(value.to_string()))))
    }

    /// Reads a saved plan.
    ///
    /// # Errors
    /// `Request` when it is not a plan, `Refused` when it was changed since it was made.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let plan: Self = serde_json::from_slice(bytes)
            .map_err(|cause| Error::caused(Kind::Request, "reading the plan: $", cause))?;
        let digest = plan.compute_digest()?;
        if digest != plan.digest {
            return Err(Error::new(
                Kind::Refused,
                format!("the saved plan was changed: it says digest {}, its content has {digest}", plan.digest),
            ));
        }
        Ok(plan)
    }

    /// Refuses this plan unless its digest is the one named.
    ///
    /// # Errors
    /// `Refused` with both digests.
    pub fn require_digest(&self, digest: &str) -> Result<()> {
        if self.digest == digest {
            return Ok(());
        }
        Err(Error::new(
            Kind::Refused,
            format!("the plan is not the one that was approved: approved {digest}, made here {}", self.digest),
        )
        .advise(
            "the machine or the request changed since the plan was shown; look at the plan again and approve it anew",
        ))
    }

    /// The plan for people.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        render::text(self, colour)
    }
}

/// Hexadecimal digits in lower case.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
