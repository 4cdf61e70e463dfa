//! Cobbler's switch, by the calls of its XML-RPC interface that 2.x and 3.x share.

use std::time::Duration;

use log::{debug, warn};

use super::xmlrpc::{self, Answer, Value};
use super::{State, without};
use crate::error::{Error, Kind, Result};
use crate::http::{Client, Method, Url, excerpt};
use crate::request::Secret;
use crate::sys::signal;

/// A system is some ten kilobytes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How long a call may take: writing all files of a large site takes a while. As Fuel's orchestrator.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How often the whole is repeated when Cobbler does not answer, and after which pause. As Fuel's orchestrator.
const REPEATS: u32 = 2;
const PAUSE: Duration = Duration::from_secs(10);

/// What Cobbler answers instead of a system that it does not know: its word for Python's `None`.
const NONE: &str = "~";

/// Cobbler and a system there.
#[derive(Debug, Clone)]
pub struct Cobbler {
    pub(super) url: Url,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) system: System,
    /// Whether Cobbler is asked to write all of its files anew. 3.x writes those of a system when it is saved.
    pub(super) syncs: bool,
    pub(super) answer_within: Option<Duration>,
}

/// Which system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum System {
    Named(String),
    /// The one that has this MAC address.
    OfMac(String),
}

/// A call that failed, and whether the same may succeed a little later.
struct Trouble {
    error: Error,
    may_pass: bool,
}

type Attempt<T> = std::result::Result<T, Trouble>;

impl Trouble {
    fn lasting(message: impl Into<String>, advice: &str) -> Self {
        let error = Error::new(Kind::Master, message);
        Self { error: if advice.is_empty() { error } else { error.advise(advice) }, may_pass: false }
    }

    fn passing(message: impl Into<String>) -> Self {
        Self { error: Error::new(Kind::Master, message), may_pass: true }
    }
}

impl Cobbler {
    /// Logs in and looks for the system.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable, refuses the login, or does not know the system.
    pub fn check(&self, client: &Client) -> Result<()> {
        let what = "looking for this node in Cobbler".to_owned();
        self.patiently(&what, || Session::open(self, client)?.handle().map(|_| ()))
    }

    /// Switches network boot of the system, saves it, has the files written, and reads back.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable, refuses, or says otherwise afterwards.
    pub fn switch(&self, client: &Client, state: State) -> Result<()> {
        self.patiently(&state.switching(), || {
            let session = Session::open(self, client)?;
            let (name, handle) = session.handle()?;
            session.set(&handle, state)?;
            session.require(&name, state)
        })
    }

    /// Repeats what may pass.
    fn patiently<T>(&self, what: &str, act: impl Fn() -> Attempt<T>) -> Result<T> {
        let pause = self.answer_within.unwrap_or(PAUSE).min(PAUSE);
        let mut repeats = 0;
        loop {
            let trouble = match act() {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            if !trouble.may_pass {
                return Err(trouble.error.within(what));
            }
            if repeats == REPEATS {
                return Err(trouble.error.within(format!("{what}: {} attempts", REPEATS + 1)));
            }
            repeats += 1;
            warn!("{what}: {}: tried again in {} s", trouble.error, pause.as_secs());
            signal::pause(pause)?;
        }
    }
}

/// Somebody who is logged in. A token ends with its server, so that each attempt begins with a login.
struct Session<'a> {
    cobbler: &'a Cobbler,
    client: &'a Client,
    token: Secret,
}

impl<'a> Session<'a> {
    fn open(cobbler: &'a Cobbler, client: &'a Client) -> Attempt<Self> {
        let nobody = Self { cobbler, client, token: Secret::new("") };
        let login = [cobbler.user.as_str().into(), cobbler.password.reveal().into()];
        match nobody.call("login", &login)? {
            Ok(Value::Text(token)) if !token.is_empty() => Ok(Self { token: Secret::new(token), ..nobody }),
            Ok(other) => Err(nobody.strange("login", "a token", &other)),
            Err(fault) => Err(Trouble::lasting(
                format!("logging in to Cobbler at {} as {:?}: {fault}", cobbler.url, cobbler.user),
                "the user or the password is wrong, or the user may not change systems",
            )),
        }
    }

