//! A child process that ends when it takes too long, when the run is asked to end, and when this process dies.

use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::signal;
use crate::error::{Context as _, Error, Kind, Result};

/// How long a tool may go on once the run was asked to end: most are done by then, and leave nothing half done.
const GRACE: Duration = Duration::from_secs(10);
/// The same for those that are started afterwards, which clean up.
const CLEANING: Duration = Duration::from_secs(60);
/// How long a tool may take to end after SIGTERM.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How late a signal is noticed at most.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long the output is read after the end: a daemon that the tool left behind may keep it open for ever.
const OUTPUT: Duration = Duration::from_secs(1);

/// Runs a command to its end and gives back what it printed.
///
/// It is the leader of a process group of its own, so that its own children end with it. When this process dies, however it
/// does, the kernel kills it.
pub fn run(mut command: Command, input: Option<Vec<u8>>, limit: Duration) -> Result<Output> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    die_with_parent(&mut command);
    let mut child = command.spawn().context(Kind::Tool, || "starting it")?;
    if let Some((bytes, mut stdin)) = input.zip(child.stdin.take()) {
        // Not joined: a tool that exits without reading its input says why through its status.
        thread::spawn(move || stdin.write_all(&bytes));
    }
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    if let Err(error) = wait(&mut child, limit) {
        // So that nothing is left of one that did end.
        let _running = child.try_wait();
        return Err(error);
    }
    let status = child.wait().context(Kind::Tool, || "waiting for it")?;
    Ok(Output { status, stdout: collect(&stdout), stderr: collect(&stderr) })
}

fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn collect(pieces: &Receiver<Vec<u8>>) -> Vec<u8> {
    let until = Instant::now() + OUTPUT;
    let mut whole = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
        whole.extend(piece);
    }
    whole
}

/// Waits for the end; ends it when its time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(|_| Error::bug("a process number beyond 31 bits"))?);
    let end = pidfd(group)?;
    let begun = Instant::now();
    let was_asked = signal::check().is_err();
    let mut asked = was_asked.then_some(begun);
    let grace = if was_asked { CLEANING } else { GRACE };
    loop {
        if ends_within(&end, LOOK_AGAIN)? {
            return Ok(());
        }
        if asked.is_none() && signal::check().is_err() {
            asked = Some(Instant::now());
        }
        if asked.is_some_and(|asked| asked.elapsed() >= grace) {
            stop(group, &end)?;
            return Err(signal::received());
        }
        if begun.elapsed() >= limit {
            stop(group, &end)?;
            let message = format!("it was ended after {:.1} s, which it may take at most", limit.as_secs_f64());
            return Err(
                Error::new(Kind::Tool, message).advise("look at the kernel's log for a disk that does not answer")
            );
        }
    }
}

/// Ends a group, softly at first. What waits for a dead disk in the kernel does not end at all, and is left behind.
fn stop(group: Pid, end: &OwnedFd) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // It may have ended by itself just now.
        let _gone = killpg(group, signal);
        if ends_within(end, LAST_WORDS)? {
            return Ok(());
        }
    }
    Ok(())
}

fn ends_within(end: &OwnedFd, time: Duration) -> Result<bool> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut waited = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) if !left.is_zero() => {}
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            Err(cause) => return Err(Error::caused(Kind::Tool, "waiting for it", cause)),
        }
    }
}

/// A descriptor that becomes readable when the process ends; pidfd_open(2), Linux 5.3.
fn pidfd(process: Pid) -> Result<OwnedFd> {
    // SAFETY: the call takes a process number and flags, and returns a new descriptor or -1.
    #[allow(unsafe_code, reason = "neither std nor nix has this call")]
    let answer = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, process.as_raw(), 0) };
    let descriptor = nix::errno::Errno::result(answer).context(Kind::Tool, || "watching it")?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Error::bug("a descriptor beyond 31 bits"))?;
    // SAFETY: the kernel has just opened it for this process, and nobody else knows it.
    #[allow(unsafe_code, reason = "the call gives a bare number")]
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The kernel kills the child when the thread that started it ends, which waits for it otherwise.
fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let bind = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // It may have died before.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, both async-signal-safe; nothing is allocated.
    #[allow(unsafe_code, reason = "the child must ask the kernel itself")]
    unsafe {
        command.pre_exec(bind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_input_and_status_are_those_of_the_child() {
        let output =
            run(shell("cat; echo err >&2; exit 3"), Some(vec![b'x'; 200_000]), Duration::from_secs(20)).unwrap();
        assert_eq!(
            (output.stdout.len(), output.stderr.as_slice(), output.status.code()),
            (200_000, &b"err\n"[..], Some(3))
        );
    }

    #[test]
    fn child_that_takes_too_long_is_ended_with_its_own_children() {
        let script = "sleep 1000 & echo $!; wait";
        let begun = Instant::now();
        let scratch = crate::scratch::Scratch::new();
        let note = scratch.path("child");
        let script = script.replace("$!;", &format!("$! > {};", note.display()));
        let error = run(shell(&script), None, Duration::from_millis(500)).unwrap_err();
        assert_eq!(error.to_string(), "it was ended after 0.5 s, which it may take at most");
        assert!(begun.elapsed() < LAST_WORDS);
        let child = std::fs::read_to_string(note).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let is_gone = || state().is_empty() || state().contains(") Z ");
        // It was killed; on a busy machine it dies when it is its turn.
        while !is_gone() && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_gone(), "{}", state());
    }

    #[test]
    fn daemon_that_keeps_the_output_open_holds_nobody_up() {
        let begun = Instant::now();
        let output = run(shell("setsid sleep 5 & echo done"), None, Duration::from_secs(20)).unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}
