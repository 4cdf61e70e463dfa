//! The top level, the sections that concern one machine's network, and the extensions.

use super::meta::META;
use super::netboot::NETBOOT;
use super::network::NETWORK;
use super::simple::SIMPLE;
use super::{Choice, Rule, Section, optional, required, unused};

/// A provision.json.
pub static DOCUMENT: Section = Section {
    name: "document",
    text: "What one node is to become: a provision.json as Nailgun of Fuel 6.1 to 10.0 emits it. Sizes are MiB.",
    groups: &[&[
        optional("uid", Rule::Identifier, "node id in Nailgun: instance id; identity where `mco_identity` is missing"),
        required("hostname", Rule::Text, "host name and FQDN"),
        required("profile", Rule::Text, "Cobbler profile: the operating system, where the image's metadata is silent"),
        required("name_servers", Rule::Text, "resolvers, in the literal quotes that Cobbler wants"),
        required("name_servers_search", Rule::Text, "search domains, likewise"),
        required("kernel_options", Rule::Object(&KERNEL_OPTIONS), "which interface is which"),
        required(
            "interfaces",
            Rule::Map { item: &Rule::Object(&INTERFACE), required: &[] },
            "physical interfaces by name",
        ),
        required("ks_meta", Rule::Object(&META), "everything about the system to install"),
        optional("bedplate", Rule::Object(&EXTENSION), "extensions, which Fuel ignores").secret(),
        unused("name", Rule::Scalar, "short host name, for Cobbler"),
        optional(
            "slave_name",
            Rule::Scalar,
            "name of the system in Cobbler, for the one that switches network boot there",
        ),
        unused("netboot_enabled", Rule::Scalar, "for Cobbler"),
        unused("power_type", Rule::Scalar, "for Cobbler"),
        unused("power_user", Rule::Scalar, "for Cobbler"),
        unused("power_address", Rule::Scalar, "for Cobbler"),
        unused("power_pass", Rule::Scalar, "for Cobbler: a key file on the master").secret(),
        unused(
            "interfaces_extra",
            Rule::Map { item: &Rule::Map { item: &Rule::Scalar, required: &[] }, required: &[] },
            "for Cobbler: `peerdns` and `onboot` by interface",
        ),
        // Its presence is all that matters.
        optional(
            "partitioning",
            Rule::Object(&SIMPLE),
            "for the data driver `nailgun_simple`, which is not supported: refused where `ks_spaces` is empty, else ignored",
        ),
    ]],
};

static KERNEL_OPTIONS: Section = Section {
    name: "kernel_options",
    text: "Which interface is which.",
    groups: &[&[
        required("netcfg/choose_interface", Rule::Text, "MAC address of the admin (PXE) interface, in any case"),
        required("udevrules", Rule::Text, "names of all interfaces: `MAC_NAME,MAC_NAME,..`"),
    ]],
};

static INTERFACE: Section = Section {
    name: "interface",
    text: "A physical interface.",
    groups: &[&[
        required("mac_address", Rule::Text, "MAC address, in any case"),
        optional("ip_address", Rule::Text, "IPv4 address; required of the admin interface, else unread"),
        optional("netmask", Rule::Text, "IPv4 netmask; required of the admin interface, else unread"),
        unused("static", Rule::Scalar, "for Cobbler"),
        unused("dns_name", Rule::Scalar, "for Cobbler"),
    ]],
};

static EXTENSION: Section = Section {
    name: "bedplate",
    text: "Extensions, which Fuel ignores.",
    groups: &[&[
        optional(
            "require_digest",
            Rule::Flag,
            "whether an image of which neither a digest nor a signature is known is an error",
        ),
        optional(
            "repositories",
            Rule::Flag,
            "whether the first boot configures the repositories of `repo_setup`, too; Fuel's deployment does it later",
        ),
        optional("config_drive", Rule::Object(&CONFIG_DRIVE), "how the first boot's data reach cloud-init"),
        optional("phone_home", Rule::Object(&PHONE_HOME), "where cloud-init reports that the first boot is done"),
        optional("network", Rule::Object(&NETWORK), "the whole network; without it the admin interface alone"),
        optional("netboot", Rule::Variants(&NETBOOT), "how network boot of the node is switched"),
    ]],
};

static CONFIG_DRIVE: Section = Section {
    name: "config_drive",
    text: "How the first boot's data reach cloud-init.",
    groups: &[&[
        optional(
            "place",
            Rule::Choice(&PLACE),
            "`partition`, or `seed`: the folder of the root file system, without a partition",
        ),
        optional("form", Rule::Choice(&FORM), "`nocloud`, or `openstack`: config drive version 2"),
        optional(
            "file_system",
            Rule::Choice(&DRIVE),
            "`vfat`, or `iso9660`, which sectors of 4096 bytes cannot carry; `openstack` is made on `iso9660` alone",
        ),
        optional("image", Rule::Text, "http, https or file: a ready image, written as it is").secret(),
        optional("digests", Rule::List(&Rule::Text), "of that image, `ALGORITHM:HEX`"),
    ]],
};

static PLACE: Choice = Choice { words: &["partition", "seed"], expected: "one of \"partition\" and \"seed\"" };

static FORM: Choice = Choice { words: &["nocloud", "openstack"], expected: "one of \"nocloud\" and \"openstack\"" };

static DRIVE: Choice = Choice { words: &["vfat", "iso9660"], expected: "one of \"vfat\" and \"iso9660\"" };

static PHONE_HOME: Section = Section {
    name: "phone_home",
    text: "Where cloud-init reports that the first boot is done.",
    groups: &[&[required("url", Rule::Text, "http or https URL that cloud-init posts to").secret()]],
};
