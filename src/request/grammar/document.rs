//! The top level, the sections that concern one machine's network, and the extensions.

use super::meta::META;
use super::netboot::NETBOOT;
use super::simple::SIMPLE;
use super::{Rule, Section, optional, required, unused};

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
        optional("phone_home", Rule::Object(&PHONE_HOME), "where cloud-init reports that the first boot is done"),
        // It goes to cloud-init as it is, so that no key of it is unknown.
        optional(
            "network",
            Rule::Map { item: &Rule::Any, required: &["version"] },
            "cloud-init network-config of version 2, used as it is",
        ),
        optional("netboot", Rule::Variants(&NETBOOT), "how network boot of the node is switched"),
    ]],
};

static PHONE_HOME: Section = Section {
    name: "phone_home",
    text: "Where cloud-init reports that the first boot is done.",
    groups: &[&[required("url", Rule::Text, "http or https URL that cloud-init posts to").secret()]],
};
