//! `ks_spaces`: disks with their volumes, volume groups with theirs.

use super::{Choice, Key, Rule, Section, Variants, optional, required, unused};

/// An element of `ks_spaces`.
pub static SPACE: Rule =
    Rule::Variants(&Variants { of: &[("disk", &DISK), ("vg", &GROUP)], expected: "\"disk\" or \"vg\"" });

static DISK: Section = Section {
    name: "disk",
    text: "A disk and what is to be on it.",
    groups: &[&[
        required("id", Rule::Text, "by-path link below /dev; decides where `extra` is empty"),
        required("name", Rule::Text, "kernel name; decides where no link does, with a warning"),
        required("size", Rule::Integer, "size, rounded down"),
        optional("extra", Rule::List(&Rule::Text), "by-id links below /dev, by which the disk is found"),
        optional("bootable", Rule::Flag, "`/boot` goes here; true for one disk at most (9.0 and later)"),
        optional(
            "expect",
            Rule::Closed(&EXPECT),
            "what must be true of the disk before anything is written (extension)",
        ),
        optional(
            "erase",
            Rule::Choice(&ERASE),
            "how the disk is emptied first: `quick`, `discard`, `sanitize` or `overwrite` (extension)",
        ),
        required("volumes", Rule::List(&VOLUME), "volumes, in the order of their partitions"),
        unused("free_space", Rule::Scalar, "bookkeeping of Nailgun's volume manager, often wrong"),
    ]],
};

static EXPECT: Section = Section {
    name: "expect",
    text: "What must be true of the disk before anything is written (extension).",
    groups: &[&[
        optional("serial", Rule::Text, "serial number"),
        optional("wwn", Rule::Text, "world wide name, as udev writes it"),
        optional("min_size", Rule::Integer, "the least size"),
        optional("max_size", Rule::Integer, "the largest size"),
        optional("rotational", Rule::Flag, "whether it rotates"),
        optional(
            "content",
            Rule::Choice(&CONTENT),
            "`empty_or_ours`: it is empty, or its table is one of Fuel's or Bedplate's",
        ),
    ]],
};

static ERASE: Choice = Choice {
    words: &["quick", "discard", "sanitize", "overwrite"],
    expected: "one of \"quick\", \"discard\", \"sanitize\", \"overwrite\"",
};

static CONTENT: Choice = Choice { words: &["empty_or_ours"], expected: "\"empty_or_ours\"" };

static VOLUME: Rule = Rule::Variants(&Variants {
    of: &[
        ("boot", &BOOT),
        ("lvm_meta_pool", &LVM_META_POOL),
        ("partition", &PARTITION),
        ("raid", &RAID),
        ("pv", &PHYSICAL_VOLUME),
    ],
    expected: "one of \"boot\", \"lvm_meta_pool\", \"partition\", \"raid\", \"pv\"",
});

static BOOT: Section = Section {
    name: "boot",
    text: "Room for boot records; creates nothing by itself.",
    groups: &[SIZED, NO_FILE_SYSTEM, NO_GROUP],
};

static LVM_META_POOL: Section = Section {
    name: "lvm_meta_pool",
    text: "Room for LVM's metadata; creates nothing by itself.",
    groups: &[SIZED, NO_FILE_SYSTEM, NO_GROUP],
};

static PARTITION: Section = Section {
    name: "partition",
    text: "A partition, with a file system unless `mount` and `file_system` are both `none` or missing.",
    groups: &[SIZED, FILE_SYSTEM, TYPE_GUID],
};

static RAID: Section = Section {
    name: "raid",
    text: "A member of the md array for its mount point; for `/boot` a plain partition.",
    groups: &[SIZED, FILE_SYSTEM, TYPE_GUID],
};

static PHYSICAL_VOLUME: Section = Section {
    name: "pv",
    text: "An LVM physical volume.",
    groups: &[
        SIZED,
        &[
            required("vg", Rule::Text, "its volume group"),
            required("lvm_meta_size", Rule::Integer, "the part of `size` for LVM's metadata, at least 10"),
        ],
        NO_FILE_SYSTEM,
    ],
};

static GROUP: Section = Section {
    name: "vg",
    text: "A volume group and what is to be in it.",
    groups: &[&[
        required("id", Rule::Text, "its name"),
        required("volumes", Rule::List(&LOGICAL), "logical volumes"),
        unused("label", Rule::Scalar, "for Nailgun's web interface"),
        unused("min_size", Rule::Scalar, "for Nailgun's volume manager"),
        unused("_allocate_size", Rule::Scalar, "for Nailgun's volume manager"),
    ]],
};

static LOGICAL: Rule = Rule::Variants(&Variants { of: &[("lv", &LOGICAL_VOLUME)], expected: "\"lv\"" });

static LOGICAL_VOLUME: Section = Section {
    name: "lv",
    text: "A logical volume, with a file system unless `mount` is `none` or missing.",
    groups: &[
        &[required("name", Rule::Text, "its name"), required("size", Rule::Integer, "size; 0 and below: not wanted")],
        FILE_SYSTEM,
        // Nailgun sends them along; a logical volume is kept by the flag of its physical volumes.
        &[
            unused("keep_data", Rule::Scalar, "the physical volumes' flag decides"),
            unused("partition_guid", Rule::Scalar, "for partitions"),
        ],
    ],
};

const SIZED: &[Key] = &[
    required("size", Rule::Integer, "size; 0 and below: not wanted"),
    optional("name", Rule::Text, "`ceph` and `cephjournal` have a meaning").not_null(),
    optional("keep_data", Rule::Flag, "what is on it stays"),
];

/// Null in the first two is a fault for upstream, too: it could mean `none` as well as the default.
const FILE_SYSTEM: &[Key] = &[
    optional("mount", Rule::Text, "absolute path, `swap` or `none`").not_null(),
    optional(
        "file_system",
        Rule::Text,
        "`ext2`, `ext3`, `ext4`, `xfs`, `btrfs`, `vfat`, `swap` or `none`; xfs where it is missing, for `raid` on `/boot` ext2",
    )
    .not_null(),
    optional("disk_label", Rule::Text, "label of the file system, cut to 12 characters; empty for none"),
];

const TYPE_GUID: &[Key] = &[optional("partition_guid", Rule::Text, "GPT type GUID")];

const NO_FILE_SYSTEM: &[Key] = &[
    unused("mount", Rule::Scalar, "no meaning here"),
    unused("file_system", Rule::Scalar, "no meaning here"),
    unused("disk_label", Rule::Scalar, "no meaning here"),
    unused("partition_guid", Rule::Scalar, "no meaning here"),
];

const NO_GROUP: &[Key] =
    &[unused("vg", Rule::Scalar, "no meaning here"), unused("lvm_meta_size", Rule::Scalar, "no meaning here")];
