//! The command line: clap structs only.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::sys::health::UnhealthyDisks;
use crate::units::MaxWindow;

/// Bare-metal provisioning agent.
#[derive(Debug, Parser)]
#[command(name = "bedplate", version, about, max_term_width = 100)]
pub struct Cli {
    /// Trust the certificates in this PEM file for https, besides the system's (repeatable)
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Vec<PathBuf>,
    /// Show the certificate in this PEM file to https servers that ask for one
    #[arg(long, global = true, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// Its private key, a PEM file without passphrase; by default it is taken from the certificate's file
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Tell developers more
    #[arg(long, global = true)]
    pub debug: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all violations of a request, each with its JSON path
    Validate(commands::validate::Args),
    /// Show what would be done and destroyed; touches nothing
    Plan(commands::plan::Args),
    /// Do all of it: partition, write images, configure, make bootable, verify
    Provision(ProvisionArgs),
    /// Partition disks and make file systems, and nothing else
    Partition(StageArgs),
    /// Write images, and nothing else
    Copyimage(StageArgs),
    /// Write the config drive, and nothing else
    Configdrive(ConfigdriveArgs),
    /// Write fstab and install the boot loader, and nothing else
    Bootloader(StageArgs),
    /// Re-read the machine and compare it with a saved plan
    Verify(commands::verify::Args),
    /// Stream one image to a block device or a file
    WriteImage(commands::write_image::Options),
    /// Unpacks an archive of a root file system to a folder, and proves it
    UnpackImage(commands::unpack_image::Options),
    /// Show what is there
    Inventory(commands::inventory::Args),
    /// Report to the master in Nailgun's form
    Discover(commands::discover::Args),
    /// Wait for a released request of the master, carry it out, and restart the machine
    Agent(commands::agent::Args),
    /// Make the named disks empty, and no others
    Erase(commands::erase::Args),
    /// Erase boot code and boot signature of every disk, and nothing else
    EraseNode(commands::erase_node::Args),
    /// Switch PXE off or on for this node
    Netboot(commands::netboot::Args),
}

/// Options of `provision`.
#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// The request
    #[arg(default_value = "/tmp/provision.json")]
    pub file: PathBuf,
    /// Refuse any plan but the one with this digest
    #[arg(long, value_name = "DIGEST")]
    pub plan_digest: Option<String>,
    /// Carry out this plan, the output of `plan --json`
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    pub plan: Option<PathBuf>,
    /// Derive all UUIDs from this seed
    #[arg(long)]
    pub seed: Option<String>,
    /// Switch PXE off for this node with whoever decides when all is verified
    #[arg(long)]
    pub netboot_off: bool,
    /// Reboot when all is verified
    #[arg(long)]
    pub reboot: bool,
    /// Where the report and the events go.
    #[command(flatten)]
    pub telling: TellingArgs,
    /// Who switches PXE off.
    #[command(flatten)]
    pub netboot: commands::netboot::Options,
}

/// Options of a single stage.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// The request
    #[arg(default_value = "/tmp/provision.json")]
    pub file: PathBuf,
    /// Derive all UUIDs from this seed
    #[arg(long)]
    pub seed: Option<String>,
    /// Where the report and the events go.
    #[command(flatten)]
    pub telling: TellingArgs,
}

