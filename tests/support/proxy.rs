//! A proxy on the loopback that opens tunnels, and nothing else.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The running proxy; its threads end with the test.
pub struct Proxy {
    pub address: SocketAddr,
    /// The header lines of every request.
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Proxy {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                for stream in listener.incoming() {
                    let seen = Arc::clone(&seen);
                    // A client that hangs up ends its tunnel; nothing is to be said about it.
                    thread::spawn(move || stream.and_then(|stream| tunnel(stream, &seen)));
                }
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<Vec<String>> {
        self.seen.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, seen: &Mutex<Vec<Vec<String>>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let target = lines.first().and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next().map(str::to_owned));
    seen.lock().unwrap().push(lines);
    let mut client = client;
    let Some(target) = target else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut from_server, &mut to_client);
        let _closed = to_client.shutdown(std::net::Shutdown::Write);
        copied
    });
    let mut to_server = server;
    io::copy(&mut reader, &mut to_server)?;
    to_server.shutdown(std::net::Shutdown::Write)
}
