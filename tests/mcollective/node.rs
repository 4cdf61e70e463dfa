//! A node with mcollectived, and the broker beside it, in namespaces of their own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::conductor::Conductor;
use crate::support::root_directory::root_directory;
use crate::support::scratch::Scratch;

/// After this everything in the namespaces is ended, whatever became of the test.
const LIFETIME: &str = "300";

/// How long broker and daemons may take to be ready, on a machine that others use too.
const READY_WITHIN: Duration = Duration::from_secs(120);

pub struct Node {
    namespaces: Child,
    /// Its first process, as this machine numbers it.
    init: String,
    system: PathBuf,
    conductor: Option<Conductor>,
}

impl Node {
    /// Builds the root directory where it is not cached, and starts everything in it.
    pub fn start(scratch: &Scratch, disk: &Path, stick: &Path) -> Self {
        let root = root_directory();
        let work = scratch.path("node");
        std::fs::create_dir(&work).unwrap();
        let mut namespaces = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
            .args(["timeout", "--kill-after=5", LIFETIME])
            .arg(repository().join("tests/mcollective/node.sh"))
            .args([&root, &work, Path::new(env!("CARGO_BIN_EXE_bedplate"))])
            .args([number_of(disk), number_of(stick)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let output = BufReader::new(namespaces.stdout.take().unwrap());
        let init = first_child(namespaces.id());
        let mut node = Self { namespaces, init, system: work.join("system"), conductor: None };
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        if lines.recv_timeout(READY_WITHIN).as_deref() != Ok("ready") {
            panic!("the node is not ready:\n{}", node.ask("tail -n 20 /var/log/*.log"));
        }
        node.conductor = Some(node.another_conductor());
        node
    }

    /// The one that asks.
    pub fn conductor(&mut self) -> &mut Conductor {
        self.conductor.as_mut().expect("it was started with the node")
    }

    /// Another one, with a connection of its own.
    pub fn another_conductor(&self) -> Conductor {
        let mut command = self.inside(&["ruby", "/conductor.rb"]);
        Conductor::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nsenter starts"))
    }

    /// Starts a program on the node that goes on.
    pub fn start_program(&self, program: &str) {
        let script = format!("{program} </dev/null >/dev/null 2>&1 &");
        assert!(self.inside(&["sh", "-c", &script]).status().unwrap().success());
    }

    /// What a script prints that is run on the node, behind mcollective's back.
    #[track_caller]
    pub fn ask(&self, script: &str) -> String {
        let output = self.inside(&["timeout", "60", "sh", "-ec", script]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    fn inside(&self, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--mount", "--net", "--pid", "--ipc", "--uts", "chroot"]);
        command.arg(&self.system).args(program).stdin(Stdio::null());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.conductor = None;
        // With it goes the first process of the namespaces, and with that one all others.
        let _ended = self.namespaces.kill();
        let _status = self.namespaces.wait();
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `MAJOR:MINOR` of a device.
fn number_of(device: &Path) -> String {
    let number = std::fs::metadata(device).unwrap().rdev();
    format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number))
}

/// unshare forks as soon as it has made the namespaces.
fn first_child(parent: u32) -> String {
    let path = format!("/proc/{parent}/task/{parent}/children");
    for _ in 0..500 {
        let children = std::fs::read_to_string(&path).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return child.to_owned();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("unshare has not started its program within 5 s");
}
