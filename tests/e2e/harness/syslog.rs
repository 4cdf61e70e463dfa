//! A receiver of remote logs: RFC 5424 over UDP, one message a packet.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How late the end of the receiver is noticed.
const INTERVAL: Duration = Duration::from_millis(200);

/// The receiver. It reads all the time: a socket's buffer holds the messages of a boot's first seconds only.
#[derive(Debug)]
pub struct Syslog {
    port: u16,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    messages: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Syslog {
    /// Listens on a free port of the loopback interface.
    #[track_caller]
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback interface has a free port");
        socket.set_read_timeout(Some(INTERVAL)).expect("a socket takes a timeout");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared::default());
        let for_reader = Arc::clone(&shared);
        let reader = std::thread::spawn(move || read(&socket, &for_reader));
        Self { port, shared, reader: Some(reader) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that has come.
    pub fn messages(&self) -> Vec<String> {
        self.shared.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has told so on stderr.
            let _told = reader.join();
        }
    }
}

fn read(socket: &UdpSocket, shared: &Shared) {
    let mut packet = vec![0; 64 * 1024];
    while !shared.is_over.load(Ordering::Relaxed) {
        // Nothing within the interval is no fault.
        if let Ok(length) = socket.recv(&mut packet) {
            let message = String::from_utf8_lossy(&packet[..length]).into_owned();
            shared.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
    }
}
