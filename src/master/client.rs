//! The operator's calls of a running master.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http;
use crate::request::Secret;

use super::cli::{Access, ReleaseOrder};
use super::release::Shown;
use super::server::Endpoint;
use super::view::{Details, List, Summary};

/// An answer is never longer: 10,000 nodes are below 10 MiB.
const ANSWER_LIMIT: u64 = 64 << 20;

/// Planning for a large machine takes the master well below a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where the master is and what opens it.
pub(super) struct Client {
    http: http::Client,
    url: String,
    token: Secret,
}

impl Client {
    /// Finds the master by its folder, or by URL and token file.
    ///
    /// # Errors
    /// `Usage` when the folder or file cannot be read.
    pub(super) fn new(access: &Access) -> Result<Self> {
        let (url, token_file) = match (&access.url, &access.token_file) {
            (Some(url), Some(file)) => (url.trim_end_matches('/').to_owned(), file.clone()),
            _ => (endpoint(&access.dir)?.url, access.dir.join("operator.token")),
        };
        let token = std::fs::read_to_string(&token_file)
            .context(Kind::Usage, || format!("reading the operator's token {}", token_file.display()))?;
        let http = http::Client::new(&http::Settings::default())?;
        Ok(Self { http, url, token: Secret::new(token.trim()) })
    }

    /// `nodes list`.
    ///
    /// # Errors
    /// `Master` when it does not answer or refuses.
    pub(super) fn list(&self, is_json: bool) -> Result<()> {
        let list: List = self.call(http::Method::GET, "/api/operator/nodes", None)?;
        print(is_json, &list, || list.text())
    }

    /// `nodes show`.
    ///
    /// # Errors
    /// `Master` when it does not answer or refuses.
    pub(super) fn show(&self, node: &str, is_json: bool) -> Result<()> {
        let details: Details = self.call(http::Method::GET, &node_path(node, ""), None)?;
        print(is_json, &details, || details.text())
    }

    /// An order without parameters.
    ///
    /// # Errors
    /// `Master` when it does not answer or refuses.
    pub(super) fn order(&self, node: &str, order: &str, is_json: bool) -> Result<()> {
        let path = node_path(node, &format!("/{order}"));
        let node: Summary = self.call(http::Method::POST, &path, None)?;
        print(is_json, &node, || match node.id {
            0 => format!("{}: the next network boot starts the bootstrap\n", node.mac),
            id => format!("node {id} ({}): {}\n", node.mac, node.status.as_str()),
        })
    }

    /// `nodes release`: shows the plan, asks, arms.
    ///
    /// # Errors
    /// `Refused` when a disk is not empty, nobody says yes, or the master refuses.
    pub(super) fn release(&self, order: &ReleaseOrder) -> Result<()> {
        let body = json!({ "profile": order.profile });
        let shown: Shown = self.call(http::Method::POST, &node_path(&order.node, "/plan"), Some(&body))?;
        let is_terminal = std::io::stderr().is_terminal();
        eprint!("{}", shown.plan.text(is_terminal));
        shown.notes.iter().for_each(|note| eprintln!("note: {note}"));
        shown.not_empty.iter().for_each(|disk| eprintln!("not empty: {disk}"));
        if !order.wipe && !shown.not_empty.is_empty() {
            let message = format!("would overwrite what is not empty: {}", shown.not_empty.join("; "));
            return Err(Error::new(Kind::Refused, message).advise("--wipe allows it"));
        }
        if !order.yes {
            confirm(&shown)?;
        }
        let body = json!({ "draft": shown.draft, "wipe": order.wipe });
        let node: Summary = self.call(http::Method::POST, &node_path(&order.node, "/release"), Some(&body))?;
        let line = format!("node {} ({}) is released, once: its next network boot provisions it\n", node.id, node.mac);
        let answer = json!({ "node": node, "profile": shown.profile, "plan": shown.plan, "notes": shown.notes });
        print(order.json, &answer, || line)
    }

    /// One call.
    ///
    /// # Errors
    /// `Master` with the message that the master gave.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let request = self.http.request(method, &format!("{}{path}", self.url)).bearer(&self.token);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let failed = || format!("asking the master at {}", self.url);
        let response = request.answer_within(ANSWER_WITHIN).send().context(Kind::Master, failed)?;
        let status = response.status();
        let bytes = response.bytes(ANSWER_LIMIT).context(Kind::Master, failed)?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).context(Kind::Master, || "reading the master's answer");
        }
        let refusal: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = refusal.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
        let errors = refusal.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
        let errors: Vec<_> = errors.iter().filter_map(Value::as_str).collect();
        let text = if errors.len() > 1 { format!("{message}\n  {}", errors.join("\n  ")) } else { message };
        Err(match status {
            409 => Error::new(Kind::Refused, text),
            400 | 404 => Error::new(Kind::Usage, text),
            _ => Error::new(Kind::Master, format!("{}: {status}: {text}", failed())),
        })
    }
}

/// Asks on the terminal.
fn confirm(shown: &Shown) -> Result<()> {
    let refused = |message: &str| Err(Error::new(Kind::Refused, message));
    if !std::io::stdin().is_terminal() {
        return refused("nobody can be asked: standard input is no terminal; a script says --yes");
    }
    eprint!("release node {} ({}) with this plan? [y/N] ", shown.node.id, shown.node.mac);
    std::io::stderr().flush().context(Kind::Usage, || "writing to stderr")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context(Kind::Usage, || "reading the answer")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => refused("not released"),
    }
}

/// What a master wrote into its folder about itself.
///
/// # Errors
/// `Usage` when it did not.
pub(super) fn endpoint(dir: &Path) -> Result<Endpoint> {
    let path = dir.join("endpoint.json");
    let bytes = std::fs::read(&path).map_err(|cause| {
        Error::caused(Kind::Usage, format!("finding the master by {}", path.display()), cause)
            .advise("start `bedplate-master serve --dir ..`, or name the folder with --dir or BEDPLATE_MASTER_DIR")
    })?;
    serde_json::from_slice(&bytes).context(Kind::Usage, || format!("reading {}", path.display()))
}

/// The path of a call about a node; its name may hold anything.
pub(super) fn node_path(node: &str, rest: &str) -> String {
    let mut path = "/api/operator/nodes/".to_owned();
    for byte in node.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path + rest
}

/// JSON or words, on stdout.
pub(super) fn print<T: Serialize>(is_json: bool, value: &T, text: impl FnOnce() -> String) -> Result<()> {
    let text = match is_json {
        true => serde_json::to_string_pretty(value).context(Kind::Bug, || "serialising the answer")? + "\n",
        false => text(),
    };
    std::io::stdout().write_all(text.as_bytes()).context(Kind::Usage, || "writing to stdout")
}
