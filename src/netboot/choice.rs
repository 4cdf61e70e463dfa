//! What was said of network boot becomes a backend with all that its calls need.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use log::warn;

use super::cobbler::{Cobbler, Server, System};
use super::hook::{Check, Hook};
use super::tftp::Tftp;
use super::{Backend, Node, master};
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Url;
use crate::image::Cancel;
use crate::request::{Netboot, NetbootBackend, Secret};
use crate::sys::signal;

/// A password is shorter.
const SECRET_LIMIT: u64 = 64 << 10;

/// Where GRUB's configuration lies in a TFTP tree when nobody says otherwise.
const GRUB_FOLDER: &str = "grub";

/// Who decides about the network boot of this node, the embedded master when nobody else is named.
///
/// `master` gives the access to it, where it is needed.
///
/// # Errors
/// `Usage` when something is missing or contradicts itself, or a password's file cannot be read; those of `master`.
pub fn choose(said: Netboot, node: Node, master: impl FnOnce() -> Result<master::Access>) -> Result<Backend> {
    let backend = said.chosen().map_err(|words| Error::new(Kind::Usage, format!("netboot-backend: {words}")))?;
    let node = Node { system: said.system.clone().or(node.system), mac: said.mac.clone().or(node.mac), ..node };
    match backend.unwrap_or(NetbootBackend::Master) {
        NetbootBackend::Master => master().map(Backend::Master),
        NetbootBackend::Cobbler => cobbler(said, node).map(Backend::Cobbler),
        NetbootBackend::Hook => hook(said, node).map(Backend::Hook),
        NetbootBackend::Tftp => tftp(said, node).map(Backend::Tftp),
        NetbootBackend::None => Ok(Backend::None),
    }
}

fn missing(key: &str, what: &str) -> Error {
    Error::new(Kind::Usage, format!("{key}: {what} is not known")).advise(format!(
        "{key} is said in the request, in /etc/bedplate/bedplate.toml, on the kernel line or by an option"
    ))
}

fn cobbler(said: Netboot, node: Node) -> Result<Cobbler> {
    let access = said.cobbler;
    let url = access.url.ok_or_else(|| missing("cobbler-url", "the address of Cobbler"))?;
    let url: Url = url.reveal().parse().context(Kind::Usage, || "cobbler-url")?;
    let user = access.user.ok_or_else(|| missing("cobbler-user", "who logs in to Cobbler"))?;
    let password = secret("cobbler-password-file", access.password, access.password_file)?;
    let password = password.ok_or_else(|| {
        Error::new(Kind::Usage, "cobbler-password: the password for Cobbler is not known").advise(
            "give a file by cobbler-password-file, or the password in the request, in /etc/bedplate/bedplate.toml or on \
             the kernel line",
        )
    })?;
    if password.reveal().chars().any(char::is_control) {
        return Err(Error::new(Kind::Usage, "cobbler-password: expected no control characters, found one"));
    }
    let system = match (node.system, node.mac) {
        (Some(name), _) => System::Named(name),
        (None, Some(mac)) => System::OfMac(mac),
        (None, None) => return Err(missing("netboot-system", "the name of this system in Cobbler")),
    };
    let syncs = access.sync.unwrap_or(true);
    let cancel = Cancel::with_flag(signal::cancel_flag());
    let server = Server { url, user, password, answer_within: said.timeout, hidden: Vec::new(), cancel };
    Ok(Cobbler { server, system, syncs })
}

fn hook(said: Netboot, node: Node) -> Result<Hook> {
    let call = said.hook;
    let url = call.url.ok_or_else(|| missing("hook-url", "the address to call"))?;
    let token = secret("hook-token-file", call.token, call.token_file)?;
    let headers = call.headers.iter().filter_map(|header| header.reveal().split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value.trim()))).collect();
    let expected = call.check_body.unwrap_or_else(|| Secret::new("{{state}}"));
    let hook = Hook {
        node,
        url,
        method: call.method.unwrap_or_else(|| "POST".to_owned()),
        headers,
        token,
        body: call.body,
        status: call.status,
        check: call.check_url.map(|url| Check { url, body: expected }),
        answer_within: said.timeout,
    };
    hook.checked()
}

fn tftp(said: Netboot, node: Node) -> Result<Tftp> {
    let root = said.tftp.root.ok_or_else(|| missing("tftp-root", "the folder of the TFTP tree"))?;
    let grub = said.tftp.grub.unwrap_or_else(|| PathBuf::from(GRUB_FOLDER));
    let mac = node.mac.ok_or_else(|| missing("netboot-mac", "the MAC address that this node boots by"))?;
    Ok(Tftp::new(root, &grub, &mac))
}

/// A secret, or the first line of the file that holds it.
fn secret(key: &str, given: Option<Secret>, file: Option<PathBuf>) -> Result<Option<Secret>> {
    match (given, file) {
        (Some(_), Some(_)) => {
            let words = "expected a file or the secret itself, found both";
            Err(Error::new(Kind::Usage, format!("{key}: {words}")))
        }
        (given, None) => Ok(given),
        (None, Some(path)) => read_secret(key, &path).map(Some),
    }
}

