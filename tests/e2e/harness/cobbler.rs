//! A real cobblerd with an operator in front of it, behind the web server's address that it is known by.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::artefacts;
use super::disk;
use super::http::{Reply, Request, Server};
use super::process::{self, Daemon};
use super::scenario::Scenario;
use super::wait::{self, Deadline};

/// Where it listens: Cobbler's own port, on the loopback interface alone.
const PORT: u16 = 25151;

/// What Astute asks, in its order, with Cobbler's generic calls for items; the token is asked for anew each time.
const ASTUTE: &str = r#"
import sys, xmlrpc.client
cobbler = xmlrpc.client.ServerProxy(sys.argv[1])
action, name = sys.argv[2:4]
token = cobbler.login("cobbler", sys.stdin.readline().strip())
if action == "add":
    profile, mac, address = sys.argv[4:7]
    handle = cobbler.new_item("system", token)
    for key, value in ("name", name), ("profile", profile), ("netboot_enabled", True):
        cobbler.modify_item("system", handle, key, value, token)
    cobbler.modify_system(handle, "modify_interface", {
        "mac_address-eth0": mac, "ip_address-eth0": address, "netmask-eth0": "255.255.255.0", "static-eth0": False}, token)
    cobbler.save_item("system", handle, token)
else:
    handle = cobbler.get_item_handle("system", name, token)
    cobbler.modify_system(handle, "netboot_enabled", action == "on", token)
    cobbler.save_system(handle, token, "edit")
cobbler.sync(token)
print(cobbler.get_system(name)["netboot_enabled"])
"#;

/// A running cobblerd.
#[derive(Debug)]
pub struct Cobblerd {
    environment: PathBuf,
    state: PathBuf,
    address: &'static str,
    password: String,
    process: Daemon,
}

impl Cobblerd {
    /// Starts it; `server` makes it known under `/cobbler_api` of this address, as the web server of a Cobbler does.
    #[track_caller]
    pub fn start(scenario: &Scenario, server: &Server, address: &'static str) -> Self {
        let packaging = artefacts::repository().join("packaging/cobbler");
        let made = process::run(&mut Command::new(packaging.join("venv.sh")), &[], Deadline::cpu(120)).ok();
        let environment = PathBuf::from(made.trim_end());
        let state = scenario.folder().join("cobbler");
        std::fs::create_dir_all(&state).expect("a folder can be made in the scenario's own");
        let password = scenario.secret("cobbler-password");
        disk::write(&state.join("password"), password.as_bytes());
        let mut command = Command::new(packaging.join("cobblerd.sh"));
        command.arg(&environment).arg(&state).arg(PORT.to_string()).arg(address);
        let process = Daemon::start("cobblerd", &command, &scenario.logs().join("cobblerd.log"), false);
        server.route("/cobbler_api", forward);
        wait::until("cobblerd", Deadline::cpu(60), || TcpStream::connect(("127.0.0.1", PORT)).ok());
        Self { environment, state, address, password, process }
    }

    /// What it serves by TFTP.
    pub fn tftp(&self) -> PathBuf {
        self.state.join("tftpboot")
    }

    /// An operator's command: `cobbler ...`.
    #[track_caller]
    pub fn operator(&self, arguments: &[&str]) -> String {
        // Its paths are those of the name space in which the server runs.
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.id().to_string(), "--mount"]).arg(self.python());
        command.arg(self.environment.join("bin/cobbler")).args(arguments);
        process::run(&mut command, &[], Deadline::cpu(30)).ok()
    }

    fn python(&self) -> PathBuf {
        self.environment.join("bin/python")
    }

    /// Adds a system for a node, with network boot, as Astute does.
    #[track_caller]
    pub fn add_node(&self, name: &str, profile: &str, mac: &str, address: &str) {
        assert_eq!(self.astute(&["add", name, profile, mac, address]), "True", "network boot of {name}");
    }

    /// Switches a node's network boot off, as Astute does.
    #[track_caller]
    pub fn netboot_off(&self, name: &str) {
        assert_eq!(self.astute(&["off", name]), "False", "network boot of {name}");
    }

    #[track_caller]
    fn astute(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.python());
        command.args(["-c", ASTUTE, &format!("http://{}/cobbler_api", self.address)]).args(arguments);
        let password = format!("{}\n", self.password);
        process::run(&mut command, password.as_bytes(), Deadline::cpu(30)).ok().trim_end().to_owned()
    }

    /// What pxelinux and GRUB make of a node with this MAC address.
    #[track_caller]
    pub fn loader_files(&self, mac: &str) -> [String; 2] {
        let pxelinux = format!("pxelinux.cfg/01-{}", mac.replace(':', "-"));
        [pxelinux, format!("grub/system/{mac}")].map(|name| read(&self.tftp().join(name)))
    }
}

#[track_caller]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// `ProxyPass /cobbler_api http://localhost:25151/`, as Cobbler's Apache has it.
fn forward(request: &Request) -> Reply {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
        let head =
            format!("POST / HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", request.body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(&request.body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let Ok(answer) = ask() else { return Reply::status(503) };
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|at| answer[at + 4..].to_vec());
    body.map_or_else(|| Reply::status(502), Reply::bytes)
}
