//! Configuration: `/etc/bedplate/bedplate.toml`, then the kernel command line. The caller's options come last, over both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};
use crate::request::{Netboot, Secret};
use crate::sys::health::UnhealthyDisks;
use crate::units::MaxWindow;

const FILE: &str = "etc/bedplate/bedplate.toml";
const KERNEL_LINE: &str = "proc/cmdline";

/// What a key of the kernel command line starts with.
const PREFIX: &str = "bedplate.";

/// Keys of the kernel command line that the bootstrap's own scripts read.
const BOOTSTRAP_KEYS: [&str; 4] = ["debug", "squashfs", "ssh-key", "syslog"];

/// What is configured, each key named as the long option it stands for.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the long options of the commands, documented there")]
pub struct Settings {
    pub master: Option<String>,
    pub token: Option<Secret>,
    pub ca_file: Vec<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub require_digest: bool,
    pub unhealthy_disks: UnhealthyDisks,
    pub interval: Option<Duration>,
    pub max_window: Option<MaxWindow>,
    pub report: Option<PathBuf>,
    pub events: Vec<String>,
    pub seed: Option<String>,
    pub netboot_off: bool,
    pub reboot: bool,
    pub no_reboot: bool,
    pub netboot: Netboot,
}

impl Settings {
    /// Reads the configuration of the machine below `root`, `/` for this one; the second value are warnings.
    ///
    /// # Errors
    /// `Usage` when the file cannot be read, is no TOML, or holds an unknown key or a wrong value. On the kernel line those are
    /// only warned of: a typing error there must not strand a node.
    pub fn load(root: &Path) -> Result<(Self, Vec<String>)> {
        let mut settings = Self::default();
        let file = root.join(FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                settings.apply_file(&text).map_err(|error| error.within(format!("reading {}", file.display())))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::caused(Kind::Usage, format!("reading {}", file.display()), error)),
        }
        let warnings = match std::fs::read_to_string(root.join(KERNEL_LINE)) {
            Ok(line) => settings.apply_kernel_line(&line),
            Err(error) => vec![format!("reading the kernel command line: {error}")],
        };
        Ok((settings, warnings))
    }

    fn apply_file(&mut self, text: &str) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            // The whole error shows the line, which may hold a token.
            let at = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let line = at.map(|line| format!("line {line}: ")).unwrap_or_default();
            Error::new(Kind::Usage, format!("{line}{}", error.message()))
        })?;
        for (key, value) in table {
            let values = match value {
                toml::Value::Array(values) => values,
                single => vec![single],
            };
            let texts: Option<Vec<_>> = values.iter().map(plain_text).collect();
            let texts = texts.ok_or_else(|| {
                Error::new(Kind::Usage, format!("{key}: expected a string, a number, a boolean, or a list of them"))
            })?;
            self.apply(&key, &texts)?;
        }
        Ok(())
    }

    fn apply_kernel_line(&mut self, line: &str) -> Vec<String> {
        let mut values: Vec<(&str, Vec<String>)> = Vec::new();
        for word in line.split_whitespace().filter_map(|word| word.strip_prefix(PREFIX)) {
            let (key, value) = word.split_once('=').unwrap_or((word, "true"));
            match values.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value.to_owned()),
                None => values.push((key, vec![value.to_owned()])),
            }
        }
        let is_ours = |(key, _): &(&str, Vec<String>)| !BOOTSTRAP_KEYS.contains(key);
        let apply = |(key, mut values): (&str, Vec<String>)| {
            // As with the kernel's own parameters the last one counts.
            if !is_list(key) {
                values.drain(..values.len().saturating_sub(1));
            }
            self.apply(key, &values).err().map(|error| format!("kernel command line: {error}"))
        };
        values.into_iter().filter(is_ours).filter_map(apply).collect()
    }

    fn apply(&mut self, key: &str, values: &[String]) -> Result<()> {
        let expected = |expected: String| Error::new(Kind::Usage, format!("{key}: {expected}"));
        if self.netboot.set(key, values).map_err(expected)? {
            return Ok(());
        }
        match (key, values) {
            ("ca-file", files) => self.ca_file = files.iter().map(PathBuf::from).collect(),
            ("events", destinations) => self.events = destinations.to_vec(),
            ("master", [url]) => self.master = Some(url.clone()),
            ("token", [token]) => self.token = Some(Secret::new(token.as_str())),
            ("interval", [seconds]) => {
                let seconds: u64 = seconds.parse().context(Kind::Usage, || format!("{key}: {seconds:?} as seconds"))?;
                self.interval = Some(Duration::from_secs(seconds));
            }
            ("max-window", [mib]) => {
                let window = mib.parse().map_err(|reason| Error::new(Kind::Usage, format!("{key}: {reason}")))?;
                self.max_window = Some(window);
            }
            ("client-cert", [path]) => self.client_cert = Some(PathBuf::from(path)),
            ("client-key", [path]) => self.client_key = Some(PathBuf::from(path)),
            ("unhealthy-disks", [value]) => {
                self.unhealthy_disks = UnhealthyDisks::parse(value)
                    .map_err(|expected| Error::new(Kind::Usage, format!("{key}: {expected}")))?;
            }
            ("require-digest", [value]) => self.require_digest = flag(key, value)?,
            ("report", [path]) => self.report = Some(PathBuf::from(path)),
            ("seed", [seed]) => self.seed = Some(seed.clone()),
            ("netboot-off", [value]) => self.netboot_off = flag(key, value)?,
            ("reboot", [value]) => self.reboot = flag(key, value)?,
            ("no-reboot", [value]) => self.no_reboot = flag(key, value)?,
            (
                "master" | "token" | "client-cert" | "client-key" | "interval" | "max-window" | "report"
                | "unhealthy-disks" | "require-digest" | "seed" | "netboot-off" | "reboot" | "no-reboot",
                _,
            ) => {
                return Err(Error::new(Kind::Usage, format!("{key}: expected one value, found {}", values.len())));
            }
            _ => return Err(Error::new(Kind::Usage, format!("{key:?} is no key that this program knows"))),
        }
        Ok(())
    }
}

