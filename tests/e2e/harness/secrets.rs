//! The search for what must not be found: passwords and tokens in logs, events, process lists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the host's process list is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// The secrets of a scenario. Clones share them.
#[derive(Clone, Default)]
pub struct Secrets {
    values: Arc<Mutex<BTreeSet<String>>>,
}

impl Secrets {
    /// One more that must not be found.
    #[track_caller]
    pub fn add(&self, value: &str) {
        assert!(value.len() >= 12, "a secret as short as {} characters is found by chance", value.len());
        self.lock().insert(value.to_owned());
    }

    /// The secrets, one a line.
    pub fn lines(&self) -> String {
        self.lock().iter().map(|value| format!("{value}\n")).collect()
    }

    /// The secrets that are in these bytes, each shown by its first characters.
    pub fn within(&self, bytes: &[u8]) -> Vec<String> {
        let values = self.lock();
        let found = values.iter().filter(|value| contains(bytes, value.as_bytes()));
        found.map(|value| format!("{}…", &value[..6])).collect()
    }

    /// Where below `folder` a secret stands.
    pub fn in_files(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in files(folder) {
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
            found.extend(self.within(&bytes).into_iter().map(|secret| format!("{}: {secret}", path.display())));
        }
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(bytes: &[u8], value: &[u8]) -> bool {
    let Some(&first) = value.first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(value) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// All regular files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("listing {}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a folder of ours can be listed");
        let kind = entry.file_type().expect("a file of ours has a type");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Looks through the arguments of all processes of the host, and through the environment of ours, as long as it lives.
pub struct Watcher {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
}

impl Watcher {
    /// Starts to look.
    pub fn start(secrets: &Secrets) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (stop, secrets) = (Arc::clone(&is_over), secrets.clone());
        let thread = std::thread::spawn(move || {
            let mut found = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                look(&secrets, &mut found);
                std::thread::sleep(INTERVAL);
            }
            found
        });
        Self { is_over, thread: Some(thread) }
    }

    /// Stops and tells what was seen.
    pub fn finish(mut self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken here alone");
        thread.join().expect("the watcher does not panic").into_iter().collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn look(secrets: &Secrets, found: &mut BTreeSet<String>) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        for file in ["cmdline", "environ"] {
            // A process may have ended meanwhile; without root others' environments are closed to us.
            let Ok(bytes) = std::fs::read(process.path().join(file)) else { continue };
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.extend(
                secrets.within(&bytes).into_iter().map(|secret| format!("{file} of {}: {secret}", name.trim())),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_found_among_other_bytes_and_not_shown() {
        let secrets = Secrets::default();
        secrets.add("hunter2-hunter2");
        assert_eq!(secrets.within(b"\0hhunter2-hunter2\0"), ["hunter…"]);
        assert_eq!(secrets.within(b"hunter2-hunter3"), Vec::<String>::new());
    }
}
