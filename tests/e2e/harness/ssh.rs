//! The ssh client, with a key pair of its own and no memory of hosts.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::process::{self, Output};
use super::wait::Deadline;

/// ssh's own exit code when it could not connect (ssh(1)).
const NOT_CONNECTED: i32 = 255;

/// A key pair made for one scenario.
#[derive(Debug, Clone)]
pub struct KeyPair {
    private: PathBuf,
}

impl KeyPair {
    /// Makes one in `folder`, in place of an earlier one.
    #[track_caller]
    pub fn make(folder: &Path) -> Self {
        let private = folder.join("id_ed25519");
        for old in [private.clone(), private.with_extension("pub")] {
            // Absent the first time; ssh-keygen tells when an old one stays.
            let _absent = std::fs::remove_file(old);
        }
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "bedplate-e2e", "-f"]).arg(&private);
        process::run(&mut command, &[], Deadline::cpu(10)).ok();
        Self { private }
    }

    /// The private key's file.
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The line for `authorized_keys`.
    pub fn public(&self) -> String {
        let path = self.private.with_extension("pub");
        let line = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
        line.trim().to_owned()
    }
}

/// A login on a machine.
#[derive(Debug, Clone)]
pub struct Ssh {
    user: String,
    host: String,
    port: u16,
    key: KeyPair,
    shared: Option<PathBuf>,
}

impl Ssh {
    /// A login as `user` through a port of a host.
    pub fn new(user: &str, host: &str, port: u16, key: &KeyPair) -> Self {
        Self { user: user.to_owned(), host: host.to_owned(), port, key: key.clone(), shared: None }
    }

    /// The same with one connection for all commands, which ends a minute after the last of them: a key exchange costs a
    /// guest more than most commands do.
    pub fn shared(mut self) -> Self {
        self.shared = Some(std::env::temp_dir().join(format!("bedplate-{}-{}.ssh", std::process::id(), self.port)));
        self
    }

    /// The whole command line of a login, for people.
    pub fn line(&self) -> String {
        let words: Vec<_> = self.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        format!("ssh {}", words.join(" "))
    }

    fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments: Vec<std::ffi::OsString> = vec!["-i".into(), self.key.private.clone().into()];
        // Every machine of every run has new host keys behind the same address.
        for option in
            ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        {
            arguments.extend(["-o".into(), option.into()]);
        }
        arguments.extend(["-p".into(), self.port.to_string().into(), format!("{}@{}", self.user, self.host).into()]);
        arguments
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]);
        if let Some(socket) = &self.shared {
            command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o"]);
            command.arg(format!("ControlPath={}", socket.display()));
        }
        command
            .args(["-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10"])
            .args(self.arguments())
            .arg(script);
        command
    }

    /// Waits until the machine lets us in.
    #[track_caller]
    pub fn wait_until_ready(&self, cpu_seconds: u32) {
        let deadline = Deadline::cpu(cpu_seconds);
        let mut last = String::new();
        let mut ask = || {
            // One attempt may hang in a machine that just starts; the next one gets through.
            let output = process::try_run(&mut self.command("true"), &[], Deadline::cpu(10))?;
            last = output.words();
            (output.code == 0).then_some(())
        };
        while ask().is_none() {
            let allowed = deadline.allowed().as_secs_f64();
            assert!(!deadline.is_over(), "no login as {} within {allowed:.0} s: {last}", self.user);
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }

    /// Runs a command and returns what came of it.
    #[track_caller]
    pub fn run(&self, script: &str, cpu_seconds: u32) -> Output {
        self.feed(script, &[], cpu_seconds)
    }

    /// The same with standard input.
    #[track_caller]
    pub fn feed(&self, script: &str, input: &[u8], cpu_seconds: u32) -> Output {
        let output = process::run(&mut self.command(script), input, Deadline::cpu(cpu_seconds));
        assert!(output.code != NOT_CONNECTED, "ssh {}: {script}: {}", self.user, output.words());
        output
    }

    /// Runs a command that must succeed and returns its words, without blanks at the end.
    #[track_caller]
    pub fn ask(&self, script: &str) -> String {
        let output = self.run(script, 30);
        assert!(output.code == 0, "{script}: exit code {}: {}", output.code, output.words());
        output.stdout.trim_end().to_owned()
    }

    /// Runs a command that ends the machine, once this connection is closed.
    #[track_caller]
    pub fn say(&self, script: &str) {
        self.ask(&format!("(sleep 1; {script}) </dev/null >/dev/null 2>&1 &"));
    }

    /// Writes a file.
    #[track_caller]
    pub fn upload(&self, path: &str, bytes: &[u8]) {
        self.feed(&format!("umask 022; cat > {path}"), bytes, 30).ok();
    }

    /// Starts a command and returns at once; the answer comes through the thread.
    pub fn start(&self, script: &str, cpu_seconds: u32) -> std::thread::JoinHandle<Output> {
        let mut command = self.command(script);
        std::thread::spawn(move || process::run(&mut command, &[], Deadline::cpu(cpu_seconds)))
    }
}

/// A port of the loopback interface that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A line of `authorized_keys` as the bootstrap's kernel line takes it (RFC 4648, section 5).
pub fn kernel_line_key(key: &KeyPair) -> String {
    URL_SAFE.encode(key.public())
}