/// The one line of a file that holds a secret.
///
/// # Errors
/// `Usage` when it cannot be read, or holds anything else.
pub fn read_secret(key: &str, path: &Path) -> Result<Secret> {
    let reading = || format!("{key}: reading {}", path.display());
    let refused = |words: &str| Error::new(Kind::Usage, format!("{}: {words}", reading()));
    let found = fs::metadata(path).context(Kind::Usage, reading)?;
    if !found.is_file() || found.len() > SECRET_LIMIT {
        return Err(refused("expected a file with a line of text"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        warn!(
            "{key}: others can read {}: mode {:03o}, expected 600",
            path.display(),
            found.permissions().mode() & 0o777
        );
    }
    let bytes = fs::read(path).context(Kind::Usage, reading)?;
    let text = String::from_utf8(bytes).map_err(|_| refused("expected UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(refused("expected one line of text"));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn chosen(pairs: &[(&str, &str)], node: Node) -> Result<Backend> {
        choose(Netboot::of(pairs), node, || Err(Error::new(Kind::Usage, "the master is asked")))
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        let error = chosen(pairs, Node::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    }

    #[test]
    fn what_is_missing_is_named_by_its_key() {
        assert_eq!(refused(&[]), "the master is asked");
        assert_eq!(refused(&[("netboot-backend", "cobbler")]), "cobbler-url: the address of Cobbler is not known");
        let url = ("cobbler-url", "http://a/cobbler_api");
        assert_eq!(refused(&[url]), "cobbler-user: who logs in to Cobbler is not known");
        let user = ("cobbler-user", "u");
        assert_eq!(refused(&[url, user]), "cobbler-password: the password for Cobbler is not known");
        let password = ("cobbler-password", "hunter2");
        assert_eq!(refused(&[url, user, password]), "netboot-system: the name of this system in Cobbler is not known");
        assert_eq!(
            refused(&[url, user, ("cobbler-password", "hunter2\u{7}")]),
            "cobbler-password: expected no control characters, found one"
        );
        assert_eq!(refused(&[("netboot-backend", "hook")]), "hook-url: the address to call is not known");
        assert_eq!(
            refused(&[("tftp-root", "/srv/tftp")]),
            "netboot-mac: the MAC address that this node boots by is not known"
        );
        let both = [url, ("tftp-root", "/srv/tftp")];
        assert_eq!(refused(&both), "netboot-backend: expected the address of one, found cobbler and tftp");
        assert_eq!(refused(&[("hook-url", "http://a/{{node}}")]), "hook-url: {{node}} is not known of this node");
        assert_eq!(refused(&[("hook-url", "http://")]), "hook-url: address http:/// has no host");
    }

    #[test]
    fn a_name_comes_before_a_mac_address_and_options_before_the_request() {
        let cobbler =
            [("cobbler-url", "http://a/"), ("cobbler-user", "u"), ("cobbler-password", "p"), ("netboot-system", "x")];
        let node = Node { system: Some("node-7".into()), mac: Some("52:54:00:00:00:0a".into()), id: None };
        let system = |pairs: &[(&str, &str)], node: Node| match chosen(pairs, node).unwrap() {
            Backend::Cobbler(cobbler) => cobbler.system,
            other => panic!("{other:?}"),
        };
        assert_eq!(system(&cobbler, node.clone()), System::Named("x".into()));
        assert_eq!(system(&cobbler[..3], node.clone()), System::Named("node-7".into()));
        assert_eq!(system(&cobbler[..3], Node { system: None, ..node }), System::OfMac("52:54:00:00:00:0a".into()));
    }

    #[test]
    fn a_secret_is_the_one_line_of_its_file() {
        let scratch = Scratch::new();
        let path = scratch.path("password");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let words = |error: Error| error.to_string().rsplit(": ").next().unwrap().to_owned();
            read_secret("k", &path).map(|secret| secret.reveal().to_owned()).map_err(words)
        };
        assert_eq!(read(b"hunter2\n"), Ok("hunter2".to_owned()));
        assert_eq!(read(b" hunter 2 \r\n"), Ok(" hunter 2 ".to_owned()));
        assert_eq!(read(b"\n"), Err("expected one line of text".to_owned()));
        assert_eq!(read(b"a\nb\n"), Err("expected one line of text".to_owned()));
        assert_eq!(read(b"\xff"), Err("expected UTF-8".to_owned()));
        let absent = read_secret("cobbler-password-file", &scratch.path("absent")).unwrap_err().to_string();
        assert!(absent.starts_with("cobbler-password-file: reading /") && absent.contains("No such file"), "{absent}");
        let both = [("cobbler-password", "hunter2"), ("cobbler-password-file", "/p")];
        let both = [&both[..], &[("cobbler-url", "http://a/"), ("cobbler-user", "u")]].concat();
        let words = "cobbler-password-file: expected a file or the secret itself, found both";
        assert_eq!(refused(&both), words);
    }
}
