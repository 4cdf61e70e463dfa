//! The command line of `bedplate-master`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::{Context as _, Error, Kind, Result};

use super::server::{Server, Settings, checked_url};
use super::state::LOADERS;
use super::{bootstraps, client, dnsmasq};

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
    /// Build and keep the images that nodes are bootstrapped with
    Bootstrap(bootstraps::cli::Bootstrap),
    /// Print a configuration of dnsmasq (DHCP, TFTP) for a network without another DHCP server
    DnsmasqConf(DnsmasqConf),
}

#[derive(Debug, Args)]
struct DnsmasqConf {
    /// Interface on the nodes' network
    #[arg(long)]
    interface: String,
    /// First and last address for nodes: A,B
    #[arg(long, value_delimiter = ',', required = true)]
    range: Vec<Ipv4Addr>,
    /// Netmask [default: that of the interface]
    #[arg(long)]
    netmask: Option<Ipv4Addr>,
    /// How long an address is leased
    #[arg(long, default_value = "1h")]
    lease: String,
    /// Default gateway for nodes
    #[arg(long)]
    gateway: Option<Ipv4Addr>,
    /// Resolvers for nodes
    #[arg(long = "dns", value_delimiter = ',')]
    name_servers: Vec<Ipv4Addr>,
    /// Domain for nodes
    #[arg(long)]
    domain: Option<String>,
    /// Folder that TFTP serves [default: loaders/ in --dir]
    #[arg(long)]
    tftp_root: Option<PathBuf>,
    /// Let UEFI machines load the signed shim and GRUB, which Secure Boot accepts, instead of iPXE
    #[arg(long)]
    signed: bool,
    /// URL that nodes use for the master [default: that of the master in --dir]
    #[arg(long)]
    url: Option<String>,
    /// State folder of the master [env: BEDPLATE_MASTER_DIR]
    #[arg(long, default_value_os_t = default_dir())]
    dir: PathBuf,
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
    /// Show the plan for a node, and once a person agrees let its next network boot carry it out, once
    Release(ReleaseOrder),
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

/// `nodes release`.
#[derive(Debug, Args)]
pub(super) struct ReleaseOrder {
    /// Id, MAC address, UUID or serial number
    pub(super) node: String,
    /// What it becomes: a file DIR/profiles/NAME.toml
    #[arg(long)]
    pub(super) profile: String,
    /// Allow disks to be overwritten that are not empty
    #[arg(long)]
    pub(super) wipe: bool,
    /// Do not ask; required where there is no terminal
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON; the plan for people goes to stderr all the same
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    access: Access,
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

/// The master's folder unless told otherwise.
pub(super) fn default_dir() -> PathBuf {
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
            Command::Bootstrap(bootstrap) => bootstrap.run(),
            Command::DnsmasqConf(conf) => conf.run(),
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

impl DnsmasqConf {
    fn run(self) -> Result<()> {
        let url = match &self.url {
            Some(url) => checked_url(url)?,
            None => client::endpoint(&self.dir)?.nodes_url,
        };
        let &[first, last] = self.range.as_slice() else {
            return Err(Error::new(Kind::Usage, "--range: expected two addresses, A,B"));
        };
        // Each becomes part of a line.
        for text in [&self.interface, &self.lease, self.domain.as_ref().unwrap_or(&self.lease)] {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'@');
            if text.is_empty() || !text.bytes().all(is_letter) {
                return Err(Error::new(Kind::Usage, format!("{text:?} cannot stand in a configuration of dnsmasq")));
            }
        }
        let root = self.tftp_root.unwrap_or_else(|| self.dir.join(LOADERS));
        let tftp_root =
            std::path::absolute(&root).context(Kind::Usage, || format!("--tftp-root {}", root.display()))?;
        if tftp_root.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
            return Err(Error::new(Kind::Usage, format!("{tftp_root:?} cannot stand in a configuration of dnsmasq")));
        }
        let network = dnsmasq::Network {
            interface: self.interface,
            first,
            last,
            netmask: self.netmask,
            lease: self.lease,
            gateway: self.gateway,
            name_servers: self.name_servers,
            domain: self.domain,
            tftp_root,
            url,
            uefi: if self.signed { dnsmasq::Uefi::Signed } else { dnsmasq::Uefi::Ipxe },
        };
        client::print(false, &(), || dnsmasq::configuration(&network))
    }
}

impl Nodes {
    fn run(self) -> Result<()> {
        match self {
            Self::List(list) => client::Client::new(&list.access)?.list(list.json),
            Self::Show(named) => client::Client::new(&named.access)?.show(&named.node, named.json),
            Self::Release(order) => client::Client::new(&order.access)?.release(&order),
            Self::Cancel(named) => client::Client::new(&named.access)?.order(&named.node, "cancel", named.json),
            Self::LocalBoot(named) => client::Client::new(&named.access)?.order(&named.node, "local-boot", named.json),
            Self::Discover(named) => client::Client::new(&named.access)?.order(&named.node, "discover", named.json),
        }
    }
}