/// Options of `configdrive`.
#[derive(Debug, Args)]
pub struct ConfigdriveArgs {
    /// Those of every stage.
    #[command(flatten)]
    pub stage: StageArgs,
    /// Write the file system to this file, or its files to this folder, and touch no disk
    #[arg(long, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// Options that runs and stages share: where they tell what they do, and how.
#[derive(Debug, Args)]
pub struct TellingArgs {
    /// Where the report goes
    #[arg(long, value_name = "FILE", help = "Where the report goes [default: /var/log/bedplate/report.json]")]
    pub report: Option<PathBuf>,
    /// Send events there: `-` for stdout, a file, or an http(s) URL (repeatable)
    #[arg(long, value_name = "DEST")]
    pub events: Vec<String>,
    /// A folder with templates for the config drive that come before the built-in ones
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Largest zstd window or xz dictionary that is unpacked; it is memory. Without it 128 for zstd, 64 for xz
    #[arg(long, value_name = "MIB")]
    pub max_window: Option<MaxWindow>,
    /// Refuse images of which neither a digest nor a signature is known
    #[arg(long)]
    pub require_digest: bool,
    /// What to do with disks that say of themselves that they fail: warn or refuse
    #[arg(long, value_name = "WORD", value_parser = UnhealthyDisks::parse)]
    pub unhealthy_disks: Option<UnhealthyDisks>,
}

/// The command line of Fuel's agent, for whoever calls this program through a link with one of its names.
#[derive(Debug, Parser)]
#[command(version, about = "bedplate under a name of Fuel's agent")]
pub struct UpstreamCli {
    /// The request
    #[arg(long, value_name = "FILE", default_value = "/tmp/provision.json")]
    pub input_data_file: PathBuf,
    /// The request itself, instead of a file
    #[arg(long, value_name = "JSON", default_value = "")]
    pub input_data: String,
    /// Kind of request; `nailgun` is the only one
    #[arg(long, value_name = "NAME", default_value = "nailgun")]
    pub data_driver: String,
    /// Append upstream's log lines to this file
    #[arg(long, value_name = "FILE", default_value = crate::report::LOG_FILE)]
    pub log_file: PathBuf,
    /// Tell developers more
    #[arg(long)]
    pub debug: bool,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "FILE", hide = true)]
    pub config_file: Vec<PathBuf>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "DIR", hide = true)]
    pub config_dir: Vec<PathBuf>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "DIR", hide = true)]
    pub image_build_dir: Option<PathBuf>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "DIR", hide = true)]
    pub log_dir: Option<PathBuf>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub log_format: Option<String>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub log_date_format: Option<String>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "FILE", hide = true)]
    pub log_config_append: Option<String>,
    /// Accepted for callers' sake; without effect
    #[arg(long, value_name = "NAME", hide = true)]
    pub syslog_log_facility: Option<String>,
    /// Accepted for callers' sake; without effect
    #[arg(long, hide = true)]
    pub nodebug: bool,
    /// Accepted for callers' sake; without effect
    #[arg(long, hide = true)]
    pub verbose: bool,
    /// Accepted for callers' sake; without effect
    #[arg(long, hide = true)]
    pub noverbose: bool,
    /// Accepted for callers' sake; without effect
    #[arg(long, hide = true)]
    pub use_syslog: bool,
}

/// Whole runs and stages by the names of Fuel's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamName {
    /// `provision`
    Provision,
    /// `fa_partition`
    Partition,
    /// `fa_configdrive`
    ConfigDrive,
    /// `fa_copyimage`
    CopyImage,
    /// `fa_bootloader`
    BootLoader,
}

impl UpstreamName {
    /// The name that this program was called by, if it is one of them.
    #[must_use]
    pub fn of(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "provision" => Some(Self::Provision),
            "fa_partition" => Some(Self::Partition),
            "fa_configdrive" => Some(Self::ConfigDrive),
            "fa_copyimage" => Some(Self::CopyImage),
            "fa_bootloader" => Some(Self::BootLoader),
            _ => None,
        }
    }
}

/// Upstream's callers write option names with `_` or `-`; values stay as they are.
pub fn with_hyphens(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let hyphenated = |argument: OsString| match argument.to_str().and_then(|text| text.strip_prefix("--")) {
        Some(option) => match option.split_once('=') {
            Some((name, value)) => format!("--{}={value}", name.replace('_', "-")).into(),
            None => format!("--{}", option.replace('_', "-")).into(),
        },
        None => argument,
    };
    arguments.into_iter().map(hyphenated).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_lines_are_consistent() {
        Cli::command().debug_assert();
        UpstreamCli::command().debug_assert();
    }

    #[test]
    fn both_spellings_of_upstream_options_are_taken() {
        let parse = |words: &[&str]| {
            UpstreamCli::try_parse_from(with_hyphens(words.iter().map(OsString::from))).map(|cli| cli.input_data_file)
        };
        let file = PathBuf::from("/a_b.json");
        assert_eq!(parse(&["provision", "--input_data_file", "/a_b.json"]).unwrap(), file);
        assert_eq!(parse(&["provision", "--input-data-file=/a_b.json", "--log_file", "/x"]).unwrap(), file);
        assert_eq!(parse(&["provision"]).unwrap(), PathBuf::from("/tmp/provision.json"));
        assert!(parse(&["provision", "--no-such"]).is_err());
    }
}
