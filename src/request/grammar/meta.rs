//! `ks_meta`: images, first boot, accounts, repositories.

use super::spaces::SPACE;
use super::{Choice, Rule, Section, optional, required, unused};

/// `ks_meta`.
pub static META: Section = Section {
    name: "ks_meta",
    text: "Everything about the system to install.",
    groups: &[
        &[
            required("pm_data", Rule::Object(&PM_DATA), "disks and kernel parameters"),
            required(
                "image_data",
                Rule::Map { item: &Rule::Object(&IMAGE), required: &["/"] },
                "images by mount point; `/` must be among them",
            ),
            required("repo_setup", Rule::Object(&REPO_SETUP), "package repositories"),
            required("master_ip", Rule::Text, "address or name of the master"),
            required("gw", Rule::Text, "default gateway of the admin interface; empty for none"),
            optional("timezone", Rule::Text, "time zone; America/Los_Angeles where it is missing, as upstream"),
            required("authorized_keys", Rule::List(&Rule::Text), "public keys of root, with or without quotes"),
            required("auth_key", Rule::Text, "the cluster's public key; a pair of quotes for none"),
            optional("user_accounts", Rule::List(&Rule::Object(&ACCOUNT)), "accounts (9.0 and later)").secret(),
            optional(
                "cloud_init_templates",
                Rule::Map { item: &Rule::Text, required: &[] },
                "template file names for `boothook`, `cloud_config` and `meta_data`",
            ),
            optional("kernel_lt", Rule::Flag, "CentOS runs Fedora's long-term kernel"),
        ],
        &[
            optional("puppet_master", Rule::Text, "name of the puppet server"),
            optional("puppet_enable", Rule::Flag, "whether the puppet agent runs"),
            optional("mco_pskey", Rule::Text, "pre-shared key; mcollective is set up where all its keys are there")
                .secret(),
            optional("mco_vhost", Rule::Text, "virtual host of the message broker"),
            optional("mco_host", Rule::Text, "message broker"),
            optional("mco_user", Rule::Text, "its user"),
            optional("mco_password", Rule::Text, "its password").secret(),
            optional("mco_connector", Rule::Choice(&CONNECTOR), "`rabbitmq` or `stomp`"),
            optional("mco_enable", Rule::Flag, "whether mcollective runs"),
            optional("mco_identity", Rule::Identifier, "node id (8.0 and later); `uid` where it is missing"),
        ],
        &[
            unused("admin_net", Rule::Scalar, "admin network as a CIDR"),
            unused("fuel_version", Rule::Scalar, "version of the environment"),
            unused("puppet_auto_setup", Rule::Scalar, "for kickstarts"),
            unused("mco_auto_setup", Rule::Scalar, "for kickstarts"),
            unused("install_log_2_syslog", Rule::Scalar, "for kickstarts"),
            unused("mlnx_vf_num", Rule::Scalar, "Mellanox, before 8.0"),
            unused("mlnx_plugin_mode", Rule::Scalar, "Mellanox, before 8.0"),
            unused("mlnx_iser_enabled", Rule::Scalar, "Mellanox, before 8.0"),
        ],
    ],
};

static PM_DATA: Section = Section {
    name: "pm_data",
    text: "Disks and kernel parameters.",
    groups: &[&[
        required("kernel_params", Rule::Text, "appended to the kernel command line, one line"),
        required("ks_spaces", Rule::List(&SPACE), "disks and volume groups, in order"),
    ]],
};

static IMAGE: Section = Section {
    name: "image",
    text: "An image and how it is packed.",
    groups: &[&[
        required("uri", Rule::Text, "http, https or file").secret(),
        required(
            "format",
            Rule::Text,
            "the file system inside: `ext2`, `ext3`, `ext4`, `xfs` or `btrfs`, as the volume's; as an extension `tar`: files for the volume's file system, which is made",
        ),
        required(
            "container",
            Rule::Choice(&CONTAINER),
            "how it is packed: `gzip` or `raw`, and as extensions `zstd`, `xz`, `bzip2`, `lz4`, `qcow2`",
        ),
        optional("mirrors", Rule::List(&Rule::Text), "extension: further http or https addresses of the same file")
            .secret(),
        optional("digests", Rule::List(&Rule::Text), "extension: of the file as published, `ALGORITHM:HEX`"),
        optional("raw_digests", Rule::List(&Rule::Text), "extension: of the unpacked image, `ALGORITHM:HEX`"),
        optional("minisign_key", Rule::Text, "extension: public key; the file must be signed with it; not for `qcow2`, which is read in parts"),
        optional(
            "signature",
            Rule::Text,
            "extension: where minisign's signature lies; beside the file with `.minisig` where it is missing",
        )
        .secret(),
        optional(
            "bmap",
            Rule::Text,
            "extension: where bmaptool's map of the blocks that matter lies; the others become zeros, for `raw_digests` too",
        )
        .secret(),
    ]],
};

static CONTAINER: Choice = Choice {
    words: &["gzip", "raw", "zstd", "xz", "bzip2", "lz4", "qcow2"],
    expected: "one of the image containers \"gzip\", \"raw\", \"zstd\", \"xz\", \"bzip2\", \"lz4\" and \"qcow2\"",
};

static CONNECTOR: Choice = Choice { words: &["rabbitmq", "stomp"], expected: "one of \"rabbitmq\" and \"stomp\"" };

static REPO_SETUP: Section = Section {
    name: "repo_setup",
    text: "Package repositories.",
    groups: &[&[
        required("repos", Rule::List(&Rule::Object(&REPOSITORY)), "repositories, handed to the templates"),
        unused("metadata", Rule::Any, "for Nailgun's web interface"),
    ]],
};

static REPOSITORY: Section = Section {
    name: "repository",
    text: "A package repository.",
    groups: &[&[
        required("type", Rule::Text, "`deb` or `rpm`"),
        required("name", Rule::Text, "name"),
        required("uri", Rule::Text, "base URI"),
        optional("suite", Rule::Text, "suite (deb)"),
        optional("section", Rule::Text, "sections (deb)"),
        optional("priority", Rule::Integer, "priority"),
        unused("metadata", Rule::Any, "for Nailgun's web interface"),
        unused("meta", Rule::Any, "for Nailgun's web interface"),
    ]],
};

static ACCOUNT: Section = Section {
    name: "user_account",
    text: "A user of the installed system.",
    groups: &[&[
        required("name", Rule::Text, "login name"),
        optional("password", Rule::Text, "password in clear text; hashed before it is written anywhere").secret(),
        optional("hashed_password", Rule::Text, "ready crypt(3) hash").secret(),
        optional("homedir", Rule::Text, "home folder"),
        optional("shell", Rule::Text, "login shell; /bin/bash where it is missing"),
        optional("sudo", Rule::List(&Rule::Text), "sudo rules"),
        optional("ssh_keys", Rule::List(&Rule::Text), "public keys"),
    ]],
};
