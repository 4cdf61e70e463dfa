//! Programs of the host: run to their end with a deadline, or kept until they are no longer needed.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::wait::{self, Deadline};

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 + the signal's number when one ended it, as a shell counts.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Stdout of a program that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.stderr);
        self.stdout
    }

    /// Both streams, for a look at its words.
    pub fn words(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program with this input until it ends; at the deadline it is killed.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], deadline: Deadline) -> Output {
    match try_run(command, input, deadline) {
        Some(output) => output,
        None => panic!("{command:?} did not end within {:.0} s", deadline.allowed().as_secs_f64()),
    }
}

/// The same; nothing when the deadline ended it.
#[track_caller]
pub fn try_run(command: &mut Command, input: &[u8], deadline: Deadline) -> Option<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // A program that ends without reading says why by its exit code.
        let _unread = stdin.write_all(&input);
    });
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let mut is_late = false;
    let status = loop {
        match child.try_wait().expect("a child of ours can be waited for") {
            Some(status) => break status,
            None if !is_late && deadline.is_over() => {
                is_late = true;
                child.kill().expect("a child of ours can be killed");
            }
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    feeder.join().expect("the feeder does not panic");
    let read = |thread: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("the reader does not panic")).into_owned()
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    (!is_late).then(|| Output { code: code(status), stdout, stderr })
}

fn drain(stream: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is what there is to show.
            let _cut = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A program that runs beside the scenario: a process group of its own, killed when it goes out of scope.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    is_kept: bool,
    /// CPU seconds when it was last looked at: the kernel forgets them with the process.
    seen: Cell<f64>,
}

impl Daemon {
    /// Starts it; both its streams go to the end of `log`. A daemon that is kept outlives the harness, any other ends
    /// with the thread that started it, however that ends.
    #[track_caller]
    pub fn start(name: &str, command: &Command, log: &Path, is_kept: bool) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let (out, err) = match (open(), open()) {
            (Ok(out), Ok(err)) => (out, err),
            (Err(error), _) | (_, Err(error)) => panic!("opening {}: {error}", log.display()),
        };
        let mut wrapped = if is_kept {
            Command::new("nohup")
        } else {
            let mut wrapped = Command::new("setpriv");
            wrapped.args(["--pdeathsig", "KILL"]);
            wrapped
        };
        wrapped.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        wrapped.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = wrapped.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        Self { name: name.to_owned(), child, is_kept, seen: Cell::new(0.0) }
    }

    /// Its process id, which is that of its group too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.cpu_seconds();
        self.child.try_wait().expect("a child of ours can be waited for").map(code)
    }

    /// Sends a signal to its group.
    pub fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.id()).expect("process ids are positive"));
        if let Err(error) = killpg(group, signal) {
            eprintln!("sending {signal} to {}: {error}", self.name);
        }
    }

    /// Waits for its end and returns the exit code.
    #[track_caller]
    pub fn wait(&mut self, deadline: Deadline) -> i32 {
        let name = self.name.clone();
        wait::until(&format!("the end of {name}"), deadline, || self.ended())
    }

    /// CPU seconds that it has used so far, its threads and its waited-for children included.
    pub fn cpu_seconds(&self) -> f64 {
        if let Some(seconds) = cpu_seconds(self.id()) {
            self.seen.set(seconds.max(self.seen.get()));
        }
        self.seen.get()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_kept || self.ended().is_some() {
            return;
        }
        self.signal(Signal::SIGKILL);
        // Reaped here, so that a disk is free for the next machine.
        let _code = self.child.wait();
    }
}

/// CPU seconds of a process as `/proc/PID/stat` counts them: fields 14 to 17 in ticks of 1/100 s (proc(5)).
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold blanks; its closing parenthesis is the last of the line.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u32 = rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(f64::from(ticks) / 100.0)
}
