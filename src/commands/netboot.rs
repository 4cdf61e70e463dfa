//! `netboot on` and `netboot off`: flips PXE for this node with the configured master.

use super::client::http_settings;
use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::netboot;
use crate::settings::Settings;

/// Where upstream's agent, and ours, keep the node's id.
const UID_FILE: &str = "/etc/nailgun_uid";

/// Switches network boot of this node on or off at its master, and reads it back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is to be.
    #[arg(value_enum)]
    pub state: State,
    /// The master's address.
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// The node's id (default: the one in /etc/nailgun_uid).
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
}

/// Network boot of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// The node is installed over the network at its next boot.
    On,
    /// The node boots from its disk.
    Off,
}

/// Flips the switch.
///
/// # Errors
/// `Usage` when master, token or node are not known; `Master` when it is unreachable, refuses, or says otherwise afterwards.
pub fn run(args: &Args, settings: &Settings) -> Result<()> {
    let usage = |missing: &str, advice: &str| Error::new(Kind::Usage, format!("no {missing} is known")).advise(advice);
    let master = args.master.as_ref().or(settings.master.as_ref());
    let master = master.ok_or_else(|| usage("master", "give --master URL"))?;
    let token = settings.token.as_ref().ok_or_else(|| {
        usage("token", "it comes with `token` in /etc/bedplate/bedplate.toml or bedplate.token= on the kernel line")
    })?;
    let kept = || std::fs::read_to_string(UID_FILE).ok()?.trim().parse().ok();
    let node = args.node.or_else(kept).ok_or_else(|| usage("node id", "give --node ID, or run `bedplate discover`"))?;
    let client = Client::new(&http_settings(settings))?;
    netboot::master_set(&client, master, node, token, args.state == State::On)
}
