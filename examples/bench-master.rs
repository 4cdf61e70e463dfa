//! Load on the embedded master: 1,000 nodes that report, 200 readers of one image, against nginx and cat in the same run.
//!
//! `cargo run --release --features master --example bench-master`; `make bench` calls it. It starts the
//! `bedplate-master` that was built beside it, on a scratch folder, and ends it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a measurement that cannot go on stops")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nodes, as the specification has it.
const NODES: u64 = 1000;
/// Nailgun's agent reports once a minute; here a minute takes this long.
const MINUTE: Duration = Duration::from_secs(5);
/// Compressed minutes.
const MINUTES: u64 = 6;
/// Connections that the reports come over.
const SENDERS: u64 = 8;
/// Readers of one image.
const READERS: usize = 200;
/// Bytes of the image.
const IMAGE: u64 = 64 << 20;

fn main() {
    let folder = std::env::temp_dir().join(format!("bedplate-bench-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("targetimages")).unwrap();
    let image = folder.join("targetimages/image.img.gz");
    std::fs::write(&image, noise()).unwrap();
    let master = Server::master(&folder);
    println!("{} CPUs; load generator and servers share them", std::thread::available_parallelism().unwrap());
    reports(&master);
    events(&master);
    let ours = read_all("bedplate-master", &master, "/targetimages/image.img.gz");
    println!("bedplate-master: peak memory {} MiB", master.status_kib("VmHWM:") >> 10);
    drop(master);
    let nginx = Server::nginx(&folder).map(|nginx| read_all("nginx (sendfile)", &nginx, "/image.img.gz"));
    let cat = cat(&image);
    println!("ratio to cat on one core: {:.2}", ours / cat);
    match nginx {
        Some(nginx) => println!("ratio to nginx: {:.2}", ours / nginx),
        None => println!("nginx is not installed: no ratio"),
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// A server process and what it has used.
struct Server {
    child: Child,
    address: SocketAddr,
    /// Its process, or the group of nginx' processes.
    pids: Vec<u32>,
}

impl Server {
    fn master(folder: &Path) -> Self {
        let own = std::env::current_exe().unwrap();
        let binary = own.ancestors().nth(2).unwrap().join("bedplate-master");
        let mut child = Command::new(&binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", binary.display()));
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the master ended at once");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let pids = vec![child.id()];
        Self { child, address, pids }
    }

    fn nginx(folder: &Path) -> Option<Self> {
        let binary = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).is_file())?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = folder.join("targetimages");
        let scratch = folder.display();
        let conf = format!(
            "daemon off; worker_processes auto; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            root.display()
        );
        std::fs::write(folder.join("nginx.conf"), conf).unwrap();
        // The workers give up root and must still reach the image.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, open).unwrap();
        let child = Command::new(binary)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("nginx.log"))
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let pids = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        Some(Self { child, address, pids })
    }

    /// User and system time so far, in seconds.
    fn cpu(&self) -> f64 {
        let ticks = self.pids.iter().map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
        });
        // Linux shows ticks of 1/100 s to every program.
        ticks.sum::<f64>() / 100.0
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pids[0])).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ended_before = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ended_before = self.child.wait();
    }
}

/// One call over a connection that stays: status and body.
fn call(stream: &mut TcpStream, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> (u16, Vec<u8>) {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{bearer}\r\n").into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "the server closed");
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        if bytes.len() == end + 4 + length {
            return (head.split(' ').nth(1).unwrap().parse().unwrap(), bytes[end + 4..].to_vec());
        }
    }
}

fn mac(node: u64) -> String {
    format!("52:54:00:00:{:02x}:{:02x}", node >> 8, node & 255)
}

/// A bare-metal report with this node's address.
fn report(node: u64) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/discovery/01-bootstrap-baremetal.json");
    let mut report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    report["mac"] = mac(node).into();
    for (at, interface) in report["meta"]["interfaces"].as_array_mut().unwrap().iter_mut().enumerate() {
        let other = format!("02:{:02x}:00:00:{:02x}:{:02x}", at, node >> 8, node & 255);
        interface["mac"] = if at == 0 { mac(node) } else { other }.into();
    }
    report.to_string()
}

