//! Cobbler's switch, by the calls of its XML-RPC interface that 2.x and 3.x share.

mod session;

use super::State;
use super::xmlrpc::Value;
use crate::error::Result;
use crate::http::{Client, excerpt};

pub use session::{Attempt, NONE, Server, Session, Trouble};

/// Cobbler and a system there.
#[derive(Debug, Clone)]
pub struct Cobbler {
    pub(super) server: Server,
    pub(super) system: System,
    /// Whether Cobbler is asked to write all of its files anew. 3.x writes those of a system when it is saved.
    pub(super) syncs: bool,
}

/// Which system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum System {
    Named(String),
    /// The one that has this MAC address.
    OfMac(String),
}

impl Cobbler {
    /// Logs in and looks for the system.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable, refuses the login, or does not know the system.
    pub fn check(&self, client: &Client) -> Result<()> {
        let what = "looking for this node in Cobbler".to_owned();
        self.server.patiently(&what, || Switching::open(self, client)?.handle().map(|_| ()))
    }

    /// Switches network boot of the system, saves it, has the files written, and reads back.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable, refuses, or says otherwise afterwards.
    pub fn switch(&self, client: &Client, state: State) -> Result<()> {
        self.server.patiently(&state.switching(), || {
            let session = Switching::open(self, client)?;
            let (name, handle) = session.handle()?;
            session.set(&handle, state)?;
            session.require(&name, state)
        })
    }
}

/// A session that is about the system.
struct Switching<'a> {
    cobbler: &'a Cobbler,
    session: Session<'a>,
}

impl<'a> Switching<'a> {
    fn open(cobbler: &'a Cobbler, client: &'a Client) -> Attempt<Self> {
        Ok(Self { cobbler, session: Session::open(&cobbler.server, client)? })
    }

    /// The system's name and its handle.
    fn handle(&self) -> Attempt<(String, String)> {
        let name = match &self.cobbler.system {
            System::Named(name) => name.clone(),
            System::OfMac(mac) => self.find(mac)?,
        };
        let unknown = |words: &str| {
            Trouble::lasting(
                format!("asking Cobbler at {} for system {name:?}: {words}", self.cobbler.server.url),
                "name the system that Cobbler lists (`cobbler system list`) by --netboot-system, netboot-system or the request",
            )
        };
        match self.session.call("get_system_handle", &[name.as_str().into(), self.session.token()])? {
            Ok(Value::Text(handle)) if !handle.is_empty() && handle != NONE => Ok((name, handle)),
            Ok(_) => Err(unknown("it knows none")),
            Err(fault) => Err(unknown(&fault)),
        }
    }

    /// The name of the one system that has this MAC address.
    fn find(&self, mac: &str) -> Attempt<String> {
        let criteria = Value::Members([("mac_address".to_owned(), mac.into())].into());
        let found = match self.session.call("find_system", &[criteria])? {
            Ok(Value::List(found)) => found,
            Ok(other) => return Err(self.session.strange("find_system", "a list of names", &other)),
            Err(fault) => return Err(self.session.refused("find_system", &fault)),
        };
        let names: Vec<_> = found.iter().filter_map(Value::text).collect();
        match names.as_slice() {
            [name] => Ok((*name).to_owned()),
            names => {
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let words = format!("expected one with the MAC address {mac}, found {}", excerpt(names.as_bytes()));
                Err(Trouble::lasting(
                    format!("looking for the system in Cobbler at {}: {words}", self.cobbler.server.url),
                    "name the system by --netboot-system, netboot-system or the request",
                ))
            }
        }
    }

    fn set(&self, handle: &str, state: State) -> Attempt<()> {
        let modify = [handle.into(), "netboot_enabled".into(), state.is_on().into(), self.session.token()];
        self.session.done("modify_system", &modify)?;
        self.session.done("save_system", &[handle.into(), self.session.token()])?;
        if self.cobbler.syncs { self.session.sync() } else { Ok(()) }
    }

    /// Reads back.
    fn require(&self, name: &str, state: State) -> Attempt<()> {
        let members = match self.session.call("get_system", &[name.into()])? {
            Ok(Value::Members(members)) => members,
            Ok(other) => return Err(self.session.strange("get_system", "a system", &other)),
            Err(fault) => return Err(self.session.refused("get_system", &fault)),
        };
        match members.get("netboot_enabled").and_then(flag) {
            Some(enabled) if State::of(enabled) == state => Ok(()),
            Some(_) => Err(Trouble::lasting(
                format!("system {name:?} of Cobbler at {}: it says otherwise when asked back", self.cobbler.server.url),
                "",
            )),
            None => {
                Err(Trouble::lasting(self.session.words("get_system", "expected netboot_enabled in the answer"), ""))
            }
        }
    }
}

/// A flag as the versions of Cobbler tell it.
#[must_use]
pub fn flag(value: &Value) -> Option<bool> {
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
