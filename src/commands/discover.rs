//! `discover`: reports the machine to the master in Nailgun's form.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use log::{info, warn};
use serde_json::Value;

use super::answer;
use super::client::http_settings;
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method, Response, Url, excerpt};
use crate::inventory::nailgun::{self, Mode};
use crate::inventory::{self, Inventory};
use crate::request::Secret;
use crate::settings::Settings;
use crate::sys::signal::pause;

/// Files of upstream's agent, below the root.
const UID_FILE: &str = "etc/nailgun_uid";
const SYSTEM_TYPE_FILE: &str = "etc/nailgun_systemtype";
const NO_DISCOVER_FILE: &str = "etc/nailgun-agent/nodiscover";

/// Upstream's agent reports every minute.
const INTERVAL: Duration = Duration::from_secs(60);

/// Largest answer that is read; Nailgun answers with the whole node.
const ANSWER_LIMIT: u64 = 4 << 20;

/// Reports the machine to the master in Nailgun's form.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The master's address, as in http://10.20.0.2:8000.
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Reports once instead of again and again.
    #[arg(long)]
    pub once: bool,
    /// Seconds between two reports (default: 60).
    #[arg(long, value_name = "SECONDS", conflicts_with = "once", value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: Option<u64>,
    /// Prints the payload and sends nothing.
    #[arg(long)]
    pub print: bool,
}

/// Reports once, or at an interval until the process is asked to end.
///
/// # Errors
/// `Usage` without a master; `Refused` where discovery is switched off; with `--once` `Master` when it did not take the report.
pub fn run(args: &Args, settings: &Settings) -> Result<()> {
    let root = Path::new("/");
    let master = args.master.clone().or_else(|| settings.master.clone());
    if args.print {
        let addresses = master.as_deref().map(addresses_of).unwrap_or_default();
        let payload = payload(&inventory::collect(root), root, mode(root), addresses)?;
        let text = serde_json::to_string_pretty(&payload).context(Kind::Bug, || "writing the payload as JSON")?;
        return writeln!(std::io::stdout(), "{text}").context(Kind::Usage, || "printing the payload");
    }
    let master = master.ok_or_else(|| Error::new(Kind::Usage, "no master is given").advise("give --master URL"))?;
    answer::raise_clock();
    let client = Client::new(&http_settings(settings))?;
    let nailgun = Nailgun { client: &client, base: &master, token: settings.token.as_ref(), root };
    let interval = args.interval.map(Duration::from_secs).or(settings.interval).unwrap_or(INTERVAL);
    loop {
        if root.join(NO_DISCOVER_FILE).exists() {
            return Err(Error::new(Kind::Refused, format!("discovery is prevented by /{NO_DISCOVER_FILE}")));
        }
        match nailgun.discover(&inventory::collect(root), mode(root)) {
            Ok(id) => info!("the master knows this machine as node {id}"),
            Err(error) if args.once => return Err(error),
            Err(error) => warn!("{error}"),
        }
        if args.once {
            return Ok(());
        }
        pause(interval)?;
    }
}

/// In which life of the node this is, as upstream's files tell.
fn mode(root: &Path) -> Mode {
    let system_type = fs::read_to_string(root.join(SYSTEM_TYPE_FILE)).unwrap_or_default();
    if system_type.lines().next().map(str::trim) == Some("bootstrap") { Mode::Bootstrap } else { Mode::Installed }
}

fn payload(inventory: &Inventory, root: &Path, mode: Mode, master: Vec<IpAddr>) -> Result<Value> {
    let context = nailgun::Context { mode, master, runtime_uuid: runtime_uuid(root), report_usb: false };
    nailgun::payload(inventory, &context).ok_or_else(|| {
        Error::new(Kind::Hardware, "no network interface can stand for this node: none has the master's network")
            .advise("name the interface with BOOTIF=01-MAC on the kernel command line")
    })
}

