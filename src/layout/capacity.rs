//! Whether LVM and the images fit, before LVM and the images say so.

use crate::error::{Error, Kind};
use crate::layout::findings::Findings;
use crate::layout::keep::keeps_group;
use crate::layout::model::Layout;
use crate::request::{Request, shown_uri};
use crate::units::{Bytes, Mib};

pub use crate::request::LVM_EXTENT;

/// Checks that every group holds its volumes; a fault of the request names the extents that are needed and those that
/// there are. A group without a physical volume is a fault already.
pub fn check_groups(request: &Request, layout: &Layout, findings: &mut Findings) {
    // A group that is kept is there already, whoever made it.
    for group in layout.vgs.iter().filter(|group| !keeps_group(layout, group)) {
        let available: u64 = group.pvs.iter().map(|device| extents(layout, device)).sum();
        let volumes = layout.lvs.iter().filter(|volume| volume.vg == group.name);
        let needed: u64 = volumes.clone().map(|volume| volume.size_mib.get().div_ceil(LVM_EXTENT.get())).sum();
        if needed > available {
            let names: Vec<_> = volumes.map(|volume| format!("{} {}", volume.name, volume.size_mib)).collect();
            let path = request.volume_groups.iter().find(|spec| spec.name == group.name).map(|spec| spec.path.as_str());
            findings.fault(Error::new(
                Kind::Request,
                format!(
                    "{}: volume group {} is too small: its volumes ({}) need {needed} extents of {LVM_EXTENT}, its physical volumes have {available}",
                    path.unwrap_or("$.ks_meta.pm_data.ks_spaces"),
                    group.name,
                    names.join(", "),
                ),
            ));
        }
    }
}

/// Extents that LVM makes on a physical volume.
///
/// Metadata of M MiB begins at 4 KiB, so that data begin at the next whole MiB, M + 1; the second copy takes M MiB at
/// the end (measured with lvm2 2.03: `pvs -o pe_start,vg_extent_count` after `pvcreate --metadatacopies 2`).
fn extents(layout: &Layout, device: &str) -> u64 {
    let Some(pv) = layout.pvs.iter().find(|pv| pv.name == device) else { return 0 };
    let size = device_size(layout, device).map_or(0, Mib::get);
    size.saturating_sub(2 * pv.metadatasize_mib.get() + 1) / LVM_EXTENT.get()
}

/// What mdadm sets aside on a member of a mirror, rounded up to MiB.
///
/// Versions 1.x keep room before the data: superblock, bitmap, and up to 128 MiB for later changes of form, about a
/// thousandth of the member (mdadm 4.2, super1.c, `validate_geometry1`). 0.90 keeps between 64 and 128 KiB at the end.
fn set_aside(metadata: &str, member: Mib) -> Mib {
    const SECTORS_A_MIB: u64 = 2048;
    if metadata == "0.90" {
        return Mib::new(1);
    }
    let sectors = member.get().saturating_mul(SECTORS_A_MIB);
    let gib = |count: u64| count * 1024 * SECTORS_A_MIB;
    let bitmap = match sectors {
        0..128 => 0,
        _ if sectors - 128 >= gib(200) => 256,
        _ if sectors - 8 > gib(8) => 128,
        _ => 8,
    };
    let mut headroom = 128 * SECTORS_A_MIB;
    while headroom << 10 > sectors && headroom > 0 {
        headroom >>= 1;
    }
    Mib::new((24 + bitmap + headroom).div_ceil(SECTORS_A_MIB))
}

/// Size of a partition, array or volume of the layout. An array of mirrored members has the size of the smallest, less
/// what md sets aside on it.
pub fn device_size(layout: &Layout, device: &str) -> Option<Mib> {
    let partitions = || layout.disks.iter().flat_map(|disk| &disk.partitions);
    let partition = |device: &str| partitions().find(|it| it.device == device).map(|it| it.size_mib);
    let volume = || layout.lvs.iter().find(|it| it.device == device).map(|it| it.size_mib);
    let array = || {
        let md = layout.mds.iter().find(|it| it.name == device)?;
        let member = md.devices.iter().filter_map(|member| partition(member)).min()?;
        Some(Mib::new(member.get().saturating_sub(set_aside(&md.metadata, member).get())))
    };
    partition(device).or_else(volume).or_else(array)
}

/// Checks that every image whose size is known fits its target; one that does not is a fault of kind `Image`.
pub fn check_images(layout: &Layout, findings: &mut Findings) {
    // The size of an archive is not that of its files.
    for image in layout.images.iter().filter(|it| !it.is_archive()) {
        let target = device_size(layout, &image.target).and_then(Mib::bytes);
        let (Some(size), Some(target)) = (image.size.map(Bytes::new), target) else { continue };
        if size > target {
            findings.fault(Error::new(
                Kind::Image,
                format!(
                    "image {} is larger than its target {}: {} unpacked, {} there",
                    shown_uri(&image.uri),
                    image.target,
                    size.exact(),
                    target.exact()
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_md_sets_aside_is_that_of_mdadm() {
        // 1 GiB: headroom of 2048 sectors behind 32 others; 2 TiB: the most there is.
        let of = |gib: u64| set_aside("default", Mib::new(gib * 1024)).get();
        assert_eq!(set_aside("1.2", Mib::new(200)), Mib::new(1));
        assert_eq!([of(1), of(20), of(40), of(2048)], [2, 17, 33, 129]);
        assert_eq!(set_aside("0.90", Mib::new(2048)), Mib::new(1));
        assert_eq!(set_aside("default", Mib::new(0)), Mib::new(1));
    }
}
