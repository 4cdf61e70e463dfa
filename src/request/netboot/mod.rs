//! How network boot of the node is switched: in a request, in the configuration, in options.

mod document;
mod keys;

use std::path::PathBuf;
use std::time::Duration;

use super::findings::shown;
use super::model::Secret;

pub use document::read;
pub use keys::system_name;

/// Who decides whether the node boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetbootBackend {
    /// The embedded master.
    Master,
    /// Cobbler, by XML-RPC.
    Cobbler,
    /// A service of the site, by HTTP.
    Hook,
    /// Files of a TFTP tree.
    Tftp,
    /// Somebody else, who needs no call.
    None,
}

impl NetbootBackend {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Master, Self::Cobbler, Self::Hook, Self::Tftp, Self::None];

    /// Its word in documents, keys and options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Cobbler => "cobbler",
            Self::Hook => "hook",
            Self::Tftp => "tftp",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for NetbootBackend {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|backend| backend.as_str() == word);
        let words = || Self::ALL.map(Self::as_str).join(", ");
        found.ok_or_else(|| format!("expected one of {}, found {}", words(), shown(word)))
    }
}

/// What one place says of how network boot is switched; what it does not say is left to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Netboot {
    /// Who decides.
    pub backend: Option<NetbootBackend>,
    /// Name of the system in Cobbler.
    pub system: Option<String>,
    /// MAC address that the node boots by, lower case with colons.
    pub mac: Option<String>,
    /// How long a call may take.
    pub timeout: Option<Duration>,
    /// Cobbler.
    pub cobbler: CobblerAccess,
    /// The call to a service of the site.
    pub hook: HookCall,
    /// The TFTP tree.
    pub tftp: TftpTree,
}

/// Where Cobbler is, and who we are to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CobblerAccess {
    /// Address of its XML-RPC interface.
    pub url: Option<Secret>,
    /// Who logs in.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
    /// Whether Cobbler is asked to write all of its files anew after the change.
    pub sync: Option<bool>,
}

/// The call to a service of the site. Addresses and bodies may hold `{{words}}` that stand for the node and the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookCall {
    /// What is called.
    pub url: Option<Secret>,
    /// By which method.
    pub method: Option<String>,
    /// Headers, `Name: value`.
    pub headers: Vec<Secret>,
    /// A token that is sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// What is sent.
    pub body: Option<Secret>,
    /// Which answers are good ones.
    pub status: Vec<u16>,
    /// What is asked afterwards.
    pub check_url: Option<Secret>,
    /// What it must answer.
    pub check_body: Option<Secret>,
}

/// Where the files of a TFTP server are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TftpTree {
    /// Its root.
    pub root: Option<PathBuf>,
    /// The folder of GRUB's configuration, from the root.
    pub grub: Option<PathBuf>,
}

impl Netboot {
    /// Who decides, as far as this place says: a place that names the address of one and no word means that one.
    ///
    /// # Errors
    /// When it names the addresses of several.
    pub fn chosen(&self) -> Result<Option<NetbootBackend>, String> {
        let named = [
            self.cobbler.url.as_ref().map(|_| NetbootBackend::Cobbler),
            self.hook.url.as_ref().map(|_| NetbootBackend::Hook),
            self.tftp.root.as_ref().map(|_| NetbootBackend::Tftp),
        ];
        let mut named = named.into_iter().flatten();
        match (self.backend, named.next(), named.next()) {
            (Some(backend), ..) => Ok(Some(backend)),
            (None, Some(one), Some(other)) => {
                Err(format!("expected the address of one, found {} and {}", one.as_str(), other.as_str()))
            }
            (None, one, _) => Ok(one),
        }
    }

    /// This over `under`, which counts where this says nothing.
    ///
    /// Credentials stay with the address that they were given for: who names another address names its credentials.
    ///
    /// # Errors
    /// When one of them names the addresses of several.
    pub fn over(self, under: Self) -> Result<Self, String> {
        let backend = match self.chosen()? {
            Some(backend) => Some(backend),
            None => under.chosen()?,
        };
        Ok(Self {
            backend,
            system: self.system.or(under.system),
            mac: self.mac.or(under.mac),
            timeout: self.timeout.or(under.timeout),
            cobbler: self.cobbler.over(under.cobbler),
            hook: if self.hook.url.is_some() { self.hook } else { self.hook.over(under.hook) },
            tftp: TftpTree { root: self.tftp.root.or(under.tftp.root), grub: self.tftp.grub.or(under.tftp.grub) },
        })
    }
}