/// The UUID of the bootstrap image, from the configuration of upstream's agent.
fn runtime_uuid(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("etc/nailgun-agent/config.yaml")).ok()?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("runtime_uuid:"))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
}

/// The addresses of the master's host; none when its name is not resolved now.
fn addresses_of(master: &str) -> Vec<IpAddr> {
    let Ok(url) = master.parse::<Url>() else { return Vec::new() };
    let host = url.host().trim_matches(['[', ']']);
    // The port does not matter for the address.
    (host, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// Nailgun's discovery interface.
pub(super) struct Nailgun<'a> {
    pub(super) client: &'a Client,
    /// The master's address, without `/api`.
    pub(super) base: &'a str,
    pub(super) token: Option<&'a Secret>,
    /// Where the node keeps its id.
    pub(super) root: &'a Path,
}

impl Nailgun<'_> {
    /// Reports the machine and returns the node's id, which is also kept in `/etc/nailgun_uid`.
    ///
    /// # Errors
    /// `Master` when it is unreachable or does not take the report; `Hardware` when no interface can stand for the node.
    pub(super) fn discover(&self, inventory: &Inventory, mode: Mode) -> Result<u64> {
        let payload = payload(inventory, self.root, mode, addresses_of(self.base))?;
        let is_known = self.uid().is_some();
        let first = if is_known { self.update(&payload)? } else { self.create(&payload)? };
        let answered = match (is_known, first.status()) {
            // The node was removed at the master.
            (true, 400 | 404) => self.create(&payload)?,
            // The master knows it by its MAC address, or it is not in discovery any more.
            (false, 403 | 409) => self.update(&payload)?,
            _ => first,
        };
        let id = id_of(answered)?;
        self.keep(id);
        Ok(id)
    }

    fn create(&self, payload: &Value) -> Result<Response> {
        self.send(Method::POST, "/api/nodes/", payload)
    }

    fn update(&self, payload: &Value) -> Result<Response> {
        self.send(Method::PUT, "/api/nodes/agent/", payload)
    }

    fn send(&self, method: Method, path: &str, payload: &Value) -> Result<Response> {
        let url = format!("{}{path}", self.base.trim_end_matches('/'));
        let mut request = self.client.request(method, &url).json(payload).answer_within(answer::WITHIN);
        if let Some(token) = self.token {
            request = request.bearer(token);
        }
        let response = request.send().context(Kind::Master, || "reporting to the master")?;
        answer::follow_clock(&response);
        Ok(response)
    }

    fn uid(&self) -> Option<u64> {
        fs::read_to_string(self.root.join(UID_FILE)).ok()?.trim().parse().ok()
    }

    fn keep(&self, id: u64) {
        if self.uid() == Some(id) {
            return;
        }
        // Plain digits without a line end, as upstream writes them: other programs read the file.
        if let Err(error) = fs::write(self.root.join(UID_FILE), id.to_string()) {
            // The master finds the node by its MAC address as well.
            warn!("keeping the node's id in /{UID_FILE}: {error}");
        }
    }
}

