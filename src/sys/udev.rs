//! Waiting for device nodes, which udev makes some time after the kernel has found a device.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::sys::command::{Call, Tool};

/// Where udevd listens while it runs.
const CONTROL: &str = "/run/udev/control";

/// How long at most nothing is looked at: an event can be lost, and without udevd there are none.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long udevd may take to answer, busy as it may be.
const PING_DEADLINE: Duration = Duration::from_secs(30);

/// Whose turn it is to speak to udevd.
static TURN: Mutex<()> = Mutex::new(());

/// How long udev's database is waited for.
const RECORD_DEADLINE: Duration = Duration::from_secs(5);

/// Waits until all these paths exist.
///
/// # Errors
/// `Hardware` when they do not within `deadline`; the error names those that are missing.
pub fn wait_for(paths: &[PathBuf], deadline: Duration) -> Result<()> {
    let events = Events::listen();
    let until = Instant::now() + deadline;
    loop {
        let missing: Vec<_> =
            paths.iter().filter(|path| !path.exists()).map(|path| path.display().to_string()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = deadline.as_secs_f64();
            return Err(Error::new(
                Kind::Hardware,
                format!("waiting for {}: not there after {seconds:.1} s", missing.join(", ")),
            ));
        }
        events.pause(left.min(LOOK_AGAIN));
    }
}

/// Waits until udevd has noticed everything that happened so far: it answers when it has read what the kernel told it, and
/// before it has handled all of that. Without udevd there is nothing to wait for.
///
/// # Errors
/// `Tool` when udevd does not answer.
pub fn has_noticed() -> Result<()> {
    if !Path::new(CONTROL).exists() {
        return Ok(());
    }
    // udevd takes one caller at a time and lets no second wait; several disks are written at once.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let timeout = format!("--timeout={}", PING_DEADLINE.as_secs());
    let until = Instant::now() + PING_DEADLINE;
    loop {
        match Call::new(Tool::Udevadm, ["control", "--ping", timeout.as_str()]).run() {
            Ok(_) => return Ok(()),
            // Another program is its caller at the moment.
            Err(error) if error.to_string().contains("temporarily unavailable") && Instant::now() < until => {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(error) => {
                // systemd before 241 has no ping: there the end of its whole queue is waited for.
                log::debug!("{error}");
                return Call::new(Tool::Udevadm, ["settle", timeout.as_str()]).run().map(drop);
            }
        }
    }
}

/// Waits a moment until udev's database has these devices: LVM asks it and would wait longer. Nothing else here needs it,
/// so a udevd without rules, or one that is busy, is no failure.
pub fn wait_for_records(nodes: &[PathBuf]) {
    if !Path::new(CONTROL).exists() {
        return;
    }
    let records: Vec<_> = nodes.iter().filter_map(|node| record(node)).collect();
    for missing in records.iter().filter(|record| !record.exists()) {
        // systemd before 250 forgets what happens to a disk while it is locked: it is told once more.
        let number = missing.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('b'));
        let trigger = number.map(|number| format!("/sys/dev/block/{number}/uevent"));
        if let Some(Err(error)) = trigger.map(|trigger| std::fs::write(trigger, "change")) {
            log::debug!("telling udev of a partition: {error}");
        }
    }
    if let Err(error) = wait_for(&records, RECORD_DEADLINE) {
        log::warn!("udev is slow: {error}");
    }
}

/// Where udev keeps what it knows of a block device.
fn record(node: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;

    let number = std::fs::metadata(node).ok()?.rdev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    Some(PathBuf::from(format!("/run/udev/data/b{major}:{minor}")))
}

/// udev's events about block devices.
#[cfg(feature = "udev")]
struct Events(Option<udev::MonitorSocket>);

#[cfg(feature = "udev")]
impl Events {
    fn listen() -> Self {
        let socket = udev::MonitorBuilder::new()
            .and_then(|builder| builder.match_subsystem("block"))
            .and_then(udev::MonitorBuilder::listen);
        Self(socket.inspect_err(|error| log::warn!("listening to udev: {error}: polling instead")).ok())
    }

    fn pause(&self, at_most: Duration) {
        use std::os::fd::AsFd as _;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

        let Some(socket) = &self.0 else { return std::thread::sleep(at_most) };
        let mut waited = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
        match poll(&mut waited, timeout) {
            // What happened does not matter: the caller looks for itself.
            Ok(ready) if ready > 0 => drop(socket.iter().count()),
            Ok(_) => {}
            Err(error) => {
                log::debug!("waiting for udev: {error}");
                std::thread::sleep(at_most);
            }
        }
    }
}

/// Without libudev there are no events, only another look.
#[cfg(not(feature = "udev"))]
struct Events;

#[cfg(not(feature = "udev"))]
impl Events {
    fn listen() -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "one signature with and without libudev")]
    fn pause(&self, at_most: Duration) {
        std::thread::sleep(at_most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_what_did_not_come() {
        let paths = [PathBuf::from("/dev/null"), PathBuf::from("/dev/no-such-disk")];
        let error = wait_for(&paths, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.to_string(), "waiting for /dev/no-such-disk: not there after 0.0 s");
        wait_for(&paths[..1], Duration::ZERO).unwrap();
    }
}