impl CobblerAccess {
    fn over(self, under: Self) -> Self {
        let sync = self.sync.or(under.sync);
        if self.url.is_some() && self.url != under.url {
            return Self { sync, ..self };
        }
        // A password of one place is not mixed with the file of another.
        let own = self.password.is_some() || self.password_file.is_some();
        let (password, password_file) =
            if own { (self.password, self.password_file) } else { (under.password, under.password_file) };
        Self { url: self.url.or(under.url), user: self.user.or(under.user), password, password_file, sync }
    }
}

impl HookCall {
    /// The service of `under`, called as this place says.
    fn over(self, under: Self) -> Self {
        let own = self.token.is_some() || self.token_file.is_some();
        let (token, token_file) = if own { (self.token, self.token_file) } else { (under.token, under.token_file) };
        Self {
            url: under.url,
            method: self.method.or(under.method),
            headers: if self.headers.is_empty() { under.headers } else { self.headers },
            token,
            token_file,
            body: self.body.or(under.body),
            status: if self.status.is_empty() { under.status } else { self.status },
            // What is asked afterwards is asked with the same credentials.
            check_url: under.check_url,
            check_body: self.check_body.or(under.check_body),
        }
    }
}

#[cfg(test)]
impl Netboot {
    /// What these keys say together.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut netboot = Self::default();
        for (key, value) in pairs {
            assert!(netboot.set(key, &[(*value).to_owned()]).unwrap(), "{key}");
        }
        netboot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_names_one_address_means_that_backend() {
        assert_eq!(Netboot::of(&[]).chosen(), Ok(None));
        assert_eq!(Netboot::of(&[("cobbler-url", "http://a")]).chosen(), Ok(Some(NetbootBackend::Cobbler)));
        assert_eq!(Netboot::of(&[("hook-url", "http://a")]).chosen(), Ok(Some(NetbootBackend::Hook)));
        assert_eq!(Netboot::of(&[("tftp-root", "/srv/tftp")]).chosen(), Ok(Some(NetbootBackend::Tftp)));
        let both = [("tftp-root", "/srv/tftp"), ("cobbler-url", "http://a")];
        assert_eq!(Netboot::of(&both).chosen().unwrap_err(), "expected the address of one, found cobbler and tftp");
        let said = [both[0], both[1], ("netboot-backend", "none")];
        assert_eq!(Netboot::of(&said).chosen(), Ok(Some(NetbootBackend::None)));
    }

    #[test]
    fn credentials_do_not_go_to_an_address_that_another_place_names() {
        let file = Netboot::of(&[("cobbler-url", "http://a"), ("cobbler-user", "u"), ("cobbler-password", "hunter2")]);
        let merged = |over: &[(&str, &str)]| Netboot::of(over).over(file.clone()).unwrap();
        let elsewhere = merged(&[("cobbler-url", "http://evil")]);
        assert_eq!((elsewhere.cobbler.user, elsewhere.cobbler.password), (None, None));
        let same = merged(&[("cobbler-url", "http://a"), ("netboot-system", "node-7")]);
        assert_eq!(same.cobbler, file.cobbler);
        assert_eq!((same.system.as_deref(), same.backend), (Some("node-7"), Some(NetbootBackend::Cobbler)));
        let by_file = merged(&[("cobbler-password-file", "/p")]);
        assert_eq!((by_file.cobbler.password, by_file.cobbler.password_file), (None, Some(PathBuf::from("/p"))));
        let hook =
            Netboot::of(&[("hook-url", "http://a"), ("hook-token", "hunter2"), ("hook-check-url", "http://a/c")]);
        let elsewhere = Netboot::of(&[("hook-url", "http://evil")]).over(hook.clone()).unwrap();
        assert_eq!((elsewhere.hook.token, elsewhere.hook.check_url), (None, None));
        // Who names only what is asked afterwards does not learn the token either.
        let asked = Netboot::of(&[("hook-check-url", "http://evil")]).over(hook.clone()).unwrap();
        assert_eq!(asked.hook, hook.hook);
    }

    #[test]
    fn secrets_are_not_shown() {
        let netboot = Netboot::of(&[
            ("cobbler-url", "http://u:hunter2@a"),
            ("cobbler-password", "hunter2"),
            ("hook-url", "http://a/?key=hunter2"),
            ("hook-header", "X-Key: hunter2"),
            ("hook-token", "hunter2"),
            ("hook-body", "hunter2"),
        ]);
        assert!(!format!("{netboot:?}").contains("hunter2"), "{netboot:?}");
    }
}
