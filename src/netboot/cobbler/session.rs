//! Calls of Cobbler's XML-RPC interface by somebody who is logged in.

use std::collections::BTreeMap;
use std::time::Duration;

use log::{debug, warn};

use crate::error::{Error, Kind, Result};
use crate::http::{Client, Method, Url, excerpt};
use crate::image::Cancel;
use crate::netboot::without;
use crate::netboot::xmlrpc::{self, Answer, Value};
use crate::request::Secret;

/// A system is some ten kilobytes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How long a call may take: writing all files of a large site takes a while. As Fuel's orchestrator.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How often the whole is repeated when Cobbler does not answer, and after which pause. As Fuel's orchestrator.
const REPEATS: u32 = 2;
const PAUSE: Duration = Duration::from_secs(10);

/// What Cobbler answers instead of an object that it does not know: its word for Python's `None`.
pub const NONE: &str = "~";

/// Cobbler, and who logs in there.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its XML-RPC interface.
    pub url: Url,
    /// Who logs in.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// How long a call may take; two minutes.
    pub answer_within: Option<Duration>,
    /// Further secrets that it is told, and that no message may hold.
    pub hidden: Vec<Secret>,
    /// Ends the waiting for an answer.
    pub cancel: Cancel,
}

/// A call that failed, and whether the same may succeed a little later.
#[derive(Debug)]
pub struct Trouble {
    pub(crate) error: Error,
    pub(crate) may_pass: bool,
}

/// What one attempt came to.
pub type Attempt<T> = std::result::Result<T, Trouble>;

impl Trouble {
    /// The same call would fail again.
    pub fn lasting(message: impl Into<String>, advice: &str) -> Self {
        let error = Error::new(Kind::Master, message);
        Self { error: if advice.is_empty() { error } else { error.advise(advice) }, may_pass: false }
    }

    /// The same call may succeed a little later.
    pub fn passing(message: impl Into<String>) -> Self {
        Self { error: Error::new(Kind::Master, message), may_pass: true }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, may_pass: false }
    }
}

impl Server {
    /// Repeats what may pass.
    ///
    /// # Errors
    /// `Master` when it lasts; `Interrupted` or `Terminated` when the process is to end.
    pub fn patiently<T>(&self, what: &str, act: impl Fn() -> Attempt<T>) -> Result<T> {
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
            self.cancel.sleep(pause)?;
        }
    }
}

/// Somebody who is logged in. A token ends with its server, so that each attempt begins with a login.
#[derive(Debug)]
pub struct Session<'a> {
    server: &'a Server,
    client: &'a Client,
    token: Secret,
}

impl<'a> Session<'a> {
    /// Logs in.
    ///
    /// # Errors
    /// When Cobbler does not answer, or refuses the user.
    pub fn open(server: &'a Server, client: &'a Client) -> Attempt<Self> {
        let nobody = Self { server, client, token: Secret::new("") };
        let login = [server.user.as_str().into(), server.password.reveal().into()];
        match nobody.call("login", &login)? {
            Ok(Value::Text(token)) if !token.is_empty() => Ok(Self { token: Secret::new(token), ..nobody }),
            Ok(other) => Err(nobody.strange("login", "a token", &other)),
            Err(fault) => Err(Trouble::lasting(
                format!("logging in to Cobbler at {} as {:?}: {fault}", server.url, server.user),
                "the user or the password is wrong, or the user may not change systems",
            )),
        }
    }

    /// The token as an argument.
    #[must_use]
    pub fn token(&self) -> Value {
        self.token.reveal().into()
    }

    /// Has Cobbler write all of its files anew.
    ///
    /// # Errors
    /// When it says that it failed.
    pub fn sync(&self) -> Attempt<()> {
        match self.call("sync", &[self.token()])? {
            Ok(Value::Flag(false)) => Err(Trouble::passing(self.words("sync", "it says that it failed"))),
            Ok(_) => Ok(()),
            // Another one may be under way.
            Err(fault) => Err(Trouble::passing(self.words("sync", &fault))),
        }
    }

    /// A call that says true when it did what it was asked for.
    ///
    /// # Errors
    /// When it says otherwise.
    pub fn done(&self, method: &str, arguments: &[Value]) -> Attempt<()> {
        match self.call(method, arguments)? {
            Ok(Value::Flag(false) | Value::Integer(0)) => Err(self.refused(method, "it says that it failed")),
            Ok(_) => Ok(()),
            Err(fault) => Err(self.refused(method, &fault)),
        }
    }

