//! The command line of `bedplate-master`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::{Context as _, Kind, Result};

use super::client;
use super::server::{Server, Settings};

/// Where state is kept unless told otherwise.
const DEFAULT_DIR: &str = "/var/lib/bedplate";

/// The embedded master of bedplate: boots nodes over the network, discovers them, and hands out what a person released.
#[derive(Debug, Parser)]
#[command(name = "bedplate-master", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve nodes and operators over HTTP
    Serve(Serve),
    /// See nodes, and release one
    #[command(subcommand)]
    Nodes(Nodes),
}

#[derive(Debug, Args)]
struct Serve {
    /// Folder of the state; created when absent
    #[arg(long, default_value_os_t = default_dir())]
    dir: PathBuf,
    /// Address and port to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// URL that nodes use, http://HOST[:PORT] [default: http:// and the address listened on]
    #[arg(long)]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Nodes {
    /// List all nodes
    List(ListArgs),
    /// Show one node: history, last events, report
    Show(Named),
    /// Take a release back
    Cancel(Named),
    /// Let the next network boot start from the node's own disk
    LocalBoot(Named),
    /// Let the next network boot start the bootstrap once more, for discovery only
    Discover(Named),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    access: Access,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Named {
    /// Id, MAC address, UUID or serial number
    node: String,
    #[command(flatten)]
    access: Access,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How to reach a running master.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// State folder of the master on this machine [env: BEDPLATE_MASTER_DIR]
    #[arg(long, default_value_os_t = default_dir(), conflicts_with_all = ["url", "token_file"])]
    pub(super) dir: PathBuf,
    /// URL of a master elsewhere
    #[arg(long, requires = "token_file")]
    pub(super) url: Option<String>,
    /// File with the operator's token of that master
    #[arg(long, requires = "url")]
    pub(super) token_file: Option<PathBuf>,
}

fn default_dir() -> PathBuf {
    std::env::var_os("BEDPLATE_MASTER_DIR").filter(|dir| !dir.is_empty()).unwrap_or_else(|| DEFAULT_DIR.into()).into()
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Nodes(nodes) => nodes.run(),
        }
    }
}

impl Serve {
    fn run(self) -> Result<()> {
        let settings = Settings { dir: self.dir, listen: self.listen, url: self.url };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context(Kind::Bug, || "starting the runtime")?;
        runtime.block_on(async { Server::bind(&settings).await?.run().await })?;
        // Readers of images may be in the middle of a chunk; there is nothing to wait for.
        runtime.shutdown_background();
        Ok(())
    }
}

impl Nodes {
    fn run(self) -> Result<()> {
        match self {
            Self::List(list) => client::Client::new(&list.access)?.list(list.json),
            Self::Show(named) => client::Client::new(&named.access)?.show(&named.node, named.json),
            Self::Cancel(named) => client::Client::new(&named.access)?.order(&named.node, "cancel", named.json),
            Self::LocalBoot(named) => client::Client::new(&named.access)?.order(&named.node, "local-boot", named.json),
            Self::Discover(named) => client::Client::new(&named.access)?.order(&named.node, "discover", named.json),
        }
    }
}
