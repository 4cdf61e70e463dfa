//! Whether the node boots from the network: a room of those who may decide it, behind one interface.

mod choice;
pub mod cobbler;
mod hook;
pub mod master;
mod template;
mod tftp;
pub mod xmlrpc;

use std::fmt;

use quick_xml::escape::escape;

use crate::error::Result;
use crate::http::Client;
use crate::image::Cancel;
use crate::request::{NetbootBackend, Secret};
use crate::sys::signal;

pub use choice::{choose, read_secret};
pub use cobbler::Cobbler;
pub use hook::Hook;
pub use tftp::Tftp;

/// What network boot of a node is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The node is started over the network at its next boot.
    On,
    /// The node starts from its disk.
    Off,
}

impl State {
    /// The state that this flag of a master stands for.
    #[must_use]
    pub const fn of(enabled: bool) -> Self {
        if enabled { Self::On } else { Self::Off }
    }

    /// Whether network boot is enabled in it.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }

    /// What is being done, for messages.
    #[must_use]
    pub fn switching(self) -> String {
        format!("switching network boot {self}")
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "on" } else { "off" })
    }
}

/// Does what may wait for a silent server, unless the process is to end.
fn aside(act: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    Cancel::with_flag(signal::cancel_flag()).aside(act)
}

/// What somebody says, without the secrets that we told it.
fn without<'a>(said: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut said = said.to_owned();
    for secret in secrets.into_iter().map(Secret::reveal).filter(|secret| !secret.is_empty()) {
        said = said.replace(secret, "***").replace(escape(secret).as_ref(), "***");
    }
    said
}

/// The node whose network boot is switched, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Name of the system in Cobbler.
    pub system: Option<String>,
    /// MAC address that it boots by, lower case with colons.
    pub mac: Option<String>,
    /// Its id at the master.
    pub id: Option<u64>,
}

/// Who decides, with all that a call needs.
#[derive(Debug)]
pub enum Backend {
    /// The embedded master.
    Master(master::Access),
    /// Cobbler.
    Cobbler(Cobbler),
    /// A service of the site.
    Hook(Hook),
    /// Files of a TFTP tree.
    Tftp(Tftp),
    /// Somebody else, who needs no call.
    None,
}

impl Backend {
    /// Which one it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let backend = match self {
            Self::Master(_) => NetbootBackend::Master,
            Self::Cobbler(_) => NetbootBackend::Cobbler,
            Self::Hook(_) => NetbootBackend::Hook,
            Self::Tftp(_) => NetbootBackend::Tftp,
            Self::None => NetbootBackend::None,
        };
        backend.as_str()
    }

    /// Finds out what would make [`Backend::switch`] fail, as far as that shows without switching: for before a disk is
    /// overwritten.
    ///
    /// # Errors
    /// `Master` when whoever decides is unreachable, refuses us, or does not know the node.
    pub fn check(&self, client: &Client) -> Result<()> {
        match self {
            Self::Cobbler(cobbler) => cobbler.check(client),
            Self::Tftp(tree) => tree.check(),
            Self::Master(_) | Self::Hook(_) | Self::None => Ok(()),
        }
    }

    /// Switches network boot of the node, and reads back that it is so.
    ///
    /// # Errors
    /// `Master` when whoever decides is unreachable, refuses, or says otherwise afterwards; `Interrupted` or `Terminated`
    /// when the process was asked to end; whether a call that was under way is carried out is then not known.
    pub fn switch(&self, client: &Client, state: State) -> Result<()> {
        match self {
            Self::Master(it) => {
                let (it, client) = (it.clone(), client.clone());
                aside(move || master::set(&client, it.url.reveal(), it.node, &it.token, state.is_on()))
            }
            Self::Cobbler(cobbler) => cobbler.switch(client, state),
            Self::Hook(hook) => {
                let (hook, client) = (hook.clone(), client.clone());
                aside(move || hook.switch(&client, state))
            }
            Self::Tftp(tree) => tree.switch(state),
            Self::None => Ok(()),
        }
    }
}
