//! UUIDs that follow from a seed, and the seed that follows from the machine.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::inventory::Disk;
use crate::layout::Layout;
use crate::plan::hex;
use crate::request::Request;

/// Derives every identifier of a plan from its seed.
#[derive(Debug, Clone)]
pub struct Identities {
    namespace: Uuid,
}

impl Identities {
    /// The seed of plans that give nothing an identity.
    pub const NONE: &str = "none";

    /// Identifiers for this seed.
    #[must_use]
    pub fn new(seed: &str) -> Self {
        Self { namespace: Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes()) }
    }

    /// The UUID of something by its name within the plan, lower case with hyphens.
    #[must_use]
    pub fn uuid(&self, what: &str) -> String {
        Uuid::new_v5(&self.namespace, what.as_bytes()).hyphenated().to_string()
    }

    /// The 32 bit volume id of a FAT file system.
    #[must_use]
    pub fn volume_id(&self, what: &str) -> u32 {
        let bytes = Uuid::new_v5(&self.namespace, what.as_bytes()).into_bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// The seed of a plan when none was given: it changes with what is wanted and with the disks, and with nothing else.
///
/// What is kept does not count: a new disk is no new disk any more once the first stage has prepared it, and the stages
/// that follow must give the same identities.
pub fn seed(request: &Request, layout: &Layout, disks: &[&Disk]) -> Result<String> {
    let layout = serde_json::to_string(&without_keeping(layout))
        .map_err(|cause| Error::bug(format!("writing the layout: {cause}")))?;
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        // The length keeps "ab" + "c" apart from "a" + "bc".
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    };
    add(&request.hostname);
    add(request.uid.as_deref().unwrap_or_default());
    add(&layout);
    for disk in disks {
        add(disk.serial.as_deref().unwrap_or_default());
        add(disk.wwn.as_deref().unwrap_or_default());
        add(&disk.size.get().to_string());
    }
    Ok(hex(&digest.finalize()[..16]))
}

fn without_keeping(layout: &Layout) -> Layout {
    let mut layout = layout.clone();
    layout.skip_partitioning = false;
    layout.disks.iter_mut().flat_map(|disk| &mut disk.partitions).for_each(|it| it.keep_data = false);
    layout.vgs.iter_mut().for_each(|it| it.keep_data = false);
    layout.lvs.iter_mut().for_each(|it| it.keep_data = false);
    for it in &mut layout.filesystems {
        (it.keep_data, it.mkfs) = (false, !it.from_image);
    }
    layout
}