    /// The system's name and its handle.
    fn handle(&self) -> Attempt<(String, String)> {
        let name = match &self.cobbler.system {
            System::Named(name) => name.clone(),
            System::OfMac(mac) => self.find(mac)?,
        };
        let unknown = |words: &str| {
            Trouble::lasting(
                format!("asking Cobbler at {} for system {name:?}: {words}", self.cobbler.url),
                "name the system that Cobbler lists (`cobbler system list`) by --netboot-system, netboot-system or the request",
            )
        };
        match self.call("get_system_handle", &[name.as_str().into(), self.token.reveal().into()])? {
            Ok(Value::Text(handle)) if !handle.is_empty() && handle != NONE => Ok((name, handle)),
            Ok(_) => Err(unknown("it knows none")),
            Err(fault) => Err(unknown(&fault)),
        }
    }

    /// The name of the one system that has this MAC address.
    fn find(&self, mac: &str) -> Attempt<String> {
        let criteria = Value::Members([("mac_address".to_owned(), mac.into())].into());
        let found = match self.call("find_system", &[criteria])? {
            Ok(Value::List(found)) => found,
            Ok(other) => return Err(self.strange("find_system", "a list of names", &other)),
            Err(fault) => return Err(self.refused("find_system", &fault)),
        };
        let names: Vec<_> = found.iter().filter_map(Value::text).collect();
        match names.as_slice() {
            [name] => Ok((*name).to_owned()),
            names => {
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let words = format!("expected one with the MAC address {mac}, found {}", excerpt(names.as_bytes()));
                Err(Trouble::lasting(
                    format!("looking for the system in Cobbler at {}: {words}", self.cobbler.url),
                    "name the system by --netboot-system, netboot-system or the request",
                ))
            }
        }
    }

    fn set(&self, handle: &str, state: State) -> Attempt<()> {
        let token = || Value::from(self.token.reveal());
        let modify = [handle.into(), "netboot_enabled".into(), state.is_on().into(), token()];
        self.done("modify_system", &modify)?;
        self.done("save_system", &[handle.into(), token()])?;
        if !self.cobbler.syncs {
            return Ok(());
        }
        match self.call("sync", &[token()])? {
            Ok(Value::Flag(false)) => Err(Trouble::passing(self.words("sync", "it says that it failed"))),
            Ok(_) => Ok(()),
            // Another one may be under way.
            Err(fault) => Err(Trouble::passing(self.words("sync", &fault))),
        }
    }

    /// A call that says true when it did what it was asked for.
    fn done(&self, method: &str, arguments: &[Value]) -> Attempt<()> {
        match self.call(method, arguments)? {
            Ok(Value::Flag(false) | Value::Integer(0)) => Err(self.refused(method, "it says that it failed")),
            Ok(_) => Ok(()),
            Err(fault) => Err(self.refused(method, &fault)),
        }
    }

    /// Reads back.
    fn require(&self, name: &str, state: State) -> Attempt<()> {
        let members = match self.call("get_system", &[name.into()])? {
            Ok(Value::Members(members)) => members,
            Ok(other) => return Err(self.strange("get_system", "a system", &other)),
            Err(fault) => return Err(self.refused("get_system", &fault)),
        };
        match members.get("netboot_enabled").and_then(flag) {
            Some(enabled) if State::of(enabled) == state => Ok(()),
            Some(_) => Err(Trouble::lasting(
                format!("system {name:?} of Cobbler at {}: it says otherwise when asked back", self.cobbler.url),
                "",
            )),
            None => Err(Trouble::lasting(self.words("get_system", "expected netboot_enabled in the answer"), "")),
        }
    }

