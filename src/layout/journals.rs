//! How Ceph journals are shared out over the journal disks.

use crate::error::{Error, Kind, Result};
use crate::layout::findings::Findings;
use crate::request::{Request, VolumeKind, VolumeSpec};
use crate::units::Mib;

/// The largest Ceph journal.
const MAX_JOURNAL: u64 = 10_240;

/// What is still to be shared out.
pub struct Journals {
    /// Journals on each device, the last ones excepted.
    ratio: u64,
    /// Journals that have no place yet.
    left: u64,
}

/// The journals on one device.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Size of each.
    pub size: Mib,
}

impl Journals {
    /// One journal for every OSD of the request.
    pub fn of(request: &Request) -> Self {
        let count = |name: &str| {
            let volumes = request.disks.iter().flat_map(|disk| &disk.volumes);
            let count =
                volumes.filter(|volume| volume.name.as_deref() == Some(name) && volume.size > Mib::default()).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        let (osds, devices) = (count("ceph"), count("cephjournal"));
        Self { ratio: if devices == 0 { 0 } else { osds.div_ceil(devices) }, left: osds }
    }

    /// Takes the share of one journal volume. Only partitions carry journals, yet every volume uses up its share, as
    /// upstream counted.
    ///
    /// # Errors
    /// `Request` when the volume is too small for its journals.
    pub fn take(&mut self, volume: &VolumeSpec, findings: &mut Findings) -> Result<Share> {
        if self.ratio == 0 {
            findings.warn(format!("{}: there are no OSDs, so no journals are made", volume.path));
            return Ok(Share::default());
        }
        let count = self.ratio.min(self.left);
        self.left -= count;
        if !matches!(volume.kind, VolumeKind::Partition { .. }) {
            return Ok(Share::default());
        }
        let size = Mib::new((volume.size.get() / self.ratio).min(MAX_JOURNAL));
        if size == Mib::default() && count > 0 {
            return Err(Error::new(
                Kind::Request,
                format!(
                    "{}: a Ceph journal volume of {} does not hold {} journals",
                    volume.path, volume.size, self.ratio
                ),
            ));
        }
        let unused = volume.size.get() - count * size.get();
        if unused >= size.get() {
            findings.warn(format!(
                "{}: {count} journals of {size} leave {} of {} unused",
                volume.path,
                Mib::new(unused),
                volume.size
            ));
        }
        Ok(Share { count, size })
    }
}
