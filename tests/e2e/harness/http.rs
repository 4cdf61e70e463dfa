//! A server in this process: routes, a log of every request, and faults on demand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wait::{self, Deadline};

/// The host as a guest on QEMU's user network sees it.
pub const HOST_OF_GUEST: &str = "10.0.2.2";

/// A client that says nothing for so long has gone.
const IDLE: Duration = Duration::from_secs(120);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// What follows `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    kind: &'static str,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Reply {
    /// 200 with text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { status: 200, kind: "text/plain", body: Body::Bytes(text.into().into_bytes()) }
    }

    /// 200 with bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, kind: "application/octet-stream", body: Body::Bytes(bytes.into()) }
    }

    /// A file; 404 when it is absent.
    pub fn file(path: &Path) -> Self {
        if path.is_file() {
            Self { status: 200, kind: "application/octet-stream", body: Body::File(path.to_owned()) }
        } else {
            Self::status(404)
        }
    }

    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self { status, kind: "text/plain", body: Body::Bytes(format!("{status}\n").into_bytes()) }
    }
}

/// What goes wrong with one path.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status instead of the answer.
    Status(u16),
    /// The whole length is announced, the connection ends after so many bytes of the resource.
    CutAt(u64),
    /// So many bytes of the resource come at once, the rest when the gate opens.
    HoldAt(u64, Gate),
}

/// Holds an answer back until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    is_open: bool,
    is_reached: bool,
}

impl Gate {
    /// Lets everything through from now on.
    pub fn open(&self) {
        lock(&self.0.0).is_open = true;
        self.0.1.notify_all();
    }

    /// Whether an answer has come to it.
    pub fn is_reached(&self) -> bool {
        lock(&self.0.0).is_reached
    }

    fn pass(&self) {
        let mut state = lock(&self.0.0);
        state.is_reached = true;
        while !state.is_open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Default)]
struct State {
    /// By path; one that ends with `/` serves everything below it. The longest wins.
    routes: Mutex<Vec<(String, Handler)>>,
    faults: Mutex<BTreeMap<String, Fault>>,
    requests: Mutex<Vec<Request>>,
    is_over: AtomicBool,
}

/// The server. It ends when it goes out of scope.
pub struct Server {
    address: SocketAddr,
    /// How a guest calls this host.
    host: &'static str,
    state: Arc<State>,
}

