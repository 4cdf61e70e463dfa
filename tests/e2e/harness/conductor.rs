//! RabbitMQ, and who asks nodes through it: Fuel's orchestrator, Astute, with its calls in its order.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::asking::{Answer, Conductor};
use super::process::{self, Daemon};
use super::scenario::Scenario;
use super::wait::{self, Deadline};
use super::{artefacts, disk};

/// What starts a provisioning, word for word as Astute has it.
pub const PROVISION: &str = "flock -n /var/lock/provision.lock provision";

/// How long Astute waits for a node's type, in seconds.
const TYPE_SECONDS: u64 = 5;

/// A broker in the network of its caller.
#[derive(Debug)]
pub struct Broker {
    work: PathBuf,
    process: Daemon,
}

impl Broker {
    /// Starts it on this address, port 61613, and waits until it listens.
    #[track_caller]
    pub fn start(scenario: &Scenario, address: &str) -> Self {
        let build = artefacts::repository().join("packaging/mcollective/build.sh");
        // Two minutes, where nothing is cached.
        let root = process::run(&mut Command::new(build), &[], Deadline::cpu(300)).ok();
        let work = scenario.folder().join("broker");
        std::fs::create_dir_all(&work).expect("a folder can be made in the scenario's own");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]);
        command.arg(artefacts::repository().join("tests/mcollective/broker.sh"));
        command.arg(root.trim_end()).arg(&work).arg(address);
        let log = scenario.logs().join("broker.log");
        disk::write(&log, b"");
        let mut process = Daemon::start("broker", &command, &log, false);
        wait::until("the broker", Deadline::cpu(60), || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(process.ended().is_none(), "the broker ended: {said}");
            said.ends_with("ready\n").then_some(())
        });
        Self { work, process }
    }

    /// Who asks one node, which is named by its id.
    #[track_caller]
    pub fn astute(self, node: &str) -> Astute {
        let path = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(path).expect("the broker runs");
        let init = children.split_whitespace().next().expect("unshare has started its program");
        let mut command = Command::new("nsenter");
        command.args(["--target", init, "--mount", "--pid", "--ipc", "--uts", "chroot"]);
        command.arg(self.work.join("system")).args(["ruby", "/conductor.rb"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nsenter starts");
        Astute { conductor: Conductor::of(child), node: node.to_owned(), _broker: self }
    }
}

/// Fuel's orchestrator in front of one node.
pub struct Astute {
    conductor: Conductor,
    node: String,
    _broker: Broker,
}

impl Astute {
    /// One call; nothing when the node does not answer in time.
    #[track_caller]
    pub fn try_call(&mut self, agent: &str, action: &str, arguments: &Value, seconds: u64) -> Option<Answer> {
        self.conductor.send(&self.node, agent, action, arguments, seconds);
        let answers = self.conductor.answers(seconds * 2 + 120);
        assert!(answers.len() < 2, "answers of one node: {answers:?}");
        answers.first().map(Answer::of)
    }

    /// One call that must be answered and carried out.
    #[track_caller]
    pub fn call(&mut self, agent: &str, action: &str, arguments: &Value, seconds: u64) -> Answer {
        let answer = self.try_call(agent, action, arguments, seconds);
        let answer = answer.unwrap_or_else(|| panic!("node {} did not answer {agent}.{action}", self.node));
        assert_eq!(answer.code(), 0, "{agent}.{action}: {}", answer.message());
        answer
    }

    /// What the node says it is; nothing while it does not answer.
    #[track_caller]
    pub fn node_type(&mut self) -> Option<String> {
        let answer = self.try_call("systemtype", "get_type", &json!({}), TYPE_SECONDS)?;
        let kind = answer.data("node_type").as_str();
        Some(kind.unwrap_or_else(|| panic!("get_type: {}", answer.message())).trim_end().to_owned())
    }

    /// Asks for the type until it is this one.
    #[track_caller]
    pub fn wait_for_type(&mut self, wanted: &str, cpu_seconds: u32) {
        let what = format!("node {} to say that it is {wanted:?}", self.node);
        wait::until(&what, Deadline::cpu(cpu_seconds), || (self.node_type()? == wanted).then_some(()));
    }

    /// A command; its exit code, standard output and standard error.
    #[track_caller]
    pub fn shell(&mut self, command: &str, seconds: u64) -> (i64, String, String) {
        let answer = self.call("execute_shell_command", "execute", &json!({ "cmd": command }), seconds);
        let (code, out, err) = answer.ended();
        (code, out.to_owned(), err.to_owned())
    }

    /// What precedes a provisioning: the discovery is silenced, no disk is touched, the node is told what it becomes.
    #[track_caller]
    pub fn prepare(&mut self) {
        let answer = self.call("erase_node", "erase_node", &json!({ "reboot": false, "dry_run": false }), 40);
        assert_eq!((answer.data("status"), answer.data("rebooted")), (&json!(0), &json!(false)), "erase_node");
        assert_eq!(self.shell("echo 'image' > /etc/nailgun_systemtype", 60).0, 0, "change of the node's type");
        assert_eq!(self.node_type().as_deref(), Some("image"));
    }

    /// Uploads the request.
    #[track_caller]
    pub fn upload(&mut self, request: &Value) {
        let arguments = json!({
            "path": "/tmp/provision.json", "content": request.to_string(), "user_owner": "root", "group_owner": "root",
            "permissions": "0644", "dir_permissions": "0755", "overwrite": true, "parents": true,
        });
        let answer = self.call("uploadfile", "upload", &arguments, 60);
        assert_eq!(answer.data("msg"), &json!("File was uploaded!"));
    }

    /// Restarts the node, if it is a bootstrap at once; returns the moment of its present start.
    #[track_caller]
    pub fn reboot(&mut self) -> String {
        let (code, began, _) = self.shell("stat --printf='%Y' /proc/1", 60);
        assert_eq!(code, 0, "moment of the node's start");
        let command = "if [ $(hostname) = bootstrap ]; then reboot; else t=0; while true; do \
                       if [ -f /run/cloud-init/status.json -o $t -gt 60 ]; then reboot; else sleep 1; t=$((t + 1)); fi; done; fi";
        // The answer may go down with the node.
        let _answer = self.try_call("execute_shell_command", "execute", &json!({ "cmd": command }), 10);
        began
    }
}
