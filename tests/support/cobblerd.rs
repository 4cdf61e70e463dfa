//! A real cobblerd 3.3. Its objects are made and read by Python's own XML-RPC, which shares no code with the program.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::scratch::Scratch;

pub const PASSWORD: &str = "hunter2 <&> \u{e9}";

/// Waits for the server; `token` logs in, `make` makes an object.
const WAIT: &str = r#"
import sys, time, xmlrpc.client
url, password = sys.argv[1], open(sys.argv[2]).read().strip("\n")
cobbler = xmlrpc.client.ServerProxy(url)
deadline = time.monotonic() + 120
while True:
    try:
        cobbler.version()
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
print(cobbler.extended_version()["version"])
"#;

/// Before a script: `cobbler` is the server, `token` logs in, `make` makes an object; arguments begin at `arguments[0]`.
const PRELUDE: &str = r#"
import sys, xmlrpc.client
cobbler, arguments = xmlrpc.client.ServerProxy(sys.argv[1]), sys.argv[3:]
token = cobbler.login("cobbler", open(sys.argv[2]).read().strip("\n"))
def make(kind, **values):
    handle = getattr(cobbler, "new_" + kind)(token)
    for key, value in values.items():
        getattr(cobbler, "modify_" + kind)(handle, key, value, token)
    getattr(cobbler, "save_" + kind)(handle, token)
"#;

/// A running cobblerd; it ends when dropped.
pub struct Cobblerd {
    pub scratch: Scratch,
    environment: PathBuf,
    port: u16,
    server: Child,
}

impl Cobblerd {
    pub fn start() -> Self {
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cobbler");
        let made = Command::new(packaging.join("venv.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "packaging/cobbler/venv.sh failed");
        let environment = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end());
        let scratch = Scratch::new();
        let password = scratch.path("password");
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        // Nobody listens on it any more when cobblerd starts.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self::launch(&environment, &scratch, port);
        let cobblerd = Self { scratch, environment, port, server };
        cobblerd.wait();
        cobblerd
    }

    /// Waits until it answers.
    pub fn wait(&self) {
        let version = self.run(WAIT, &[]);
        assert!(version.starts_with("3.3."), "{version}");
    }

    /// Starts it again where it stood.
    pub fn restart(&mut self) {
        self.server = Self::launch(&self.environment, &self.scratch, self.port);
    }

    /// The chain of programs that the script becomes keeps its process id, and ends with this test.
    fn launch(environment: &Path, scratch: &Scratch, port: u16) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cobbler/cobblerd.sh");
        let log = fs::OpenOptions::new().create(true).append(true).open(scratch.path("cobblerd.log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(script).arg(environment).arg(scratch.folder()).arg(port.to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    pub fn stop(&mut self) {
        let _ended_before = self.server.kill();
        self.server.wait().unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub fn password(&self) -> String {
        self.scratch.path("password").to_str().unwrap().to_owned()
    }

    /// Runs a script that calls it: `cobbler`, `token`, `make` and `arguments` are there.
    pub fn python(&self, script: &str, arguments: &[&str]) -> String {
        self.run(&format!("{PRELUDE}{script}"), arguments)
    }

    fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.environment.join("bin/python"));
        command.args(["-c", script]).arg(self.url()).arg(self.password()).args(arguments).env("no_proxy", "*");
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        let log = || fs::read_to_string(self.scratch.path("cobblerd.log")).unwrap();
        assert!(output.status.success(), "{}", log());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A file that it wrote for TFTP.
    pub fn tftp(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.scratch.path("tftpboot").join(name)).ok()
    }
}

impl Drop for Cobblerd {
    fn drop(&mut self) {
        self.stop();
    }
}
