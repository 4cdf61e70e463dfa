//! Long work of external tools: told line by line, ended from outside, and never outliving this program.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use log::debug;

use super::command::{SEARCH, Tool};
use crate::error::{Context as _, Error, Kind, Result};

/// How often a silent job's watcher looks around.
const GLANCE: Duration = Duration::from_millis(100);

/// How long the last process of a job that was killed may take to vanish; one that waits for a disk takes a while.
const VANISH_WITHIN: Duration = Duration::from_secs(30);

/// What is kept of a line at most.
const LONGEST_LINE: usize = 4096;

/// Told what a job says, and asked whether it may go on.
pub trait Watch {
    /// A line of the job's output.
    fn line(&mut self, line: &str);

    /// Comes at least ten times a second.
    ///
    /// # Errors
    /// Whatever ends the job.
    fn glance(&mut self) -> Result<()>;
}

/// A tool with all that it starts, in PID and mount namespaces of its own: when it ends or this program dies, however that
/// comes, every process of it ends, and what was mounted goes with the last one.
#[derive(Debug)]
pub struct Job {
    tool: Tool,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
}

impl Job {
    /// A job with these arguments, no secret among them.
    pub fn new<A: AsRef<OsStr>>(tool: Tool, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self { tool, arguments, environment: Vec::new(), input: Vec::new() }
    }

    /// Sets a variable of its environment, which is otherwise empty but for PATH and the language.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// Feeds its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it; its exit status is for the caller to judge.
    ///
    /// # Errors
    /// That of the watcher, who ended it; `Tool` when it cannot be started or a signal ended it.
    pub fn run(self, watch: &mut dyn Watch) -> Result<i32> {
        let name = self.tool.name();
        debug!("running {name} {:?}", self.arguments);
        let (reader, writer) = std::io::pipe().context(Kind::Tool, || format!("starting {name}"))?;
        let mut child = self.command(&writer)?.spawn().context(Kind::Tool, || format!("starting {name}"))?;
        // The pipe ends with the last process that holds it; this one must not be among them.
        drop(writer);
        if let Some(mut stdin) = child.stdin.take() {
            // Short texts, which fit into a pipe. A tool that does not read them says why by its status.
            let _unread = stdin.write_all(&self.input);
        }
        let lines = read_lines(reader)?;
        if let Err(error) = watch_lines(&lines, watch) {
            end(&mut child, &lines);
            return Err(error);
        }
        let status = child.wait().context(Kind::Tool, || format!("waiting for {name}"))?;
        status.code().ok_or_else(|| Error::new(Kind::Tool, format!("running {name}: {status}")))
    }

    fn command(&self, output: &std::io::PipeWriter) -> Result<Command> {
        let starting = || format!("starting {}", self.tool.name());
        let mut command = Command::new(Tool::Setpriv.find()?);
        // The death of this program kills `unshare`, whose death kills the first process of the namespace, with which the
        // kernel ends all others.
        command
            .args(["--pdeathsig", "KILL"])
            .arg(Tool::Unshare.find()?)
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(self.tool.find()?)
            .args(&self.arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", SEARCH.join(":"))
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(Path::new("/"))
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(output.try_clone().context(Kind::Tool, starting)?)
            .stderr(output.try_clone().context(Kind::Tool, starting)?);
        Ok(command)
    }
}

/// Lines as they come; the channel ends with the last process of the job.
fn read_lines(reader: PipeReader) -> Result<Receiver<String>> {
    let (tell, lines) = mpsc::channel();
    let read = move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            // An end, or a pipe that cannot be read, which is one.
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST_LINE)]);
            // What a terminal would have overwritten is of no use.
            let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
            if tell.send(text.to_owned()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("job-output".to_owned()).spawn(read).context(Kind::Bug, || "starting a thread")?;
    Ok(lines)
}

fn watch_lines(lines: &Receiver<String>, watch: &mut dyn Watch) -> Result<()> {
    loop {
        watch.glance()?;
        match lines.recv_timeout(GLANCE) {
            Ok(line) => watch.line(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return watch.glance(),
        }
    }
}

/// Kills it, and waits until nothing is left of it.
fn end(child: &mut Child, lines: &Receiver<String>) {
    // It may have ended by itself a moment ago.
    let _gone = child.kill();
    let _status = child.wait();
    let deadline = Instant::now() + VANISH_WITHIN;
    while Instant::now() < deadline {
        if lines.recv_timeout(GLANCE) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
    log::warn!("a process of a job that was ended still runs");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener {
        lines: Vec<String>,
        until: Option<&'static str>,
    }

    impl Watch for Listener {
        fn line(&mut self, line: &str) {
            self.lines.push(line.to_owned());
        }

        fn glance(&mut self) -> Result<()> {
            match self.until {
                Some(word) if self.lines.iter().any(|line| line.starts_with(word)) => {
                    Err(Error::new(Kind::Terminated, "heard it"))
                }
                _ => Ok(()),
            }
        }
    }

    fn listen(until: Option<&'static str>, script: &str) -> (Result<i32>, Vec<String>) {
        let mut listener = Listener { lines: Vec::new(), until };
        let job = Job::new(Tool::Bash, ["-c", script]).env("WORD", "said").input("given\n");
        let outcome = job.run(&mut listener);
        (outcome, listener.lines)
    }

    #[test]
    fn needs_root_job_tells_its_lines_and_its_status() {
        let (outcome, lines) = listen(None, "cat; echo $WORD >&2; printf 'half\\rwhole\\n'; exit 7");
        assert_eq!(outcome.unwrap(), 7);
        assert_eq!(lines, ["given", "said", "whole"]);
    }

    #[test]
    fn needs_root_nothing_of_a_job_outlives_it() {
        // Something that is mounted and something in the background that ignores a polite request.
        let script = "mount -t tmpfs tmpfs /mnt; (trap '' TERM; setsid sleep 987654) & sleep 0.2; echo ready; wait";
        let (outcome, _) = listen(Some("ready"), script);
        assert_eq!(outcome.unwrap_err().to_string(), "heard it");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.lines().any(|line| line.split(' ').nth(1) == Some("/mnt")), "{mounts}");
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
        assert_eq!(processes.filter(|line| line.contains("987654") && !line.contains("ready")).count(), 0);
    }
}
