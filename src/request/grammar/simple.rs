//! `partitioning`: the data driver `nailgun_simple`, which is known and not supported.

use super::{Key, Rule, Section, unused};

const SCALARS: Rule = Rule::List(&Rule::Scalar);

/// `partitioning`.
pub static SIMPLE: Section = Section {
    name: "partitioning",
    text: "A finished partition scheme for the data driver nailgun_simple.",
    groups: &[&[
        unused("parteds", Rule::List(&Rule::Object(&PARTED)), "disks"),
        unused("mds", Rule::List(&Rule::Object(&MD)), "arrays"),
        unused("pvs", Rule::List(&Rule::Object(&PV)), "physical volumes"),
        unused("vgs", Rule::List(&Rule::Object(&VG)), "volume groups"),
        unused("lvs", Rule::List(&Rule::Object(&LV)), "logical volumes"),
        unused("fss", Rule::List(&Rule::Object(&FS)), "file systems"),
    ]],
};

const fn field(name: &'static str) -> Key {
    unused(name, Rule::Scalar, "nailgun_simple")
}

const fn fields(name: &'static str) -> Key {
    unused(name, SCALARS, "nailgun_simple")
}

static PARTED: Section = Section {
    name: "simple_parted",
    text: "A disk of nailgun_simple.",
    groups: &[&[
        field("name"),
        field("label"),
        field("install_bootloader"),
        unused("partitions", Rule::List(&Rule::Object(&PART)), "nailgun_simple"),
    ]],
};

static PART: Section = Section {
    name: "simple_partition",
    text: "A partition of nailgun_simple.",
    groups: &[&[
        field("name"),
        field("count"),
        field("device"),
        field("begin"),
        field("end"),
        field("partition_type"),
        fields("flags"),
        field("guid"),
        field("configdrive"),
        field("keep_data"),
    ]],
};

static MD: Section = Section {
    name: "simple_md",
    text: "An array of nailgun_simple.",
    groups: &[&[
        field("name"),
        field("level"),
        field("metadata"),
        fields("devices"),
        fields("spares"),
        field("keep_data"),
    ]],
};

static PV: Section = Section {
    name: "simple_pv",
    text: "A physical volume of nailgun_simple.",
    groups: &[&[field("name"), field("metadatasize"), field("metadatacopies"), field("keep_data")]],
};

static VG: Section = Section {
    name: "simple_vg",
    text: "A volume group of nailgun_simple.",
    groups: &[&[field("name"), fields("pvnames"), field("keep_data")]],
};

static LV: Section = Section {
    name: "simple_lv",
    text: "A logical volume of nailgun_simple.",
    groups: &[&[field("name"), field("vgname"), field("size"), field("keep_data")]],
};

static FS: Section = Section {
    name: "simple_fs",
    text: "A file system of nailgun_simple.",
    groups: &[&[
        field("device"),
        field("mount"),
        field("fs_type"),
        field("fs_options"),
        field("fs_label"),
        field("keep_data"),
    ]],
};
