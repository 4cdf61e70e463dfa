//! How much of each disk goes to the volume group `os`, and how that is shared between root and swap. Pure.

use crate::error::{Error, Kind, Result};
use crate::inventory::Disk;
use crate::units::{Bytes, Mib};

use super::profile::{RootSize, Sizes, SwapSize};

/// What Nailgun reserves on each disk for boot records, the two small partitions, the config drive and the MiB between
/// partitions.
const BOOT_RECORDS: u64 = 300;
/// What a physical volume's size holds for LVM's metadata.
const LVM_META: u64 = 64;
/// LVM's default extent.
const EXTENT: u64 = 4;

/// Sizes in MiB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Of the physical volume on each disk, in the order of the disks; zero where none is needed.
    pub pvs: Vec<Mib>,
    /// Of the volume of `/`.
    pub root: Mib,
    /// Of the volume of swap.
    pub swap: Mib,
}

/// Shares the disks out.
///
/// # Errors
/// `Hardware` when they are too small.
pub(crate) fn allocate(sizes: &Sizes, disks: &[&Disk], memory: Bytes) -> Result<Allocation> {
    let reserved = BOOT_RECORDS.saturating_add(sizes.boot.get()).saturating_add(LVM_META);
    let room = |disk: &&Disk| floor(disk.size.floor_mib().get().saturating_sub(reserved));
    let rooms: Vec<u64> = disks.iter().map(room).collect();
    let total: u64 = rooms.iter().sum();
    let swap = match sizes.swap {
        SwapSize::Exactly(size) => ceil(size.get()),
        SwapSize::ByMemory => floor(swap_by_memory(memory.floor_mib().get()).min(total / 4)),
    };
    let root = match sizes.root {
        RootSize::Exactly(size) => ceil(size.get()),
        RootSize::Rest => total.saturating_sub(swap),
        RootSize::Fifth => {
            let first = disks.first().map_or(0, |disk| disk.size.floor_mib().get());
            floor((first / 5).clamp(15 << 10, 50 << 10))
        }
    };
    let wanted = root.saturating_add(swap);
    if root == 0 || wanted > total {
        let names: Vec<_> = disks.iter().map(|disk| format!("{} ({})", disk.name, disk.size)).collect();
        return Err(Error::new(
            Kind::Hardware,
            format!("root {root} MiB and swap {swap} MiB do not fit on {}: {total} MiB are left", names.join(", ")),
        ));
    }
    let mut left = wanted;
    let pvs = rooms.into_iter().map(|room| {
        let taken = room.min(left);
        left -= taken;
        Mib::new(if taken == 0 { 0 } else { taken + LVM_META })
    });
    Ok(Allocation { pvs: pvs.collect(), root: Mib::new(root), swap: Mib::new(swap) })
}

/// Nailgun's rule: up to 2 GiB of memory twice as much, up to 8 GiB the same, up to 64 GiB half, else 4 GiB.
fn swap_by_memory(memory: u64) -> u64 {
    match memory {
        0..=0x800 => memory.saturating_mul(2),
        0x801..=0x2000 => memory,
        0x2001..=0x1_0000 => memory / 2,
        _ => 4096,
    }
}

fn floor(size: u64) -> u64 {
    size - size % EXTENT
}

fn ceil(size: u64) -> u64 {
    size.div_ceil(EXTENT).saturating_mul(EXTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_follows_memory_as_nailgun_has_it() {
        for (memory, swap) in [(1024, 2048), (2048, 4096), (8192, 8192), (16_384, 8192), (131_072, 4096)] {
            assert_eq!(swap_by_memory(memory), swap, "{memory} MiB of memory");
        }
    }
}
