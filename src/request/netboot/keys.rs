//! The keys of the configuration and the words in them.

use std::path::PathBuf;
use std::time::Duration;

use super::Netboot;
use crate::request::findings::shown;
use crate::request::model::Secret;
use crate::request::names;

/// The keys that hold one value.
const KEYS: [&str; 18] = [
    "netboot-backend",
    "netboot-system",
    "netboot-mac",
    "netboot-timeout",
    "cobbler-url",
    "cobbler-user",
    "cobbler-password",
    "cobbler-password-file",
    "cobbler-sync",
    "hook-url",
    "hook-method",
    "hook-token",
    "hook-token-file",
    "hook-body",
    "hook-check-url",
    "hook-check-body",
    "tftp-root",
    "tftp-grub",
];

impl Netboot {
    /// Takes the values of a key of the configuration; false when it is none of these keys.
    ///
    /// # Errors
    /// What was expected and found; never a value that may be a secret.
    pub fn set(&mut self, key: &str, values: &[String]) -> Result<bool, String> {
        match (key, values) {
            ("hook-header", headers) => self.hook.headers = each(headers, header)?,
            ("hook-status", codes) => self.hook.status = each(codes, status)?,
            (key, [value]) if KEYS.contains(&key) => self.set_one(key, value)?,
            (key, values) if KEYS.contains(&key) => return Err(format!("expected one value, found {}", values.len())),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_one(&mut self, key: &str, value: &str) -> Result<(), String> {
        let secret = || Some(Secret::new(value));
        let path = || Some(PathBuf::from(value));
        match key {
            "netboot-backend" => self.backend = Some(value.parse()?),
            "netboot-system" => self.system = Some(system_name(value)?),
            "netboot-mac" => self.mac = Some(mac_address(value)?),
            "netboot-timeout" => self.timeout = Some(timeout(value)?),
            "cobbler-url" => self.cobbler.url = Some(address(value)?),
            "cobbler-user" => self.cobbler.user = Some(value.to_owned()),
            "cobbler-password" => self.cobbler.password = secret(),
            "cobbler-password-file" => self.cobbler.password_file = path(),
            "cobbler-sync" => self.cobbler.sync = Some(flag(value)?),
            "hook-url" => self.hook.url = Some(address(value)?),
            "hook-method" => self.hook.method = Some(method(value)?),
            "hook-token" => self.hook.token = secret(),
            "hook-token-file" => self.hook.token_file = path(),
            "hook-body" => self.hook.body = secret(),
            "hook-check-url" => self.hook.check_url = Some(address(value)?),
            "hook-check-body" => self.hook.check_body = secret(),
            "tftp-root" => self.tftp.root = path(),
            "tftp-grub" => self.tftp.grub = path(),
            _ => {}
        }
        Ok(())
    }
}

fn each<T>(values: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| parse(value)).collect()
}

/// A name that Cobbler gives to systems, and that can stand in an address and a document as it is.
///
/// # Errors
/// What was expected.
pub fn system_name(text: &str) -> Result<String, String> {
    // Cobbler 3.3, cobbler/validate.py, RE_OBJECT_NAME.
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if !text.is_empty() && text.chars().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("expected a name of letters, digits and _-.: alone, found {}", shown(text)))
}

/// A MAC address in any case, with colons or hyphens.
///
/// # Errors
/// What was expected.
pub(super) fn mac_address(text: &str) -> Result<String, String> {
    names::mac_address(text).ok_or_else(|| format!("expected a MAC address, found {}", shown(text)))
}

/// A number of seconds.
///
/// # Errors
/// What was expected.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=3600).contains(seconds)).map(Duration::from_secs);
    seconds.ok_or_else(|| format!("expected a number of seconds from 1 to 3600, found {}", shown(text)))
}

/// An address; it may hold a login, so that it is a secret and never repeated.
///
/// # Errors
/// What was expected.
pub(super) fn address(text: &str) -> Result<Secret, String> {
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    if has_scheme && !text.chars().any(char::is_control) {
        return Ok(Secret::new(text));
    }
    Err("expected an http:// or https:// URL".to_owned())
}

/// A method of HTTP that can change something.
///
/// # Errors
/// What was expected.
pub(super) fn method(text: &str) -> Result<String, String> {
    if ["POST", "PUT", "PATCH", "DELETE", "GET"].contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("expected POST, PUT, PATCH, DELETE or GET, found {}", shown(text)))
}

pub(super) fn header(text: &str) -> Result<Secret, String> {
    let is_header = text.split_once(':').is_some_and(|(name, value)| {
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !name.is_empty() && name.chars().all(is_token) && value.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    });
    if is_header { Ok(Secret::new(text)) } else { Err("expected a header, `Name: value`".to_owned()) }
}

pub(super) fn status(text: &str) -> Result<u16, String> {
    let code = text.parse().ok().filter(|code| (100..=599).contains(code));
    code.ok_or_else(|| format!("expected a status of HTTP, found {}", shown(text)))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(format!("expected true or false, found {}", shown(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_changes_something_and_no_other_key_is_taken() {
        for key in KEYS.into_iter().chain(["hook-header", "hook-status"]) {
            let value = match key {
                "netboot-backend" => "hook",
                "netboot-mac" => "52-54-00-00-00-0A",
                "netboot-timeout" => "7",
                "cobbler-url" | "hook-url" | "hook-check-url" => "http://a",
                "cobbler-sync" => "no",
                "hook-method" => "PUT",
                "hook-header" => "X-A: b",
                "hook-status" => "204",
                _ => "a",
            };
            assert_ne!(Netboot::of(&[(key, value)]), Netboot::default(), "{key}");
        }
        assert_eq!(Netboot::default().set("cobbler", &["a".to_owned()]), Ok(false));
        assert_eq!(Netboot::of(&[("netboot-mac", "52-54-00-00-00-0A")]).mac.as_deref(), Some("52:54:00:00:00:0a"));
    }

    #[test]
    fn wrong_values_are_told_and_secrets_are_not_repeated() {
        let refused = |key: &str, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            Netboot::default().set(key, &values).unwrap_err()
        };
        assert_eq!(
            refused("netboot-backend", &["foreman"]),
            "expected one of master, cobbler, hook, tftp, none, found \"foreman\""
        );
        assert_eq!(
            refused("netboot-system", &["../x"]),
            "expected a name of letters, digits and _-.: alone, found \"../x\""
        );
        assert_eq!(refused("netboot-mac", &["52:54"]), "expected a MAC address, found \"52:54\"");
        assert_eq!(refused("netboot-timeout", &["0"]), "expected a number of seconds from 1 to 3600, found \"0\"");
        assert_eq!(refused("cobbler-url", &["ftp://u:hunter2@h"]), "expected an http:// or https:// URL");
        assert_eq!(refused("hook-header", &["hunter2"]), "expected a header, `Name: value`");
        assert_eq!(refused("hook-header", &["A: hunter2\r\nB: c"]), "expected a header, `Name: value`");
        assert_eq!(refused("hook-method", &["TRACE"]), "expected POST, PUT, PATCH, DELETE or GET, found \"TRACE\"");
        assert_eq!(refused("hook-status", &["200", "20"]), "expected a status of HTTP, found \"20\"");
        assert_eq!(refused("cobbler-user", &["a", "b"]), "expected one value, found 2");
    }
}
