//! How network boot of the node is switched (extension).

use super::{Rule, Section, Variants, optional};

/// By `type`.
pub static NETBOOT: Variants = Variants {
    of: &[("master", &MASTER), ("cobbler", &COBBLER), ("hook", &HOOK), ("tftp", &TFTP), ("none", &NONE)],
    expected: "master, cobbler, hook, tftp or none",
};

static MASTER: Section =
    Section { name: "netboot_master", text: "The embedded master switches; nothing is to be said.", groups: &[] };

static NONE: Section =
    Section { name: "netboot_none", text: "Somebody else switches; nothing is to be said.", groups: &[] };

static COBBLER: Section = Section {
    name: "netboot_cobbler",
    text: "Cobbler switches. What is absent here comes from the configuration.",
    groups: &[&[
        optional("url", Rule::Text, "address of its XML-RPC interface, `http://10.20.0.2/cobbler_api`").secret(),
        optional("system", Rule::Text, "name of the system; without it `slave_name`"),
        optional("user", Rule::Text, "who logs in; with `url` never that of the configuration"),
        optional("password", Rule::Text, "the password; with `url` never that of the configuration").secret(),
        optional("sync", Rule::Flag, "whether Cobbler writes all of its files anew; true unless said otherwise"),
    ]],
};

static HOOK: Section = Section {
    name: "netboot_hook",
    text: "A service of the site switches. With `url` nothing comes from the configuration, else all that is absent here.",
    groups: &[&[
        optional("url", Rule::Text, "what is called; may hold `{{mac}}` and the like").secret(),
        optional("method", Rule::Text, "by which method; `POST` unless said otherwise"),
        optional("headers", Rule::List(&Rule::Text), "headers, `Name: value`").secret(),
        optional("token", Rule::Text, "sent as `Authorization: Bearer`").secret(),
        optional("body", Rule::Text, "what is sent; may hold `{{mac}}` and the like").secret(),
        optional("status", Rule::List(&Rule::Integer), "good answers; 200 to 299 unless said otherwise"),
        optional("check_url", Rule::Text, "what is asked afterwards; counts beside `url` alone").secret(),
        optional("check_body", Rule::Text, "what it must answer").secret(),
    ]],
};

static TFTP: Section = Section {
    name: "netboot_tftp",
    text: "Files of a TFTP tree switch. What is absent here comes from the configuration.",
    groups: &[&[
        optional("root", Rule::Text, "the tree, a folder of the bootstrap"),
        optional("grub", Rule::Text, "folder of GRUB's configuration, from the root; `grub` unless said otherwise"),
    ]],
};