    /// One call: the outer error is that of the way to Cobbler, the inner one Cobbler's own words.
    fn call(&self, method: &str, arguments: &[Value]) -> Attempt<std::result::Result<Value, String>> {
        let Cobbler { url, answer_within, .. } = self.cobbler;
        let doing = || format!("calling {method} of Cobbler");
        let body = xmlrpc::call(method, arguments).map_err(|words| Trouble::lasting(self.words(method, &words), ""))?;
        let request = self.client.request_to(Method::POST, url).header("Content-Type", "text/xml");
        let within = answer_within.unwrap_or(ANSWER_WITHIN);
        let transport = |error: crate::http::Error| {
            let may_pass = error.is_transient();
            Trouble { error: Error::caused(Kind::Master, doing(), error), may_pass }
        };
        let response = request.body(body).answer_within(within).send().map_err(transport)?;
        let (status, words) = (response.status(), response.status_text());
        let said = response.bytes_within(ANSWER_LIMIT, within).map_err(transport)?;
        if status != 200 {
            let said = self.fit_to_show(&String::from_utf8_lossy(&said));
            let message = self.words(method, &format!("it answers {words}: {said}"));
            // What stands before a cobblerd that is down answers so.
            let advice = "the address is that of the XML-RPC interface, as http://10.20.0.2/cobbler_api";
            return Err(match status {
                502..=504 => Trouble::passing(message),
                _ => Trouble::lasting(message, advice),
            });
        }
        debug!("{method} of Cobbler: {} bytes", said.len());
        match xmlrpc::answer(&String::from_utf8_lossy(&said)) {
            Ok(Answer::Result(value)) => Ok(Ok(value)),
            Ok(Answer::Fault { code, text }) => Ok(Err(format!("fault {code}: {}", self.fit_to_show(words_of(&text))))),
            Err(words) => Err(Trouble::lasting(self.words(method, &format!("reading the answer: {words}")), "")),
        }
    }

    /// What Cobbler says, short, printable, and without what we told it: some faults repeat the token.
    fn fit_to_show(&self, said: &str) -> String {
        excerpt(without(said, [&self.cobbler.password, &self.token]).as_bytes())
    }

    fn words(&self, method: &str, words: &str) -> String {
        format!("calling {method} of Cobbler at {}: {words}", self.cobbler.url)
    }

    fn refused(&self, method: &str, words: &str) -> Trouble {
        // Tokens end with the server that gave them.
        if words.contains("invalid token") {
            return Trouble::passing(self.words(method, words));
        }
        Trouble::lasting(self.words(method, words), "")
    }

    fn strange(&self, method: &str, expected: &str, found: &Value) -> Trouble {
        self.refused(method, &format!("expected {expected}, found {}", found.kind()))
    }
}

/// The words of a fault without the name of Python's class that is put before them: `<class 'X'>:'words'`.
fn words_of(fault: &str) -> &str {
    let words =
        fault.strip_prefix("<class '").and_then(|rest| rest.split_once("'>:")).map_or(fault, |(_, words)| words);
    let is_quoted = |quote: char| words.len() > 1 && words.starts_with(quote) && words.ends_with(quote);
    if is_quoted('\'') || is_quoted('"') { &words[1..words.len() - 1] } else { words }
}

/// A flag as the versions of Cobbler tell it.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Flag(flag) => Some(*flag),
        Value::Integer(0) => Some(false),
        Value::Integer(1) => Some(true),
        Value::Text(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_fault_stand_without_pythons_class() {
        assert_eq!(words_of("<class 'cobbler.cexceptions.CX'>:'login failed (x)'"), "login failed (x)");
        assert_eq!(words_of("<class 'ValueError'>:\"it's none\""), "it's none");
        assert_eq!(words_of("'"), "'");
        assert_eq!(words_of("unknown system"), "unknown system");
    }
}
