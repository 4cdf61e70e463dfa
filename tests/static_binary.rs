//! The static agent in an empty root directory: it starts, resolves names, and fetches over TLS.
//!
//! `BEDPLATE_STATIC` names the binary that `make static` made. Needs root for chroot and for port 53.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use support::http_server::{Reply, Server};

/// Where the agent looks for the authorities of its system.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

const CONTENT: &[u8] = b"an image as small as can be";

/// The agent, or nothing where the machine lacks what the tests need; a machine of the CI lacks nothing.
fn agent() -> Option<PathBuf> {
    let is_root = nix::unistd::geteuid().is_root();
    let path = std::env::var_os("BEDPLATE_STATIC").map(PathBuf::from);
    let reason = match (path, is_root) {
        (Some(path), true) => return Some(fs::canonicalize(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))),
        (None, _) => "BEDPLATE_STATIC does not name the agent of `make static`",
        (Some(_), false) => "chroot needs root",
    };
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("not run: {reason}");
    None
}

/// An empty root directory with the agent in it.
struct Root(PathBuf);

impl Root {
    fn new(agent: &Path, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("bedplate-root-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let root = Self(folder);
        // By another process: a descriptor open for writing here would be inherited by what other threads start, and a
        // program that is open for writing cannot be executed.
        let copied = Command::new("cp").arg(agent).arg(root.0.join("bedplate")).status().unwrap();
        assert!(copied.success(), "cp: {copied}");
        root
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("chroot");
        command.arg(&self.0).arg("/bedplate").args(arguments);
        // PATH for chroot itself; nothing else of the caller's environment may help.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
    }

    /// Fetches a file; returns what was written, or the agent's words.
    fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let output = self.run(&["write-image", url, "/image", "--report", "/report.json"]);
        if output.status.success() {
            Ok(fs::read(self.0.join("image")).unwrap())
        } else {
            Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A server whose certificate an authority of this test signed; returns the authority's certificate too.
fn server(host: &str) -> (Server, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    // Each authority has a name of its own: one is found by its name before its signature is looked at.
    authority.distinguished_name.push(DnType::CommonName, format!("authority {:02x?}", &key.public_key_raw()[1..9]));
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let body = CONTENT.into();
    let server = Server::start_tls(certificate.der().clone(), key, move |seen, _| Reply::file(seen, &body, "\"v1\""));
    (server, pem)
}

fn url(host: &str, address: SocketAddr) -> String {
    format!("https://{host}:{}/image.raw", address.port())
}

/// Answers every question for an IPv4 address with 127.0.0.1, any other with nothing (RFC 1035, section 4.1).
fn answer_names(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        // Header of 12 bytes, then labels up to an empty one, then type and class.
        let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
        let is_address = question[end - 4..end - 2] == [0, 1];
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        if is_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn static_agent_starts_in_an_empty_root_as_root() {
    let Some(agent) = agent() else { return };
    let output = Root::new(&agent, "empty").run(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("bedplate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn static_agent_finds_names_in_the_hosts_file_and_trusts_a_private_authority_as_root() {
    let Some(agent) = agent() else { return };
    let (server, authority) = server("images.of-hosts.test");
    let root = Root::new(&agent, "hosts");
    root.file("etc/hosts", "127.0.0.1 images.of-hosts.test\n").file(AUTHORITIES, &authority);
    // A module that is not built in; naming it must not end the program.
    root.file("etc/nsswitch.conf", "hosts: files mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns\n");
    assert_eq!(root.fetch(&url("images.of-hosts.test", server.address())), Ok(CONTENT.to_vec()));
}

#[test]
fn static_agent_asks_the_name_server_as_root() {
    let Some(agent) = agent() else { return };
    let (server, authority) = server("images.of-dns.test");
    // An address of the loopback network that no resolver of the host uses.
    let socket = UdpSocket::bind("127.77.0.53:53").unwrap();
    std::thread::spawn(move || answer_names(&socket));
    let root = Root::new(&agent, "dns");
    root.file("etc/resolv.conf", "nameserver 127.77.0.53\n").file(AUTHORITIES, &authority);
    assert_eq!(root.fetch(&url("images.of-dns.test", server.address())), Ok(CONTENT.to_vec()));
}

#[test]
fn static_agent_refuses_an_unknown_authority_as_root() {
    let Some(agent) = agent() else { return };
    let (known, authority) = server("127.0.0.1");
    let (unknown, _) = server("127.0.0.1");
    let root = Root::new(&agent, "unknown");
    root.file(AUTHORITIES, &authority);
    assert_eq!(root.fetch(&url("127.0.0.1", known.address())), Ok(CONTENT.to_vec()));
    let error = root.fetch(&url("127.0.0.1", unknown.address())).unwrap_err();
    assert!(error.starts_with("exit status: 13") && error.contains("issued by an unknown authority"), "{error}");
}
