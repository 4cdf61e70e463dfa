//! `netboot on` and `netboot off`, and the same at the end of a run: who switches, and which node is meant.

use std::fs;
use std::path::PathBuf;

use super::client::http_settings;
use super::plan::read_request;
use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::inventory;
use crate::netboot::{self, Backend, Node, master};
use crate::request::{self, Netboot, NetbootBackend, Request, Secret};
use crate::settings::Settings;

/// Where upstream's agent, and ours, keep the node's id.
const UID_FILE: &str = "/etc/nailgun_uid";

/// Switches network boot of this node on or off with whoever decides, and reads it back.
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
    /// A request of this node, which says who decides and names the node.
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// Who decides.
    #[command(flatten)]
    pub options: Options,
}

/// Network boot of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// The node is started over the network at its next boot.
    On,
    /// The node boots from its disk.
    Off,
}

/// Who decides about network boot. Secrets are no options: everybody on the machine can read those.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Who switches network boot")]
pub struct Options {
    /// master, cobbler, hook, tftp or none (default: the one whose address is known, else master)
    #[arg(long, value_name = "NAME")]
    pub netboot_backend: Option<String>,
    /// Name of this system in Cobbler (default: the request's `slave_name`, else the system with this MAC address)
    #[arg(long, value_name = "NAME")]
    pub netboot_system: Option<String>,
    /// MAC address that this node boots by (default: the request's, else BOOTIF= of the kernel command line)
    #[arg(long, value_name = "MAC")]
    pub netboot_mac: Option<String>,
    /// How long a call may take (default: 120 for Cobbler, 30 for a hook)
    #[arg(long, value_name = "SECONDS")]
    pub netboot_timeout: Option<String>,
    /// Cobbler's XML-RPC interface, as http://10.20.0.2/cobbler_api
    #[arg(long, value_name = "URL")]
    pub cobbler_url: Option<String>,
    /// Who logs in to Cobbler
    #[arg(long, value_name = "NAME")]
    pub cobbler_user: Option<String>,
    /// A file, for root alone, that holds the password
    #[arg(long, value_name = "FILE")]
    pub cobbler_password_file: Option<String>,
    /// Whether Cobbler writes all of its files anew: true or false (default: true)
    #[arg(long, value_name = "FLAG")]
    pub cobbler_sync: Option<String>,
    /// What is called, with {{mac}}, {{system}}, {{node}}, {{state}} or {{enabled}} in it
    #[arg(long, value_name = "URL")]
    pub hook_url: Option<String>,
    /// By which method (default: POST)
    #[arg(long, value_name = "METHOD")]
    pub hook_method: Option<String>,
    /// A file, for root alone, with a token that is sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    pub hook_token_file: Option<String>,
    /// What is asked afterwards
    #[arg(long, value_name = "URL")]
    pub hook_check_url: Option<String>,
    /// The root of a TFTP server's tree
    #[arg(long, value_name = "DIR")]
    pub tftp_root: Option<String>,
    /// The folder of GRUB's configuration in it (default: grub)
    #[arg(long, value_name = "DIR")]
    pub tftp_grub: Option<String>,
}

impl Options {
    /// What they say.
    ///
    /// # Errors
    /// `Usage` with the option, what was expected and found.
    pub fn said(&self) -> Result<Netboot> {
        let given = [
            ("netboot-backend", &self.netboot_backend),
            ("netboot-system", &self.netboot_system),
            ("netboot-mac", &self.netboot_mac),
            ("netboot-timeout", &self.netboot_timeout),
            ("cobbler-url", &self.cobbler_url),
            ("cobbler-user", &self.cobbler_user),
            ("cobbler-password-file", &self.cobbler_password_file),
            ("cobbler-sync", &self.cobbler_sync),
            ("hook-url", &self.hook_url),
            ("hook-method", &self.hook_method),
            ("hook-token-file", &self.hook_token_file),
            ("hook-check-url", &self.hook_check_url),
            ("tftp-root", &self.tftp_root),
            ("tftp-grub", &self.tftp_grub),
        ];
        let mut said = Netboot::default();
        for (key, value) in given {
            let Some(value) = value else { continue };
            let refused = |words: String| Error::new(Kind::Usage, format!("--{key}: {words}"));
            if key.ends_with("-url") && has_login(value) {
                let words =
                    "expected an address without user and password, which everybody could read, found one with them";
                return Err(refused(words.to_owned()).advise("the configuration may hold such an address"));
            }
            said.set(key, std::slice::from_ref(value)).map_err(refused)?;
        }
        Ok(said)
    }
}

