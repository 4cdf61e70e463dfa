//! A real HTTP server on loopback that plays whatever master a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::scratch::Scratch;

/// A folder of a test's own that goes away with it.
pub struct Folder(Scratch);

impl Folder {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path("etc")).unwrap();
        Self(scratch)
    }

    pub fn path(&self) -> &Path {
        self.0.folder()
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// `PUT /api/nodes/agent/`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What the server answers.
pub enum Answer {
    /// A status with headers and a body.
    With(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes instead of HTTP.
    Raw(Vec<u8>),
    /// A header, then a byte now and then, for ever.
    Drip,
    /// Nothing: the connection is closed.
    Close,
}

impl Answer {
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::With(status, vec![("Content-Type", "application/json".to_owned())], body.to_string().into_bytes())
    }
}

/// The server; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, answer)
    }

    /// Serves on a listener that is there already: a master that restarts keeps its address.
    pub fn on(listener: TcpListener, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (seen, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over, answer) = (Arc::clone(&seen), Arc::clone(&is_over), Arc::new(answer));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (log, over, answer) = (Arc::clone(&log), Arc::clone(&over), Arc::clone(&answer));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    if let Some(request) = read_request(&stream) {
                        log.lock().unwrap().push(request.clone());
                        send(stream, answer(&request), &over);
                    }
                });
            }
        });
        Self { address, seen, is_over, accepting: Some(accepting) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, path, headers, body: Vec::new() };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    seen.body.resize(length, 0);
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

fn send(mut stream: TcpStream, answer: Answer, is_over: &AtomicBool) {
    // A client that has gone away is part of some tests.
    let _gone = match answer {
        Answer::With(status, headers, body) => {
            let mut head =
                format!("HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
            for (key, value) in headers {
                head.push_str(&format!("{key}: {value}\r\n"));
            }
            head.push_str("\r\n");
            // 204 has no body and no length.
            let head = if status == 204 { head.replace("Content-Length: 0\r\n", "") } else { head };
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body))
        }
        Answer::Raw(bytes) => stream.write_all(&bytes),
        Answer::Drip => {
            let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{");
            while written.is_ok() && !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(50));
                written = stream.write_all(b" ");
            }
            written
        }
        Answer::Close => Ok(()),
    };
}
