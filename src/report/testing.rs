//! What the sinks' tests share.

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::{Event, EventKind};

/// A bare event of run `r1`, so many milliseconds after boot.
pub fn event(kind: EventKind, boot_time_ms: u64) -> Event {
    Event {
        run: "r1".to_owned(),
        seq: 1,
        time: "2026-01-02T03:04:05Z".to_owned(),
        boot_time_ms,
        kind,
        step: None,
        bytes_done: None,
        bytes_total: None,
        rate: None,
        eta_s: None,
        message: None,
        error: None,
    }
}

/// A writer whose text the test reads afterwards.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a [`Server`] does with a request.
pub enum Reply {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Closes the connection without an answer.
    Close,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and headers.
    pub head: String,
    /// Body.
    pub body: String,
}

type Requests = Arc<(Mutex<Vec<Received>>, Condvar)>;

/// An HTTP server on the loopback interface, one connection after the other. It ends with the value.
pub struct Server {
    address: SocketAddr,
    requests: Requests,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; `reply` is given the request's number, from 0, and the request.
    pub fn start(reply: impl Fn(usize, &Received) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some(request) = receive(&mut connection) else { return };
                let number = {
                    let mut requests = seen.0.lock().unwrap();
                    requests.push(request.clone());
                    seen.1.notify_all();
                    requests.len() - 1
                };
                if let Reply::Answer(status, body) = reply(number, &request) {
                    let head =
                        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    // A client that is gone is the test's business.
                    let _gone = connection.write_all((head + &body).as_bytes());
                }
            }
        });
        Self { address, requests, thread: Some(thread) }
    }

    /// An address on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.requests.0.lock().unwrap().clone()
    }

    /// Waits until this many requests have come in.
    pub fn wait_for(&self, count: usize) {
        let requests = self.requests.0.lock().unwrap();
        drop(self.requests.1.wait_while(requests, |requests| requests.len() < count).unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection that closes without a word ends the loop.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            thread.join().unwrap();
        }
    }
}

/// Reads one request; nothing when the connection is empty.
fn receive(connection: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(Received { head: format!("{head}\r\n"), body: body.to_owned() });
            }
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