fn has_login(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().contains('@')
}

/// Flips the switch.
///
/// # Errors
/// `Usage` when what is needed for a call is not known; `Master` when whoever decides is unreachable, refuses, or says
/// otherwise afterwards; those of reading the request.
pub fn run(args: &Args, settings: &Settings) -> Result<()> {
    let request = match &args.request {
        Some(file) => Some(request::parse(&read_request(file)?)?.request),
        None => None,
    };
    let mut caller = Caller::new(args.options.said()?, settings);
    caller.master = args.master.clone().map(Secret::new).or(caller.master);
    caller.node = args.node;
    let backend = caller.backend(request.as_ref())?;
    let client = Client::new(&http_settings(settings))?;
    backend.switch(&client, netboot::State::of(args.state == State::On))
}

/// Who wants network boot switched, and what is known of the node and of who decides.
#[derive(Debug, Clone)]
struct Caller {
    options: Netboot,
    settings: Netboot,
    master: Option<Secret>,
    token: Option<Secret>,
    node: Option<u64>,
}

impl Caller {
    fn new(options: Netboot, settings: &Settings) -> Self {
        Self {
            options,
            settings: settings.netboot.clone(),
            master: settings.master.clone().map(Secret::new),
            token: settings.token.clone(),
            node: None,
        }
    }

    /// What is said, the options first, then the request, then the configuration.
    fn said(&self, request: Option<&Request>) -> Result<Netboot> {
        let refused = |words: String| Error::new(Kind::Usage, format!("netboot-backend: {words}"));
        let in_request = request.and_then(|request| request.netboot.clone()).unwrap_or_default();
        let said = self.options.clone().over(in_request).map_err(refused)?;
        said.over(self.settings.clone()).map_err(refused)
    }

    fn backend(&self, request: Option<&Request>) -> Result<Backend> {
        let id = || self.node.or_else(|| fs::read_to_string(UID_FILE).ok()?.trim().parse().ok());
        let id = id().or_else(|| request?.uid.as_ref()?.parse().ok());
        let booted = || inventory::boot_interface(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
        let node = Node {
            system: request.and_then(|request| request.slave_name.clone()),
            mac: request.map(|request| request.admin.mac.clone()).or_else(booted),
            id,
        };
        netboot::choose(self.said(request)?, node, || self.access(id))
    }

    fn access(&self, node: Option<u64>) -> Result<master::Access> {
        let usage =
            |missing: &str, advice: &str| Error::new(Kind::Usage, format!("no {missing} is known")).advise(advice);
        let url = self.master.clone().ok_or_else(|| usage("master", "give --master URL"))?;
        let token = self.token.clone().ok_or_else(|| {
            usage("token", "it comes with `token` in /etc/bedplate/bedplate.toml or bedplate.token= on the kernel line")
        })?;
        let node = node.ok_or_else(|| usage("node id", "give --node ID, or run `bedplate discover`"))?;
        Ok(master::Access { url, node, token })
    }
}

/// Switching network boot off at the end of a run.
#[derive(Debug, Clone)]
pub struct SwitchOff {
    caller: Caller,
    leaves_master: bool,
}

impl SwitchOff {
    /// As the options and the configuration of a command say.
    ///
    /// # Errors
    /// `Usage` when an option is wrong.
    pub fn asked(options: &Options, settings: &Settings) -> Result<Self> {
        Ok(Self { caller: Caller::new(options.said()?, settings), leaves_master: false })
    }

