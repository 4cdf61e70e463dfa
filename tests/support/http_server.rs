//! A real HTTP server on the loopback that misbehaves on demand.
//!
//! Every connection carries one exchange. What is answered is decided by a closure that sees the request and how many came
//! before it, so that a fault can hit the first attempt and spare the second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first byte that a `Range: bytes=N-` asks for.
    pub fn range_start(&self) -> Option<u64> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    True,
    Announced(u64),
    Chunked,
    /// Neither length nor chunks: the end of the connection is the end of the body.
    Unmarked,
}

/// How the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    No,
    /// An orderly end after so many bytes of the body.
    Close(usize),
    /// A reset after so many bytes of the body.
    Reset(usize),
}

/// An answer, with its faults.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Arc<[u8]>,
    /// Bytes of `body` that are skipped, so that a range needs no copy.
    pub from: usize,
    pub length: Length,
    pub cut: Cut,
    /// Silence after so many bytes of the body.
    pub stall: Option<(usize, Duration)>,
    /// Silence before the answer.
    pub delay: Duration,
    /// Silence after each byte of the body.
    pub trickle: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Arc<[u8]>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            from: 0,
            length: Length::True,
            cut: Cut::No,
            stall: None,
            delay: Duration::ZERO,
            trickle: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::new(status, Vec::new()).header("Location", location)
    }

    /// What a good file server answers: ranges, If-Range, ETag.
    pub fn file(seen: &Seen, body: &Arc<[u8]>, etag: &str) -> Self {
        let total = body.len();
        let whole = || Self::new(200, Arc::clone(body)).header("ETag", etag).header("Accept-Ranges", "bytes");
        if seen.header("if-range").is_some_and(|tag| tag != etag) {
            return whole();
        }
        let Some(start) = seen.range_start() else { return whole() };
        let start = usize::try_from(start).unwrap();
        if start >= total {
            return Self::new(416, Vec::new()).header("Content-Range", format!("bytes */{total}")).header("ETag", etag);
        }
        let wanted = seen.header("range").unwrap().split('-').nth(1).unwrap_or_default();
        let end = wanted.parse::<usize>().map_or(total, |last| (last + 1).min(total));
        let reply = Self { from: start, ..Self::new(206, body[..end].to_vec()) };
        reply.header("ETag", etag).header("Content-Range", format!("bytes {start}-{}/{total}", end - 1))
    }

    pub fn length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub fn cut(self, cut: Cut) -> Self {
        Self { cut, ..self }
    }

    pub fn stall(self, after: usize, pause: Duration) -> Self {
        Self { stall: Some((after, pause)), ..self }
    }

    pub fn trickle(self, pause: Duration) -> Self {
        Self { trickle: Some(pause), ..self }
    }

    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type Answer = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// The running server; it stops when dropped.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Answers plain HTTP on a free port of 127.0.0.1.
    pub fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::launch("127.0.0.1:0", None, Arc::new(answer))
    }

    /// Answers plain HTTP there: another address of the loopback, or one that was in use before.
    pub fn start_at(address: &str, answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::launch(address, None, Arc::new(answer))
    }

    /// Answers HTTPS with this certificate and key.
    pub fn start_tls(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start_tls_with(config, answer)
    }

    /// Answers HTTPS as this configuration says.
    pub fn start_tls_with(
        config: rustls::ServerConfig,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::launch("127.0.0.1:0", Some(Arc::new(config)), Arc::new(answer))
    }

    /// Serves these bytes to everybody, as a good file server does.
    pub fn serving(body: impl Into<Arc<[u8]>>) -> Self {
        let body = body.into();
        Self::start(move |seen, _| Reply::file(seen, &body, "\"v1\""))
    }

    fn launch(address: &str, tls: Option<Arc<rustls::ServerConfig>>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                    // A client that hangs up is part of the tests, so the outcome of an exchange does not matter.
                    thread::spawn(move || stream.and_then(|stream| exchange(stream, tls, &seen, &answer)));
                }
            }
        });
        Self { address, scheme, seen, stop, acceptor: Some(acceptor) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; when that fails it is gone already.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

fn exchange(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    seen: &Mutex<Vec<Seen>>,
    answer: &Arc<Answer>,
) -> std::io::Result<()> {
    let raw = stream.try_clone()?;
    match tls {
        None => serve(stream, &raw, seen, answer),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            serve(rustls::StreamOwned::new(connection, stream), &raw, seen, answer)
        }
    }
}

fn serve(
    stream: impl Read + Write,
    raw: &TcpStream,
    seen: &Mutex<Vec<Seen>>,
    answer: &Arc<Answer>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let request = read_request(&mut reader)?;
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = answer(&request, nth);
    let mut stream = reader.into_inner();
    thread::sleep(reply.delay);
    write_reply(&mut stream, raw, &request, &reply)
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    let mut request = Seen { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn write_reply(stream: &mut impl Write, raw: &TcpStream, request: &Seen, reply: &Reply) -> std::io::Result<()> {
    let body = &reply.body[reply.from..];
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status);
    match reply.length {
        Length::True => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
        Length::Announced(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Length::Unmarked => {}
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    if request.method == "HEAD" || reply.status == 304 {
        return stream.flush();
    }
    let end = match reply.cut {
        Cut::No => body.len(),
        Cut::Close(at) | Cut::Reset(at) => at.min(body.len()),
    };
    let (before, after) = match reply.stall {
        Some((at, _)) => body[..end].split_at(at.min(end)),
        None => (&body[..end], &body[..0]),
    };
    if let Some(pause) = reply.trickle {
        for byte in before.chunks(1) {
            write_body(stream, byte, reply.length)?;
            stream.flush()?;
            thread::sleep(pause);
        }
        return Ok(());
    }
    write_body(stream, before, reply.length)?;
    if let Some((_, pause)) = reply.stall {
        stream.flush()?;
        thread::sleep(pause);
        write_body(stream, after, reply.length)?;
    }
    if reply.cut == Cut::No && reply.length == Length::Chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()?;
    if let Cut::Reset(_) = reply.cut {
        // A reset overtakes what the client has not read yet: give it the time to read.
        thread::sleep(Duration::from_millis(50));
        setsockopt(raw, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    }
    Ok(())
}

fn write_body(stream: &mut impl Write, body: &[u8], length: Length) -> std::io::Result<()> {
    for piece in body.chunks(64 << 10) {
        if length == Length::Chunked {
            write!(stream, "{:x}\r\n", piece.len())?;
            stream.write_all(piece)?;
            stream.write_all(b"\r\n")?;
        } else {
            stream.write_all(piece)?;
        }
    }
    Ok(())
}