impl Server {
    /// Listens on a free port of the loopback interface, which a guest reaches through the user network.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_at("127.0.0.1", 0, HOST_OF_GUEST)
    }

    /// Listens on this port of an address of this host, 0 being any, which a guest reaches as `host`.
    #[track_caller]
    pub fn start_at(address: &str, port: u16, host: &'static str) -> Self {
        let listener = TcpListener::bind((address, port)).expect("an address of this host has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that breaks off is what many scenarios are about.
                std::thread::spawn(move || stream.and_then(|stream| serve(&stream, &shared)));
            }
        });
        Self { address, host, state }
    }

    /// Its base address for a guest, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.address.port())
    }

    /// Answers this path, or everything below it if it ends with `/`.
    pub fn route(&self, path: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        lock(&self.state.routes).push((path.to_owned(), Arc::new(answer)));
    }

    /// Serves the files of a folder below `path`, which ends with `/`.
    pub fn folder(&self, path: &str, folder: &Path) {
        let (prefix, folder) = (path.to_owned(), folder.to_owned());
        self.route(path, move |request| {
            let name = request.path.strip_prefix(&prefix).unwrap_or_default();
            if name.split('/').any(|part| part == "..") { Reply::status(400) } else { Reply::file(&folder.join(name)) }
        });
    }

    /// Makes one path go wrong from now on.
    pub fn fault(&self, path: &str, fault: Fault) {
        lock(&self.state.faults).insert(path.to_owned(), fault);
    }

    /// Makes it go right again.
    pub fn heal(&self, path: &str) {
        lock(&self.state.faults).remove(path);
    }

    /// Every request so far whose path starts so.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        lock(&self.state.requests).iter().filter(|request| request.path.starts_with(path)).cloned().collect()
    }

    /// Waits for one more request than `seen` whose path starts so, and returns the last.
    #[track_caller]
    pub fn wait_for(&self, path: &str, seen: usize, cpu_seconds: u32) -> Request {
        wait::until(&format!("a request for {path}"), Deadline::cpu(cpu_seconds), || {
            let mut requests = self.requests(path);
            if requests.len() > seen { requests.pop() } else { None }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // The listener sees the flag at its next connection; if there is none, it ends with the process.
        let _woken = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let Some(request) = receive(stream)? else { return Ok(()) };
    let handler = lock(&state.routes)
        .iter()
        .filter(|(path, _)| *path == request.path || (path.ends_with('/') && request.path.starts_with(path.as_str())))
        .max_by_key(|(path, _)| path.len())
        .map(|(_, handler)| Arc::clone(handler));
    let fault = lock(&state.faults).get(&request.path).cloned();
    // Logged before it is answered: who waits for a request may act before the client does.
    lock(&state.requests).push(request.clone());
    let reply = match (&fault, handler) {
        (Some(Fault::Status(status)), _) => Reply::status(*status),
        (_, Some(handler)) => handler(&request),
        (_, None) => Reply::status(404),
    };
    send(stream, &request, reply, fault)
}

fn receive(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => request.headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    if request.headers.get("expect").is_some_and(|value| value == "100-continue") {
        (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

fn send(mut stream: &TcpStream, request: &Request, reply: Reply, fault: Option<Fault>) -> std::io::Result<()> {
    let (mut source, total): (Box<dyn Read>, u64) = match reply.body {
        Body::Bytes(bytes) => {
            let total = u64::try_from(bytes.len()).expect("memory is below 2^64 bytes");
            (Box::new(std::io::Cursor::new(bytes)), total)
        }
        Body::File(path) => {
            let mut file = File::open(path)?;
            let total = file.metadata()?.len();
            if let Some((from, _)) = range(request, total) {
                file.seek(SeekFrom::Start(from))?;
            }
            (Box::new(file), total)
        }
    };
    let span = if reply.status == 200 { range(request, total) } else { None };
    let (status, from, end) = span.map_or((reply.status, 0, total), |(from, end)| (206, from, end));
    let mut head = format!(
        "HTTP/1.1 {status} .\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n",
        date(),
        reply.kind,
        end - from
    );
    if status == 206 {
        head.push_str(&format!("Content-Range: bytes {from}-{}/{total}\r\n", end.saturating_sub(1)));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match fault {
        Some(Fault::CutAt(cut)) => {
            std::io::copy(&mut source.take(cut.min(end).saturating_sub(from)), &mut stream)?;
        }
        // A part that ends before the place is not held: it may be a look at whether the file is there.
        Some(Fault::HoldAt(hold, gate)) if hold < end => {
            let before = hold.max(from) - from;
            std::io::copy(&mut source.by_ref().take(before), &mut stream)?;
            gate.pass();
            std::io::copy(&mut source.take(end - from - before), &mut stream)?;
        }
        Some(Fault::HoldAt(..) | Fault::Status(_)) | None => {
            std::io::copy(&mut source.take(end - from), &mut stream)?;
        }
    }
    stream.flush()
}

/// `Range: bytes=FROM-[LAST]` (RFC 9110, section 14.1.2) as a span, the end exclusive. Files only are asked for in parts.
fn range(request: &Request, total: u64) -> Option<(u64, u64)> {
    let (from, last) = request.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse::<u64>().ok().filter(|&from| from < total)?;
    let end = if last.is_empty() { total } else { last.parse::<u64>().ok()?.checked_add(1)?.min(total) };
    (end > from).then_some((from, end))
}

/// The time as RFC 9110 writes it.
fn date() -> String {
    let now = time::OffsetDateTime::now_utc();
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][usize::from(now.weekday().number_days_from_monday())];
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = month[usize::from(u8::from(now.month())) - 1];
    format!(
        "{day}, {:02} {month} {} {:02}:{:02}:{:02} GMT",
        now.day(),
        now.year(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &Server, head: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        answer.lines().filter(|line| !line.starts_with("Date")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn fault_announces_all_and_sends_less() {
        let server = Server::start();
        server.route("/a", |_| Reply::text("0123456789"));
        server.fault("/a", Fault::CutAt(4));
        let answer = get(&server, "GET /a HTTP/1.1");
        assert!(answer.contains("Content-Length: 10\n"), "{answer}");
        assert!(answer.ends_with("\n\n0123"), "{answer}");
        server.heal("/a");
        assert!(get(&server, "GET /a HTTP/1.1").ends_with("\n\n0123456789"));
        assert_eq!(server.requests("/a").len(), 2);
    }
}
