//! QEMU's control socket: JSON lines (QEMU Machine Protocol).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::wait::{self, Deadline};

/// A machine that is stopped by its host's load answers late, never not at all.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to one machine.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as the socket is there.
    #[track_caller]
    pub fn connect(socket: &Path) -> Self {
        let stream = wait::until("QEMU's control socket", Deadline::cpu(5), || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time above zero is accepted");
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.receive();
        assert!(greeting.get("QMP").is_some(), "QEMU greets with {greeting}");
        qmp.execute("qmp_capabilities", json!({}));
        qmp
    }

    /// Carries out a command and returns its result.
    #[track_caller]
    pub fn execute(&mut self, command: &str, arguments: Value) -> Value {
        match self.attempt(command, arguments) {
            Ok(result) => result,
            Err(error) => panic!("QEMU refuses {command}: {error}"),
        }
    }

    /// Carries out a command that may be refused.
    ///
    /// # Errors
    /// QEMU's words.
    #[track_caller]
    pub fn attempt(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|error| format!("sending {command}: {error}"))?;
        loop {
            // Events come between a command and its result.
            let mut answer = self.receive();
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(error.to_string());
            }
        }
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("QEMU answers on its control socket");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QEMU said {line:?}: {error}"))
    }
}