    /// As the configuration says, for the agent, which tells its master itself: until the master hears of it, its own
    /// boot script for the node stays.
    #[must_use]
    pub fn beside_master(settings: &Settings) -> Self {
        Self { caller: Caller::new(Netboot::default(), settings), leaves_master: true }
    }

    /// Who is to switch the node of this request, with all that the call needs; nothing where it is not ours to do.
    ///
    /// # Errors
    /// `Usage` when something is missing or contradicts itself.
    pub fn backend(&self, request: &Request) -> Result<Option<Backend>> {
        if self.leaves_master {
            let chosen = self.caller.said(Some(request))?.backend;
            if matches!(chosen, None | Some(NetbootBackend::Master)) {
                return Ok(None);
            }
        }
        self.caller.backend(Some(request)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(netboot: &str) -> Request {
        let path = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
        let mut document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        document["bedplate"]["netboot"] = serde_json::from_str(netboot).unwrap();
        request::parse(document.to_string().as_bytes()).unwrap().request
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings { netboot: Netboot::of(pairs), ..Settings::default() }
    }

    const COBBLER: [(&str, &str); 3] =
        [("cobbler-url", "http://a/cobbler_api"), ("cobbler-user", "u"), ("cobbler-password", "hunter2")];

    #[test]
    fn the_system_is_named_by_the_request() {
        let off = SwitchOff::asked(&Options::default(), &settings(&COBBLER)).unwrap();
        let shown = format!("{:?}", off.backend(&request(r#"{"type": "cobbler"}"#)).unwrap().unwrap());
        assert!(shown.contains("Named(\"node-1\")") && !shown.contains("hunter2"), "{shown}");
        let shown = format!("{:?}", off.backend(&request(r#"{"type": "cobbler", "system": "x"}"#)).unwrap().unwrap());
        assert!(shown.contains("Named(\"x\")"), "{shown}");
    }

    #[test]
    fn options_come_before_the_request_and_the_request_before_the_configuration() {
        let name = |options: &Options, netboot: &str| {
            let off = SwitchOff::asked(options, &settings(&COBBLER)).unwrap();
            off.backend(&request(netboot)).unwrap().unwrap().name()
        };
        let none = Options::default();
        assert_eq!(name(&none, "null"), "cobbler");
        assert_eq!(name(&none, r#"{"type": "tftp", "root": "/srv/tftp"}"#), "tftp");
        let options = Options { hook_url: Some("http://a/{{mac}}".to_owned()), ..none };
        assert_eq!(name(&options, r#"{"type": "tftp", "root": "/srv/tftp"}"#), "hook");
    }

    #[test]
    fn the_agent_leaves_its_master_to_itself() {
        let name = |settings: &Settings, netboot: &str| {
            let backend = SwitchOff::beside_master(settings).backend(&request(netboot)).unwrap();
            backend.map(|backend| backend.name())
        };
        assert_eq!(name(&settings(&[]), "null"), None);
        assert_eq!(name(&settings(&COBBLER), "null"), Some("cobbler"));
        assert_eq!(name(&settings(&COBBLER), r#"{"type": "master"}"#), None);
        assert_eq!(name(&settings(&COBBLER), r#"{"type": "none"}"#), Some("none"));
    }

    #[test]
    fn an_option_with_a_password_is_refused_without_repeating_it() {
        let options = Options { cobbler_url: Some("http://u:hunter2@h/".to_owned()), ..Options::default() };
        let error = options.said().unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().starts_with("--cobbler-url: expected an address without user"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!has_login("http://a/b@c") && has_login("https://u@h?x") && !has_login("nothing"));
    }
}
