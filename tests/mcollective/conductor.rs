//! Who asks a node: a client of mcollective, as Astute has it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// The node that is asked unless another is named.
const NODE: &str = "7";

/// How long a node has for an answer, in seconds.
const PATIENCE: u64 = 30;

/// What one node answered.
pub struct Answer(Value);

impl Answer {
    pub fn of(answer: &Value) -> Self {
        Self(answer.clone())
    }

    /// mcollective's code: 0 where the action could be carried out.
    pub fn code(&self) -> i64 {
        self.0["statuscode"].as_i64().unwrap_or_else(|| panic!("no status in {}", self.0))
    }

    pub fn message(&self) -> &str {
        self.0["statusmsg"].as_str().unwrap()
    }

    pub fn data(&self, field: &str) -> &Value {
        &self.0["data"][field]
    }

    /// How a command ended: exit code, standard output and standard error.
    pub fn ended(&self) -> (i64, &str, &str) {
        let text = |field| self.data(field).as_str().unwrap_or_else(|| panic!("no {field} in {}", self.0));
        let code = self.data("exit_code").as_i64().unwrap_or_else(|| panic!("no exit code in {}", self.0));
        (code, text("stdout"), text("stderr"))
    }
}

/// A client with a connection of its own.
pub struct Conductor {
    child: Child,
    calls: ChildStdin,
    lines: Receiver<String>,
}

impl Conductor {
    /// Speaks with `conductor.rb`, whose input and output are pipes.
    pub fn of(mut child: Child) -> Self {
        let calls = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, calls, lines }
    }

    /// Asks the node and waits for its answer.
    #[track_caller]
    pub fn call(&mut self, agent: &str, action: &str, arguments: &Value) -> Answer {
        self.send(NODE, agent, action, arguments, PATIENCE);
        self.answer(2 * PATIENCE)
    }

    /// Asks a node, which has `patience` seconds for its answer.
    pub fn send(&mut self, node: &str, agent: &str, action: &str, arguments: &Value, patience: u64) {
        let call =
            json!({ "node": node, "agent": agent, "action": action, "arguments": arguments, "timeout": patience });
        writeln!(self.calls, "{call}").unwrap();
    }

    /// The one answer to a call.
    #[track_caller]
    pub fn answer(&mut self, within: u64) -> Answer {
        let answers = self.answers(within);
        assert_eq!(answers.len(), 1, "answers: {answers:?}");
        Answer(answers.into_iter().next().unwrap())
    }

    /// All answers to a call.
    #[track_caller]
    pub fn answers(&mut self, within: u64) -> Vec<Value> {
        let line = self.lines.recv_timeout(Duration::from_secs(within));
        let line = line.unwrap_or_else(|error| panic!("no word of the conductor within {within} s: {error}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