    /// What an object holds; nothing when Cobbler does not know it. Not flattened: cobblerd 3.3 keeps the flattened values, and
    /// cannot save the object any more.
    ///
    /// # Errors
    /// When Cobbler answers otherwise.
    pub fn read(&self, kind: &str, name: &str) -> Attempt<Option<BTreeMap<String, Value>>> {
        let method = format!("get_{kind}");
        match self.call(&method, &[name.into()])? {
            Ok(Value::Members(members)) => Ok(Some(members)),
            Ok(Value::Text(none)) if none == NONE => Ok(None),
            // What older ones answer instead.
            Ok(Value::Nil) => Ok(None),
            Ok(other) => Err(self.strange(&method, &format!("a {kind}"), &other)),
            Err(fault) => Err(self.refused(&method, &fault)),
        }
    }

    /// Gives fields of an object these values, and saves it; it is made where there is none.
    ///
    /// # Errors
    /// When Cobbler refuses a value.
    pub fn write(&self, kind: &str, name: &str, fields: &BTreeMap<String, Value>) -> Attempt<()> {
        let is_new = self.read(kind, name)?.is_none();
        let handle = if is_new {
            self.handle(&format!("new_{kind}"), &[self.token()])?
        } else {
            self.handle(&format!("get_{kind}_handle"), &[name.into(), self.token()])?
        };
        let modify = |field: &str, value: Value| {
            let done = self.done(&format!("modify_{kind}"), &[handle.clone(), field.into(), value, self.token()]);
            done.map_err(|trouble| Trouble {
                error: trouble.error.within(format!("{kind} {name:?}: {field}")),
                ..trouble
            })
        };
        if is_new {
            modify("name", name.into())?;
        }
        for (field, value) in fields {
            modify(field, value.clone())?;
        }
        self.done(&format!("save_{kind}"), &[handle, self.token()])
    }

    /// Removes an object, and nothing that depends on it.
    ///
    /// # Errors
    /// When something depends on it.
    pub fn remove(&self, kind: &str, name: &str) -> Attempt<()> {
        if self.read(kind, name)?.is_none() {
            return Ok(());
        }
        let removed = self.done(&format!("remove_{kind}"), &[name.into(), self.token(), false.into()]);
        removed.map_err(|trouble| Trouble {
            error: trouble.error.within(format!("removing the {kind} {name:?}")),
            ..trouble
        })
    }

    fn handle(&self, method: &str, arguments: &[Value]) -> Attempt<Value> {
        match self.call(method, arguments)? {
            Ok(Value::Text(handle)) if !handle.is_empty() && handle != NONE => Ok(Value::Text(handle)),
            Ok(other) => Err(self.strange(method, "a handle", &other)),
            Err(fault) => Err(self.refused(method, &fault)),
        }
    }

    /// One call: the outer error is that of the way to Cobbler, the inner one Cobbler's own words.
    ///
    /// # Errors
    /// When Cobbler does not answer, or not in XML-RPC.
    pub fn call(&self, method: &str, arguments: &[Value]) -> Attempt<std::result::Result<Value, String>> {
        let Server { url, answer_within, cancel, .. } = self.server;
        let doing = || format!("calling {method} of Cobbler");
        let body = xmlrpc::call(method, arguments).map_err(|words| Trouble::lasting(self.words(method, &words), ""))?;
        let within = answer_within.unwrap_or(ANSWER_WITHIN);
        let (client, url) = (self.client.clone(), url.clone());
        let exchange = move || {
            let request = client.request_to(Method::POST, &url).header("Content-Type", "text/xml");
            let response = request.body(body).answer_within(within).send()?;
            let (status, words) = (response.status(), response.status_text());
            Ok((status, words, response.bytes_within(ANSWER_LIMIT, within)?))
        };
        // A silent Cobbler does not hold up a run that is to end.
        let answered: crate::http::Result<_> = cancel.aside(move || Ok(exchange()))?;
        let (status, words, said) = answered.map_err(|error| {
            let may_pass = error.is_transient();
            Trouble { error: Error::caused(Kind::Master, doing(), error), may_pass }
        })?;
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
        excerpt(without(said, [&self.server.password, &self.token].into_iter().chain(&self.server.hidden)).as_bytes())
    }

    /// An error's words.
    #[must_use]
    pub fn words(&self, method: &str, words: &str) -> String {
        format!("calling {method} of Cobbler at {}: {words}", self.server.url)
    }

    /// Cobbler does not do what it was asked for.
    #[must_use]
    pub fn refused(&self, method: &str, words: &str) -> Trouble {
        // Tokens end with the server that gave them.
        if words.contains("invalid token") {
            return Trouble::passing(self.words(method, words));
        }
        Trouble::lasting(self.words(method, words), "")
    }

    /// Cobbler's answer is of another kind than its documentation says.
    #[must_use]
    pub fn strange(&self, method: &str, expected: &str, found: &Value) -> Trouble {
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
