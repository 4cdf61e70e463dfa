//! `bedplate.network`: what is read of cloud-init's network-config version 2.

use super::{Key, Rule, Section, optional, required};

/// The whole network. What is not here goes to cloud-init as it is.
pub static NETWORK: Section = Section {
    name: "network",
    text: "The whole network of the installed system, as cloud-init's network-config of version 2, to which it goes. Keys that are not named here go there as well, unread and with a warning.",
    groups: &[&[
        required("version", Rule::Integer, "2"),
        optional("renderer", Rule::Text, "`networkd` or `NetworkManager`, where netplan writes the files"),
        optional(
            "ethernets",
            each(&Rule::Object(&ETHERNET)),
            "physical interfaces by their names, or by any word with `match`",
        ),
        optional("bonds", each(&Rule::Object(&BOND)), "bonds by their names"),
        optional("vlans", each(&Rule::Object(&VLAN)), "VLANs by their names"),
        optional("bridges", each(&Rule::Object(&BRIDGE)), "bridges by their names"),
    ]],
};

const fn each(item: &'static Rule) -> Rule {
    Rule::Map { item, required: &[] }
}

/// What every interface can have.
static COMMON: [Key; 9] = [
    optional("dhcp4", Rule::Flag, "whether it asks for an IPv4 address"),
    optional("dhcp6", Rule::Flag, "whether it asks for an IPv6 address"),
    optional("addresses", Rule::List(&Rule::Text), "IPv4 and IPv6 addresses with prefix lengths, `10.0.0.2/24`"),
    optional("gateway4", Rule::Text, "default route of IPv4"),
    optional("gateway6", Rule::Text, "default route of IPv6"),
    optional("routes", Rule::List(&Rule::Object(&ROUTE)), "further routes"),
    optional("nameservers", Rule::Object(&NAMESERVERS), "resolvers"),
    optional("mtu", Rule::Integer, "largest packet, 68 to 65535; at least 1280 with IPv6"),
    optional("macaddress", Rule::Text, "MAC address that it gets"),
];

static ETHERNET: Section = Section {
    name: "network_ethernet",
    text: "A physical interface.",
    groups: &[
        &[
            optional("match", Rule::Object(&MATCH), "by what it is found; without, the key is its name"),
            optional("set-name", Rule::Text, "the name that it gets; needs `match`"),
        ],
        &COMMON,
    ],
};

static MATCH: Section = Section {
    name: "network_match",
    text: "By what a physical interface is found.",
    groups: &[&[
        optional("macaddress", Rule::Text, "MAC address, in any case"),
        optional("name", Rule::Text, "the kernel's name, with `*`"),
        optional("driver", Rule::Text, "its driver, with `*`"),
    ]],
};

static ROUTE: Section = Section {
    name: "network_route",
    text: "A route.",
    groups: &[&[
        required("to", Rule::Text, "network with prefix length, or `default`"),
        required("via", Rule::Text, "gateway of the same family"),
        optional("metric", Rule::Integer, "the lower, the better"),
    ]],
};

static NAMESERVERS: Section = Section {
    name: "network_nameservers",
    text: "Resolvers.",
    groups: &[&[
        optional("addresses", Rule::List(&Rule::Text), "their addresses"),
        optional("search", Rule::List(&Rule::Text), "search domains"),
    ]],
};

static BOND: Section = Section {
    name: "network_bond",
    text: "A bond.",
    groups: &[
        &[
            required("interfaces", Rule::List(&Rule::Text), "its members, keys of the other sections"),
            optional(
                "parameters",
                each(&Rule::Any),
                "`mode`, `mii-monitor-interval`, `lacp-rate`, .. as netplan has them",
            ),
        ],
        &COMMON,
    ],
};

static VLAN: Section = Section {
    name: "network_vlan",
    text: "A VLAN.",
    groups: &[
        &[
            required("id", Rule::Integer, "its number, 0 to 4094"),
            required("link", Rule::Text, "what it lies on, a key of the other sections"),
        ],
        &COMMON,
    ],
};

static BRIDGE: Section = Section {
    name: "network_bridge",
    text: "A bridge.",
    groups: &[
        &[
            optional("interfaces", Rule::List(&Rule::Text), "its ports, keys of the other sections"),
            optional("parameters", each(&Rule::Any), "`stp`, `forward-delay`, .. as netplan has them"),
        ],
        &COMMON,
    ],
};