fn is_list(key: &str) -> bool {
    matches!(key, "ca-file" | "events" | "hook-header" | "hook-status")
}

fn flag(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(Error::new(Kind::Usage, format!("{key}: expected true or false, found {other:?}"))),
    }
}

fn plain_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_line_comes_over_the_file() {
        let mut settings = Settings::default();
        settings.apply_file("master = \"http://a\"\ninterval = 30\nca-file = [\"/a\", \"/b\"]\n").unwrap();
        let line = "quiet bedplate.master=http://b:8200 bedplate.token=old bedplate.token=s3 bedplate.no-reboot bedplate.debug \
                    bedplate.max-window=512 bedplate.client-cert=/c.pem bedplate.client-key=/k.pem bedplate.require-digest";
        assert_eq!(settings.apply_kernel_line(line), Vec::<String>::new());
        assert_eq!(settings.master.as_deref(), Some("http://b:8200"));
        assert_eq!(settings.token.as_ref().map(Secret::reveal), Some("s3"));
        assert_eq!(settings.interval, Some(Duration::from_secs(30)));
        assert_eq!(settings.ca_file, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(settings.max_window.map(MaxWindow::zstd), Some(512 << 20));
        assert_eq!(settings.client_cert, Some(PathBuf::from("/c.pem")));
        assert_eq!(settings.client_key, Some(PathBuf::from("/k.pem")));
        assert!(settings.no_reboot && settings.require_digest);
        assert!(!format!("{settings:?}").contains("s3"));
    }

    #[test]
    fn keys_of_netboot_come_from_file_and_kernel_line() {
        let mut settings = Settings::default();
        let file = "cobbler-url = \"http://a/cobbler_api\"\ncobbler-user = \"fuel\"\ncobbler-password = \"hunter2\"\n\
                    cobbler-sync = false\nhook-status = [200, 204]\nnetboot-timeout = 5\n";
        settings.apply_file(file).unwrap();
        let line = "bedplate.netboot-system=node-7 bedplate.cobbler-user=boot bedplate.hook-header=A:b bedplate.hook-header=C:d";
        assert_eq!(settings.apply_kernel_line(line), Vec::<String>::new());
        let netboot = &settings.netboot;
        assert_eq!((netboot.system.as_deref(), netboot.cobbler.user.as_deref()), (Some("node-7"), Some("boot")));
        assert_eq!(netboot.cobbler.password.as_ref().map(Secret::reveal), Some("hunter2"));
        assert_eq!((netboot.cobbler.sync, netboot.timeout), (Some(false), Some(Duration::from_secs(5))));
        assert_eq!((netboot.hook.status.as_slice(), netboot.hook.headers.len()), (&[200, 204][..], 2));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = settings.apply_file("cobbler-url = \"ftp://u:hunter2@h\"").unwrap_err();
        assert_eq!(error.to_string(), "cobbler-url: expected an http:// or https:// URL");
    }

    #[test]
    fn unknown_key_is_refused_in_the_file_and_only_warned_of_on_the_kernel_line() {
        let mut settings = Settings::default();
        let error = settings.apply_file("mastre = \"http://a\"").unwrap_err();
        assert_eq!(error.to_string(), "\"mastre\" is no key that this program knows");
        let warnings = settings.apply_kernel_line(
            "bedplate.mastre=http://a bedplate.interval=soon bedplate.max-window=0 bedplate.master=http://b",
        );
        assert_eq!(
            warnings,
            [
                "kernel command line: \"mastre\" is no key that this program knows",
                "kernel command line: interval: \"soon\" as seconds: invalid digit found in string",
                "kernel command line: max-window: expected a number of MiB from 1 to 2048, found \"0\"",
            ]
        );
        assert_eq!(settings.master.as_deref(), Some("http://b"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_without_showing_its_lines() {
        let error = Settings::default().apply_file("master = \"x\"\ntoken = s3cret\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
