//! A machine's serial console: one file over all its boots, read line by line with time stamps.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the file is looked at for more.
const INTERVAL: Duration = Duration::from_millis(50);

/// One whole line.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read, counted from the machine's first start.
    pub at: Duration,
    /// Without escape sequences, carriage returns and blanks at its end.
    pub text: String,
}

/// A place in the console's output: what was said before it does not count.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

/// The console.
#[derive(Debug)]
pub struct Serial {
    path: PathBuf,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
    is_over: AtomicBool,
}

impl Serial {
    /// Follows the file that QEMU writes.
    pub fn follow(path: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        let (file, for_reader) = (path.to_owned(), Arc::clone(&shared));
        let reader = std::thread::spawn(move || read(&file, &for_reader));
        Self { path: path.to_owned(), shared, reader: Some(reader) }
    }

    /// The file with everything that was said.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Here and now.
    pub fn mark(&self) -> Mark {
        Mark(self.lines().len())
    }

    /// The first line after the mark that fits, if there is one within this time.
    pub fn find(&self, after: Mark, fits: &dyn Fn(&str) -> bool, within: Duration) -> Option<Line> {
        let end = Instant::now() + within;
        let mut lines = self.lines();
        let mut next = after.0;
        loop {
            if let Some(line) = lines[next.min(lines.len())..].iter().find(|line| fits(&line.text)) {
                return Some(line.clone());
            }
            next = lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            lines = self.shared.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last lines, for a failure's message.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(count);
        lines[from..].iter().map(|line| format!("[{:7.2}] {}\n", line.at.as_secs_f64(), line.text)).collect()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has told so on stderr.
            let _told = reader.join();
        }
    }
}

fn read(path: &Path, shared: &Shared) {
    let start = Instant::now();
    let mut file = None;
    let mut pending = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Looked at before reading: what is written until then is still read.
        let is_over = shared.is_over.load(Ordering::Relaxed);
        if file.is_none() {
            file = File::open(path).ok();
        }
        let count = match &mut file {
            None => 0,
            Some(file) => file.read(&mut buffer).expect("a regular file can be read"),
        };
        if count == 0 {
            if is_over {
                return;
            }
            std::thread::sleep(INTERVAL);
            continue;
        }
        pending.extend_from_slice(&buffer[..count]);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = Line { at: start.elapsed(), text: plain(&line) };
            shared.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        shared.more.notify_all();
    }
}

/// The words of a line: without escape sequences (ECMA-48: ESC [ parameters final) and control characters.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            match chars.next() {
                Some('[') => {
                    for char in chars.by_ref() {
                        if ('@'..='~').contains(&char) {
                            break;
                        }
                    }
                }
                // `ESC ( B` and `ESC ) 0` name a character set.
                Some('(' | ')') => {
                    chars.next();
                }
                _ => {}
            }
        } else if !char.is_control() {
            plain.push(char);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_without_colours_and_cursor_moves() {
        assert_eq!(plain(b"\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16)\r\n"), "SeaBIOS (version 1.16)");
        assert_eq!(plain(b"[\x1b[0;32m  OK  \x1b[0m] Started \x1b(Bssh\x07 \r\n"), "[  OK  ] Started ssh");
    }
}
