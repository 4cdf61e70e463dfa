//! What is drawn at random: plain numbers and choices, each of which shrinks by itself. Whether they go together is the
//! business of [`super::document`] and [`super::machine`], which turn any draw into something valid.

use bedplate::inventory::FirmwareMode;
use bedplate::units::SectorSize;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Everything that makes up a document and a machine.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub firmware: FirmwareMode,
    /// What `/` lies on.
    pub root: Root,
    /// Where `/boot` is listed.
    pub boot: Boot,
    /// Whether an image brings `/boot`.
    pub has_boot_image: bool,
    /// Content of the groups; there is one more than are named, `os`.
    pub groups: Vec<Vec<Logical>>,
    /// Content of arrays.
    pub arrays: Vec<Content>,
    pub disks: Vec<DrawnDisk>,
    /// Which disk is marked bootable, if one is.
    pub bootable: Option<usize>,
    /// Which groups, arrays, and kinds of partitions are to be kept.
    pub keeps: Keeps,
    /// What the machine has and the document does not name.
    pub foreign: Vec<Foreign>,
}

#[derive(Debug, Clone, Copy)]
pub enum Root {
    Volume,
    Partition,
    Array,
}

#[derive(Debug, Clone, Copy)]
pub enum Boot {
    Nowhere,
    First,
    Everywhere,
}

#[derive(Debug, Clone)]
pub struct Keeps {
    pub groups: Vec<bool>,
    pub arrays: Vec<bool>,
    pub osds: bool,
    pub journals: bool,
    pub boot: bool,
}

/// A disk of the document and of the machine.
#[derive(Debug, Clone)]
pub struct DrawnDisk {
    pub node: Node,
    pub by: By,
    /// The machine's kernel gave it another name than the document has.
    pub is_renamed: bool,
    pub sector_size: SectorSize,
    pub spare: Spare,
    /// Sectors beyond whole mebibytes.
    pub odd_sectors: u64,
    pub is_boot_raid: bool,
    pub boot_size: u64,
    pub volumes: Vec<Volume>,
    pub leftover: Leftover,
    /// Whether it is another disk when the node is provisioned again.
    pub is_replaced: bool,
}

/// Which driver names the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Sd,
    Vd,
    Nvme,
    Cciss,
    Multipath,
    FirmwareRaid,
}

/// By what the document names the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Extra,
    /// Two links of which the machine has one.
    ExtraOfMany,
    /// A link that several disks have.
    Shared,
    Id,
    Name,
    /// Links that no disk has any more.
    StaleExtra,
}

/// What a disk has beyond what is asked of it.
#[derive(Debug, Clone, Copy)]
pub enum Spare {
    Mib(u64),
    UpTo100Tib,
}

#[derive(Debug, Clone)]
pub enum Volume {
    /// Wanted by nobody: a size of zero or below.
    Nothing {
        kind: usize,
        size: i64,
    },
    /// `lvm_meta_pool`, `boot`.
    Reservation {
        is_pool: bool,
        size: u64,
    },
    Partition {
        size: u64,
        content: Content,
        guid: Option<usize>,
        is_kept: bool,
    },
    Physical {
        group: usize,
        payload: u64,
        metadata: u64,
    },
    Member {
        array: usize,
        size: u64,
    },
    /// `raid` without a mount point.
    LooseMember {
        size: u64,
        is_kept: bool,
    },
    Osd {
        size: u64,
    },
    Journal {
        size: u64,
        is_partition: bool,
    },
}

#[derive(Debug, Clone)]
pub enum Content {
    Mounted { depth: usize, file_system: Option<usize>, label: Option<String> },
    Unmounted { file_system: usize, label: Option<String> },
    Swap { label: Option<String> },
    Bare,
}

#[derive(Debug, Clone)]
pub struct Logical {
    /// Share of what the group has left, in thousandths.
    pub share: u64,
    /// Mebibytes less than whole extents.
    pub below: u64,
    pub content: Content,
}

/// What is on a disk that the plan may prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Blank,
    Unseen,
    WholeDisk,
    Partitions(u32),
    /// Physical volumes of old groups.
    Group(usize),
    /// Members of old arrays.
    Array(usize),
    /// An array that is the physical volume of an old group.
    GroupOnArray,
}

/// Something that no plan may mention.
#[derive(Debug, Clone, Copy)]
pub enum Foreign {
    Empty,
    WithGroup,
    WithArray,
    WithFileSystem,
}

pub fn drawn() -> impl Strategy<Value = Drawn> {
    let disks = prop_oneof![
        30 => vec(disk(), 1..=4),
        10 => vec(disk(), 5..=12),
        1 => vec(disk(), 13..60),
        1 => vec(disk(), 60),
    ];
    let firmware = prop_oneof![Just(FirmwareMode::Bios), Just(FirmwareMode::Uefi), Just(FirmwareMode::Unknown)];
    let root = prop_oneof![3 => Just(Root::Volume), 1 => Just(Root::Partition), 2 => Just(Root::Array)];
    let boot = prop_oneof![1 => Just(Boot::Nowhere), 1 => Just(Boot::First), 3 => Just(Boot::Everywhere)];
    let groups = vec(vec(logical(), 0..4), 1..5);
    let arrays = vec(prop_oneof![4 => mounted(), 1 => swap()], 0..3);
    let foreign = vec(
        prop_oneof![
            Just(Foreign::Empty),
            Just(Foreign::WithGroup),
            Just(Foreign::WithArray),
            Just(Foreign::WithFileSystem)
        ],
        0..4,
    );
    let first = (firmware, root, boot, any::<bool>(), groups, arrays);
    (first, disks, option::of(0usize..60), keeps(), foreign).prop_map(|(first, disks, bootable, keeps, foreign)| {
        let (firmware, root, boot, has_boot_image, groups, arrays) = first;
        Drawn { firmware, root, boot, has_boot_image, groups, arrays, disks, bootable, keeps, foreign }
    })
}