/// Every node reports once a compressed minute.
fn reports(master: &Server) {
    let bodies: Vec<String> = (0..NODES).map(report).collect();
    let (began, cpu) = (Instant::now(), master.cpu());
    let mut stream = master.connect();
    for body in &bodies {
        assert_eq!(call(&mut stream, "POST", "/api/nodes/", None, body.as_bytes()).0, 201);
    }
    let created = master.cpu() - cpu;
    println!(
        "discovery of {NODES} new nodes, {} bytes each, one after the other: {:.1} s, {:.2} ms CPU of the master each",
        bodies[0].len(),
        began.elapsed().as_secs_f64(),
        per(created, NODES)
    );
    let (began, cpu) = (Instant::now(), master.cpu());
    let gap = MINUTE / u32::try_from(NODES / SENDERS).unwrap();
    let slowest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (bodies, slowest) = (&bodies, &slowest);
            scope.spawn(move || {
                let mut stream = master.connect();
                let mut due = Instant::now();
                let own = (0..NODES * MINUTES).filter(|n| n % SENDERS == sender);
                for n in own {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += gap;
                    let body = &bodies[usize::try_from(n % NODES).unwrap()];
                    let asked = Instant::now();
                    assert_eq!(call(&mut stream, "PUT", "/api/nodes/agent/", None, body.as_bytes()).0, 200);
                    let took = u64::try_from(asked.elapsed().as_micros()).unwrap();
                    slowest.fetch_max(took, Ordering::Relaxed);
                }
            });
        }
    });
    let (took, used) = (began.elapsed().as_secs_f64(), master.cpu() - cpu);
    let sent = NODES * MINUTES;
    println!(
        "{NODES} nodes report, a minute compressed to {} s: {sent} reports at {:.0}/s, {:.3} ms CPU of the master each, \
         {:.1} % of one core; at the real pace of {:.1}/s: {:.2} % of one core; slowest answer {:.1} ms",
        MINUTE.as_secs(),
        rate(sent, took),
        per(used, sent),
        100.0 * used / took,
        rate(NODES, 60.0),
        100.0 * per(used, sent) / 1000.0 * rate(NODES, 60.0),
        rate(slowest.into_inner(), 1000.0)
    );
}

/// Batches of events of one node, each durable before its answer.
fn events(master: &Server) {
    const BATCHES: u64 = 500;
    let mut stream = master.connect();
    let script = call(&mut stream, "GET", "/boot.ipxe?mac=52:54:00:ff:ff:ff", None, b"").1;
    let script = String::from_utf8(script).unwrap();
    let token = script.split_once("bedplate.token=").unwrap().1.split(' ').next().unwrap().to_owned();
    let body = report(0xffff).replace(&mac(0xffff), "52:54:00:ff:ff:ff");
    let (status, answer) = call(&mut stream, "POST", "/api/nodes/", Some(&token), body.as_bytes());
    assert_eq!(status, 201);
    let id = serde_json::from_slice::<Value>(&answer).unwrap()["id"].clone();
    let (began, cpu) = (Instant::now(), master.cpu());
    for batch in 0..BATCHES {
        let lines = (1..=5).map(|n| {
            let seq = batch * 5 + n;
            format!(
                "{{\"run\":\"r\",\"seq\":{seq},\"time\":\"2026-01-01T00:00:00Z\",\"boot_time_ms\":{seq},\"kind\":\"progress\",\
                 \"step\":\"write-image /dev/mapper/os-root\",\"bytes_done\":{seq},\"bytes_total\":4294967296}}"
            )
        });
        let lines = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(
            call(&mut stream, "POST", &format!("/api/nodes/{id}/events"), Some(&token), lines.as_bytes()).0,
            200
        );
    }
    println!(
        "{BATCHES} batches of 5 events, each flushed to the disk: {:.0} batches/s, {:.3} ms CPU of the master each",
        rate(BATCHES, began.elapsed().as_secs_f64()),
        per(master.cpu() - cpu, BATCHES)
    );
}

/// 200 readers of one image at once; returns MiB/s.
fn read_all(name: &str, server: &Server, path: &str) -> f64 {
    let (began, cpu) = (Instant::now(), server.cpu());
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut stream = server.connect();
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                let (mut chunk, mut total) = (vec![0; 128 << 10], 0);
                loop {
                    match stream.read(&mut chunk).unwrap() {
                        0 => break,
                        read => total += u64::try_from(read).unwrap(),
                    }
                }
                assert!(total > IMAGE, "{total} bytes of header and image");
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let mib = (IMAGE >> 20) * u64::try_from(READERS).unwrap();
    let used = server.cpu() - cpu;
    println!(
        "{name}: {READERS} readers of one image of {} MiB: {:.0} MiB/s together, {:.2} s CPU of the server per GiB",
        IMAGE >> 20,
        rate(mib, took),
        used / rate(mib, 1024.0)
    );
    rate(mib, took)
}

/// The same file through cat, as often as takes a second or so; returns MiB/s.
fn cat(image: &PathBuf) -> f64 {
    let files = vec![image; 32];
    let began = Instant::now();
    let mut cat = Command::new("cat").args(files).stdout(Stdio::piped()).spawn().unwrap();
    let mut chunk = vec![0; 128 << 10];
    let mut out = cat.stdout.take().unwrap();
    while out.read(&mut chunk).unwrap() > 0 {}
    cat.wait().unwrap();
    let mib_per_s = rate((IMAGE >> 20) * 32, began.elapsed().as_secs_f64());
    println!("cat through a pipe: {mib_per_s:.0} MiB/s");
    mib_per_s
}

/// Bytes that do not compress, always the same.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..IMAGE / 8).flat_map(|_| {
        // xorshift64: Marsaglia, 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Milliseconds for each.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per(seconds: f64, count: u64) -> f64 {
    seconds * 1000.0 / count as f64
}
