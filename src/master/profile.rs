//! A profile: what a node can become. `DIR/profiles/NAME.toml`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, de};

use crate::error::{Context as _, Error, Kind, Result};
use crate::units::Mib;

use super::ident::Mac;

/// A profile; every key is explained in docs/master.md.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Images below targetimages/.
    pub images: Images,
    /// Which disks.
    #[serde(default)]
    pub disk: DiskChoice,
    /// How large.
    #[serde(default)]
    pub sizes: Sizes,
    /// What the images hold.
    #[serde(default)]
    pub file_systems: FileSystems,
    /// Accounts.
    #[serde(default)]
    pub users: Vec<User>,
    /// Public keys of root.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Kernel command line of the installed system.
    #[serde(default = "default_kernel_params")]
    pub kernel_params: String,
    /// Time zone.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// Host name without domain; `{id}` and `{mac}` stand for the node's.
    #[serde(default = "default_hostname")]
    pub hostname: String,
    /// Domain.
    #[serde(default = "default_domain")]
    pub domain: String,
    /// Cobbler profile, from which the operating system is guessed when the side-car does not say it.
    #[serde(default = "default_cobbler_profile")]
    pub cobbler_profile: String,
    /// Network of the installed system.
    #[serde(default)]
    pub network: Network,
    /// Package repositories in Nailgun's form.
    #[serde(default)]
    pub repos: Vec<serde_json::Value>,
    /// Laid over the composed document, key by key.
    #[serde(default)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// File names below targetimages/.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Image of `/`.
    pub root: String,
    /// Image of `/boot`.
    pub boot: String,
}

/// Which disks the system goes to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskChoice {
    /// One disk or all.
    #[serde(rename = "use")]
    pub which: WhichDisks,
    /// Smaller disks are never taken.
    #[serde(deserialize_with = "size")]
    pub at_least: Mib,
}

/// One disk or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhichDisks {
    /// The smallest fixed disk that is large enough.
    Smallest,
    /// Every fixed disk that is large enough; the volume group spans them.
    All,
}

/// How large things become.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sizes {
    /// The partition of `/boot`.
    #[serde(deserialize_with = "size")]
    pub boot: Mib,
    /// The volume of `/`.
    pub root: RootSize,
    /// The volume of swap.
    pub swap: SwapSize,
}

/// The size of `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum RootSize {
    /// What swap leaves.
    Rest,
    /// A fifth of the first disk, at least 15 and at most 50 GiB: Nailgun's rule.
    Fifth,
    /// This much.
    Exactly(Mib),
}

/// The size of swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SwapSize {
    /// Nailgun's rule by memory, at most a quarter of the volume group.
    ByMemory,
    /// This much; zero for none.
    Exactly(Mib),
}

/// What the images hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSystems {
    /// In the image of `/`.
    pub root: String,
    /// In the image of `/boot`.
    pub boot: String,
}

/// An account.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Clear-text password; the agent hashes it.
    pub password: Option<String>,
    /// Ready crypt(3) hash.
    pub hashed_password: Option<String>,
    /// Home folder.
    pub homedir: Option<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// sudo rules, for example `ALL=(ALL) NOPASSWD: ALL`.
    #[serde(default)]
    pub sudo: Vec<String>,
    /// Public keys.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
}

/// Without the password.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The installed system's network.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// DHCP, or an address that stays.
    pub mode: NetworkMode,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// With `static`: address by MAC address, `10.0.0.5/24`; a node that is not named keeps the one it reported.
    pub addresses: BTreeMap<Mac, String>,
}

/// How the installed system gets its address.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// From DHCP, on the interface that reached this master.
    #[default]
    Dhcp,
    /// A fixed address on that interface.
    Static,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// `Usage` when it is not TOML or has a wrong or unknown key.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context(Kind::Usage, || "parsing TOML")
    }
}

/// A profile's name: it becomes a file name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.bytes().all(is_letter)
}

/// Reads `8 GiB`, `200 MiB`, `1 TiB`.
///
/// # Errors
/// `Usage` for anything else.
pub(crate) fn parse_size(text: &str) -> Result<Mib> {
    let refused = || Error::new(Kind::Usage, format!("{text:?}: expected a size such as \"200 MiB\" or \"8 GiB\""));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "MiB" => 1,
        "GiB" => 1 << 10,
        "TiB" => 1 << 20,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(factor).map(Mib::new).ok_or_else(refused)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mib, D::Error> {
    parse_size(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

impl TryFrom<String> for RootSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "rest" => Ok(Self::Rest),
            "fifth" => Ok(Self::Fifth),
            size => parse_size(size)
                .map(Self::Exactly)
                .map_err(|_| format!("{text:?}: expected \"rest\", \"fifth\" or a size such as \"8 GiB\"")),
        }
    }
}

impl TryFrom<String> for SwapSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "by-memory" => Ok(Self::ByMemory),
            "none" => Ok(Self::Exactly(Mib::new(0))),
            size => parse_size(size)
                .map(Self::Exactly)
                .map_err(|_| format!("{text:?}: expected \"by-memory\", \"none\" or a size such as \"2 GiB\"")),
        }
    }
}

impl Default for DiskChoice {
    fn default() -> Self {
        Self { which: WhichDisks::Smallest, at_least: Mib::new(0) }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        // 200 MiB is Nailgun's.
        Self { boot: Mib::new(200), root: RootSize::Rest, swap: SwapSize::ByMemory }
    }
}

impl Default for FileSystems {
    fn default() -> Self {
        Self { root: "ext4".to_owned(), boot: "ext2".to_owned() }
    }
}

fn default_kernel_params() -> String {
    "console=tty0".to_owned()
}

fn default_timezone() -> String {
    "Etc/UTC".to_owned()
}

fn default_hostname() -> String {
    "node-{id}".to_owned()
}

fn default_domain() -> String {
    "example.test".to_owned()
}

fn default_cobbler_profile() -> String {
    "ubuntu_bootstrap".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_example_is_read() {
        let text = include_str!("../../packaging/master/example-profile.toml");
        let profile = Profile::parse(text).unwrap();
        assert_eq!(profile.disk, DiskChoice { which: WhichDisks::Smallest, at_least: Mib::new(4096) });
        assert_eq!(profile.users.len(), 1);
    }

    #[test]
    fn least_profile_names_the_images_alone() {
        let profile = Profile::parse("[images]\nroot = \"a.img.gz\"\nboot = \"a-boot.img.gz\"\n").unwrap();
        assert_eq!(profile.sizes, Sizes::default());
        assert_eq!(profile.hostname, "node-{id}");
    }

    #[test]
    fn wrong_keys_and_sizes_are_named() {
        let error = |text: &str| Profile::parse(text).unwrap_err().to_string();
        let images = "[images]\nroot = \"a\"\nboot = \"b\"\n";
        assert!(error(&format!("{images}[sizes]\nroot = \"8 GB\"\n")).contains("or a size such as \"8 GiB\""));
        assert!(error(&format!("disc = 1\n{images}")).contains("unknown field `disc`"));
        assert_eq!(parse_size("2 TiB").unwrap(), Mib::new(2 << 20));
        assert!(parse_size("99999999999999999 TiB").is_err());
    }

    #[test]
    fn password_is_not_shown() {
        let user = User {
            name: "a".into(),
            password: Some("secret".into()),
            hashed_password: None,
            homedir: None,
            shell: None,
            sudo: vec![],
            ssh_keys: vec![],
        };
        assert!(!format!("{user:?}").contains("secret"));
    }
}
