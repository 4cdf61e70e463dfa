//! A service of the site's own that switches by one HTTP call.

use std::time::Duration;

use serde_json::{Map, Value};

use super::template::fill;
use super::{Node, State, without};
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method, Url, excerpt};
use crate::request::Secret;

/// As much of an answer as is read.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How long a call may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The call, and the node that it is about.
#[derive(Debug, Clone)]
pub struct Hook {
    pub(super) node: Node,
    pub(super) url: Secret,
    pub(super) method: String,
    /// Names and values.
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) token: Option<Secret>,
    pub(super) body: Option<Secret>,
    /// Good answers; none: 200 to 299.
    pub(super) status: Vec<u16>,
    pub(super) check: Option<Check>,
    pub(super) answer_within: Option<Duration>,
}

/// What is asked afterwards, and what must be the answer.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) url: Secret,
    pub(super) body: Secret,
}

impl Hook {
    /// Whether every text can be filled in, so that a slip of the pen shows before a disk is overwritten.
    ///
    /// # Errors
    /// `Usage` with what was expected.
    pub(super) fn checked(self) -> Result<Self> {
        for state in [State::On, State::Off] {
            self.url("hook-url", &self.url, state)?;
            self.content(state)?;
            if let Some(check) = &self.check {
                self.url("hook-check-url", &check.url, state)?;
                self.filled("hook-check-body", &check.body, state)?;
            }
        }
        Ok(self)
    }

    /// Calls the service, and asks back where that is configured.
    ///
    /// # Errors
    /// `Master` when it is unreachable, answers otherwise than expected, or says otherwise afterwards.
    pub fn switch(&self, client: &Client, state: State) -> Result<()> {
        let method: Method = self.method.parse().context(Kind::Usage, || "hook-method")?;
        let url = self.url("hook-url", &self.url, state)?;
        let content = self.content(state)?;
        self.call(client, method, &url, content).map_err(|error| error.within(state.switching()))?;
        let Some(check) = &self.check else { return Ok(()) };
        let url = self.url("hook-check-url", &check.url, state)?;
        let said = self.call(client, Method::GET, &url, None).map_err(|error| error.within(state.switching()))?;
        let expected = self.filled("hook-check-body", &check.body, state)?;
        if agrees(&said, expected.reveal()) {
            return Ok(());
        }
        let message = format!("{}: {url} says otherwise when asked back: {}", state.switching(), self.shown(&said));
        Err(Error::new(Kind::Master, message))
    }

    fn call(&self, client: &Client, method: Method, url: &Url, content: Option<Secret>) -> Result<Vec<u8>> {
        let within = self.answer_within.unwrap_or(ANSWER_WITHIN);
        let is_change = content.is_some() || method != Method::GET;
        let has_type = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let mut request = client.request_to(method, url).answer_within(within);
        for (name, value) in &self.headers {
            request = request.header(name, value.reveal());
        }
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        if let Some(content) = content {
            request = if has_type { request } else { request.header("Content-Type", "application/json") };
            request = request.body(content.reveal());
        }
        let response = request.send().context(Kind::Master, || "calling the service")?;
        let (status, words) = (response.status(), response.status_text());
        let said = response.bytes_within(ANSWER_LIMIT, within).context(Kind::Master, || "calling the service")?;
        // What is asked afterwards has an answer of its own.
        let expected = if is_change { self.status.as_slice() } else { &[200] };
        let is_good = if expected.is_empty() { (200..300).contains(&status) } else { expected.contains(&status) };
        if is_good {
            return Ok(said);
        }
        let codes: Vec<_> = expected.iter().map(ToString::to_string).collect();
        let codes = if codes.is_empty() { "200 to 299".to_owned() } else { codes.join(", ") };
        let message = format!("{url}: expected the status {codes}, found {words}: {}", self.shown(&said));
        Err(Error::new(Kind::Master, message))
    }

    /// What is sent: the operator's text, else all that is known of the node, as JSON.
    fn content(&self, state: State) -> Result<Option<Secret>> {
        if let Some(body) = &self.body {
            return self.filled("hook-body", body, state).map(Some);
        }
        if matches!(self.method.as_str(), "GET" | "DELETE") {
            return Ok(None);
        }
        let mut known = Map::new();
        known.insert("netboot".to_owned(), state.is_on().into());
        let Node { system, mac, id } = &self.node;
        known.extend(mac.iter().map(|mac| ("mac".to_owned(), Value::from(mac.as_str()))));
        known.extend(system.iter().map(|system| ("system".to_owned(), Value::from(system.as_str()))));
        known.extend(id.iter().map(|id| ("node".to_owned(), Value::from(*id))));
        Ok(Some(Secret::new(Value::Object(known).to_string())))
    }

    fn filled(&self, key: &str, text: &Secret, state: State) -> Result<Secret> {
        let filled = fill(text.reveal(), &self.node, state);
        filled.map(Secret::new).map_err(|words| Error::new(Kind::Usage, format!("{key}: {words}")))
    }

    fn url(&self, key: &str, text: &Secret, state: State) -> Result<Url> {
        self.filled(key, text, state)?.reveal().parse().context(Kind::Usage, || key)
    }

    /// What the service says, short, printable, and without what we told it.
    fn shown(&self, said: &[u8]) -> String {
        let secrets = self.headers.iter().map(|(_, value)| value).chain(&self.token);
        excerpt(without(&String::from_utf8_lossy(said), secrets).as_bytes())
    }
}

/// Whether an answer is as expected: of a JSON object those members that are expected, else the whole text.
fn agrees(said: &[u8], expected: &str) -> bool {
    let parsed = (serde_json::from_slice::<Value>(said), serde_json::from_str::<Value>(expected));
    if let (Ok(Value::Object(said)), Ok(Value::Object(expected))) = parsed {
        return expected.iter().all(|(key, value)| said.get(key) == Some(value));
    }
    String::from_utf8_lossy(said).trim() == expected.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_agrees_when_it_holds_what_is_expected() {
        assert!(agrees(b"off\n", " off"));
        assert!(!agrees(b"on", "off"));
        assert!(agrees(br#"{"name": "x", "netboot": false}"#, r#"{"netboot":false}"#));
        assert!(!agrees(br#"{"name": "x", "netboot": true}"#, r#"{"netboot":false}"#));
        assert!(!agrees(br#"{"name": "x"}"#, r#"{"netboot":false}"#));
        assert!(agrees(b"false", "false"));
    }
}