fn keeps() -> impl Strategy<Value = Keeps> {
    let flags = || vec(any::<bool>(), 5);
    (flags(), flags(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(groups, arrays, osds, journals, boot)| Keeps { groups, arrays, osds, journals, boot })
}

fn disk() -> impl Strategy<Value = DrawnDisk> {
    let node = prop_oneof![
        6 => Just(Node::Sd), 1 => Just(Node::Vd), 3 => Just(Node::Nvme), 1 => Just(Node::Cciss),
        1 => Just(Node::Multipath), 1 => Just(Node::FirmwareRaid)
    ];
    let by = prop_oneof![
        4 => Just(By::Extra), 1 => Just(By::ExtraOfMany), 1 => Just(By::Shared), 2 => Just(By::Id), 1 => Just(By::Name),
        1 => Just(By::StaleExtra)
    ];
    let sector_size = prop_oneof![3 => Just(SectorSize::B512), 1 => Just(SectorSize::B4096)];
    let spare = prop_oneof![
        4 => Just(Spare::Mib(0)), 4 => (1u64..100_000).prop_map(Spare::Mib), 1 => Just(Spare::UpTo100Tib)
    ];
    let leftover = prop_oneof![
        4 => Just(Leftover::Blank), 1 => Just(Leftover::Unseen), 1 => Just(Leftover::WholeDisk),
        2 => (1u32..20).prop_map(Leftover::Partitions), 2 => (0usize..3).prop_map(Leftover::Group),
        2 => (0usize..3).prop_map(Leftover::Array), 1 => Just(Leftover::GroupOnArray),
    ];
    let boot = (any::<bool>(), 1u64..2000);
    let place = (node, by, any::<bool>(), sector_size, spare, 0u64..256);
    (place, boot, vec(volume(), 0..7), leftover, any::<bool>()).prop_map(
        |(place, (is_boot_raid, boot_size), volumes, leftover, is_replaced)| {
            let (node, by, is_renamed, sector_size, spare, odd_sectors) = place;
            DrawnDisk {
                node,
                by,
                is_renamed,
                sector_size,
                spare,
                odd_sectors,
                is_boot_raid,
                boot_size,
                volumes,
                leftover,
                is_replaced,
            }
        },
    )
}

fn volume() -> impl Strategy<Value = Volume> {
    let guid = || option::of(0usize..3);
    prop_oneof![
        2 => (0usize..4, -1_000_000i64..=0).prop_map(|(kind, size)| Volume::Nothing { kind, size }),
        1 => (any::<bool>(), 0u64..400).prop_map(|(is_pool, size)| Volume::Reservation { is_pool, size }),
        4 => (size(), content(), guid(), any::<bool>())
            .prop_map(|(size, content, guid, is_kept)| Volume::Partition { size, content, guid, is_kept }),
        5 => (0usize..5, size(), 10u64..=64)
            .prop_map(|(group, payload, metadata)| Volume::Physical { group, payload, metadata }),
        // mdadm keeps the first MiB of a member.
        3 => (0usize..3, size()).prop_map(|(array, size)| Volume::Member { array, size: size.max(2) }),
        1 => (size(), any::<bool>()).prop_map(|(size, is_kept)| Volume::LooseMember { size, is_kept }),
        2 => size().prop_map(|size| Volume::Osd { size }),
        1 => (size(), prop_oneof![4 => Just(true), 1 => Just(false)])
            .prop_map(|(size, is_partition)| Volume::Journal { size, is_partition }),
    ]
}

/// From 1 MiB to 8 TiB, each order of magnitude as often as the next.
fn size() -> impl Strategy<Value = u64> {
    (0u32..=22, 0u64..1000).prop_map(|(magnitude, part)| {
        let base = 1u64 << magnitude;
        base + base * part / 1000
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => mounted(),
        1 => (0usize..6, label()).prop_map(|(file_system, label)| Content::Unmounted { file_system, label }),
        1 => swap(),
        1 => Just(Content::Bare),
    ]
}

fn mounted() -> impl Strategy<Value = Content> {
    (0usize..3, option::of(0usize..6), label()).prop_map(|(depth, file_system, label)| Content::Mounted {
        depth,
        file_system,
        label,
    })
}

fn swap() -> impl Strategy<Value = Content> {
    label().prop_map(|label| Content::Swap { label })
}

fn label() -> impl Strategy<Value = Option<String>> {
    option::of("[a-zA-Z0-9_.]{0,20}")
}

fn logical() -> impl Strategy<Value = Logical> {
    (0u64..=1000, 0u64..4, content()).prop_map(|(share, below, content)| Logical { share, below, content })
}
