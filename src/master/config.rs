//! `master.toml`: what a site sets.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Context as _, Error, Kind, Result};

/// How a node is sent to its own disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalBoot {
    /// iPXE ends and the firmware takes its next boot device.
    #[default]
    Exit,
    /// iPXE starts the first disk itself, for a BIOS that does not go on after a network boot.
    Sanboot,
}

/// What network boots of nodes without a system start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootstrapMode {
    /// `boot=bedplate`: the initrd alone, with the agent in it.
    #[default]
    Minimal,
    /// `boot=live`: a whole system out of `bootstrap/root.squashfs`, whose digest `bootstrap/metadata.yaml` holds.
    Live,
}

/// The configuration, `DIR/master.toml`; every key may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Appended to the kernel line of the bootstrap, for example `console=ttyS0,115200`.
    pub kernel_args: String,
    /// Which bootstrap is served.
    pub bootstrap: BootstrapMode,
    /// How a node is sent to its own disk.
    pub local_boot: LocalBoot,
    /// A node that is being provisioned and says nothing for longer than this has failed. In seconds.
    pub silent_after: u64,
    /// A node that does not call home within this time after its netboot was switched off has failed. In seconds.
    pub phone_home_within: u64,
    /// Nodes that are kept at most; further ones are refused.
    pub max_nodes: usize,
    /// Machines that fetched a bootstrap but never reported, kept at most; further ones start from their own disk.
    pub max_strangers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kernel_args: String::new(),
            bootstrap: BootstrapMode::Minimal,
            local_boot: LocalBoot::Exit,
            silent_after: 300,
            phone_home_within: 1800,
            max_nodes: 10_000,
            max_strangers: 1000,
        }
    }
}

impl Config {
    /// Reads the file; an absent one is the default.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, has an unknown key, or has kernel arguments that would break the script.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::caused(Kind::Usage, format!("reading {}", path.display()), error)),
        };
        Self::parse(&text).map_err(|error| error.within(format!("reading {}", path.display())))
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).context(Kind::Usage, || "parsing TOML")?;
        if !is_kernel_text(&config.kernel_args) {
            return Err(Error::new(Kind::Usage, "kernel_args: expected one line of printable ASCII without ${"));
        }
        Ok(config)
    }
}

/// Whether a text can stand on the kernel line of a boot script: one line, in which iPXE, which expands `${..}`
/// everywhere, finds nothing.
pub(super) fn is_kernel_text(text: &str) -> bool {
    text.chars().all(|letter| matches!(letter, ' '..='~')) && !text.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_unknown_ones_refused() {
        let config = Config::parse("kernel_args = \"console=ttyS0\"\nlocal_boot = \"sanboot\"\n").unwrap();
        let expected =
            Config { kernel_args: "console=ttyS0".into(), local_boot: LocalBoot::Sanboot, ..Config::default() };
        assert_eq!(config, expected);
        assert_eq!(Config::parse("bootstrap = \"live\"\n").unwrap().bootstrap, BootstrapMode::Live);
        assert!(Config::parse("kernel_arg = \"x\"").unwrap_err().to_string().contains("unknown field `kernel_arg`"));
        assert!(Config::parse("kernel_args = \"a\\nboot\"").is_err());
    }
}