fn id_of(response: Response) -> Result<u64> {
    let (status, words, url) = (response.status(), response.status_text(), response.url().to_string());
    let body = answer::body(response, ANSWER_LIMIT).map_err(|error| error.within("reporting to the master"))?;
    if !matches!(status, 200 | 201) {
        let said = excerpt(&body);
        return Err(Error::new(Kind::Master, format!("reporting to the master: {url} answers {words}: {said}")));
    }
    let answered: Option<Value> = serde_json::from_slice(&body).ok();
    answered.as_ref().and_then(|value| value.get("id")).and_then(Value::as_u64).ok_or_else(|| {
        let said = excerpt(&body);
        Error::new(Kind::Master, format!("reporting to the master: {url} answers {words} without a node id: {said}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Answer, Folder, Server};
    use crate::http;

    fn machine() -> Inventory {
        let saved = r#"{"disks": [], "interfaces": [{"name": "lo0", "mac": "52:54:00:00:00:01", "ip": "127.0.0.1", "netmask": "255.0.0.0"}]}"#;
        inventory::from_json(saved.as_bytes()).unwrap()
    }

    /// A root without or with a node id, and what becomes of a discovery with these answers to POST and PUT.
    fn discover(
        uid: Option<&str>,
        post: (u16, &'static str),
        put: (u16, &'static str),
    ) -> (Result<u64>, Vec<String>, Option<String>) {
        let root = Folder::new();
        if let Some(uid) = uid {
            fs::write(root.path().join(UID_FILE), uid).unwrap();
        }
        let server = Server::start(move |seen| {
            let (status, body) = if seen.method == "POST" { post } else { put };
            Answer::json(status, body)
        });
        let client = Client::new(&http::Settings::default()).unwrap();
        let token = Secret::new("s3cret");
        let nailgun = Nailgun { client: &client, base: &server.url(), token: Some(&token), root: root.path() };
        let result = nailgun.discover(&machine(), Mode::Bootstrap);
        let kept = fs::read_to_string(root.path().join(UID_FILE)).ok();
        for seen in server.seen() {
            assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
            let payload: Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!(payload["mac"], "52:54:00:00:00:01");
        }
        (result, server.lines(), kept)
    }

    const POST: &str = "POST /api/nodes/";
    const PUT: &str = "PUT /api/nodes/agent/";

    #[test]
    fn a_new_node_is_created_and_its_id_kept() {
        let (id, lines, kept) = discover(None, (201, r#"{"id": 7}"#), (500, ""));
        assert_eq!((id.unwrap(), lines, kept.as_deref()), (7, vec![POST.to_owned()], Some("7")));
    }

    #[test]
    fn a_node_that_the_master_knows_is_updated() {
        for status in [403, 409] {
            let (id, lines, kept) = discover(None, (status, "{}"), (200, r#"{"id": 7, "cached": true}"#));
            assert_eq!((id.unwrap(), lines, kept.as_deref()), (7, vec![POST.to_owned(), PUT.to_owned()], Some("7")));
        }
        let (id, lines, _) = discover(Some("7"), (500, ""), (200, r#"{"id": 7}"#));
        assert_eq!((id.unwrap(), lines), (7, vec![PUT.to_owned()]));
    }

    #[test]
    fn a_node_that_was_removed_is_created_anew() {
        for status in [400, 404] {
            let (id, lines, kept) = discover(Some("7"), (201, r#"{"id": 9}"#), (status, "Invalid MAC is specified"));
            assert_eq!((id.unwrap(), lines, kept.as_deref()), (9, vec![PUT.to_owned(), POST.to_owned()], Some("9")));
        }
    }

    #[test]
    fn an_answer_that_is_none_is_shown_and_keeps_the_id() {
        for (answer, expected) in [
            ((500, "<h1>Oops</h1>"), "answers 500 Internal Server Error: <h1>Oops</h1>"),
            ((200, "<html>login</html>"), "answers 200 OK without a node id: <html>login</html>"),
            ((200, "[]"), "answers 200 OK without a node id: []"),
            ((200, r#"{"id": "seven"}"#), r#"answers 200 OK without a node id: {"id": "seven"}"#),
        ] {
            let (result, _, kept) = discover(Some("7"), (500, ""), answer);
            let error = result.unwrap_err();
            assert_eq!(error.kind(), Kind::Master);
            assert!(error.to_string().ends_with(expected), "{error}");
            assert_eq!(kept.as_deref(), Some("7"));
        }
    }

    #[test]
    fn without_an_interface_nothing_is_sent() {
        let context =
            nailgun::Context { mode: Mode::Bootstrap, master: Vec::new(), runtime_uuid: None, report_usb: false };
        assert_eq!(nailgun::payload(&Inventory::default(), &context), None);
    }
}
