//! A real master in a scratch folder, and an HTTP client that says exactly what a test wants and may come from any
//! loopback address.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::{Value, json};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// The address of a node, unless a test wants two.
pub const NODE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another machine on the network.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A scratch folder, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bedplate-master-{}-{number}", std::process::id()));
        let _absent = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `bedplate-master serve`.
pub struct Master {
    child: Child,
    pub address: SocketAddrV4,
    pub folder: Arc<Folder>,
    log: Arc<Mutex<String>>,
}

impl Master {
    /// Starts on a fresh folder.
    pub fn start() -> Self {
        Self::start_in(Arc::new(Folder::new()))
    }

    /// Starts on a fresh folder with this `master.toml`.
    pub fn configured(config: &str) -> Self {
        let folder = Folder::new();
        folder.write("master.toml", config);
        Self::start_in(Arc::new(folder))
    }

    /// Starts on a folder that may hold state.
    pub fn start_in(folder: Arc<Folder>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bedplate-master"))
            .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut started = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the master ended: {started}");
            started.push_str(&line);
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        let log = Arc::new(Mutex::new(started));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { child, address, folder, log }
    }

    /// SIGKILL, and a new one on the same folder.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Self::start_in(Arc::clone(&self.folder))
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log once it has this line; a pipe and a thread lie between the master and it. Fails without the line.
    pub fn log_with(&self, line: &str) -> String {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let log = self.log();
            if log.contains(line) {
                return log;
            }
            assert!(std::time::Instant::now() < deadline, "the log has no {line:?}: {log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One call from the usual address.
    pub fn call(&self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
        self.call_from(NODE, method, path, token, body)
    }

    /// One call from this address.
    pub fn call_from(&self, peer: Ipv4Addr, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
        let headers = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.raw(peer, method, path, &headers, body).unwrap()
    }

    pub fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.raw(NODE, "GET", path, headers, b"").unwrap()
    }

    pub fn raw(&self, peer: Ipv4Addr, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = connect_from(peer, self.address)?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        // A server that refuses a body early closes; what it said counts.
        let _refused_early = stream.write_all(body);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Answer::read(&bytes).ok_or_else(|| std::io::Error::other("no whole answer"))
    }

    /// What comes back for these very words.
    pub fn plain(&self, words: &str) -> String {
        let mut stream = connect_from(NODE, self.address).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The boot script of a machine; its token if it has one.
    pub fn boot_from(&self, peer: Ipv4Addr, mac: &str) -> (String, Option<String>) {
        let path = format!("/boot.ipxe?mac={mac}&uuid=4c4c4544-0000-1000-8000-000000000001&serial=EX1");
        let answer = self.call_from(peer, "GET", &path, None, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let script = answer.text();
        let token = script.split_once("bedplate.token=").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
        (script, token)
    }

    pub fn boot(&self, mac: &str) -> Option<String> {
        self.boot_from(NODE, mac).1
    }

    /// Boots an unknown machine, discovers it, sends its inventory: id and token.
    pub fn discover(&self, mac: &str) -> (u64, String) {
        let token = self.boot(mac).expect("an unknown machine gets the bootstrap");
        let answer = self.call("POST", "/api/nodes/", Some(&token), discovery(mac).to_string().as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_u64().unwrap();
        self.send_inventory(id, &token, &inventory(mac));
        (id, token)
    }

    pub fn send_inventory(&self, id: u64, token: &str, inventory: &Value) {
        let path = format!("/api/nodes/{id}/inventory");
        let answer = self.call("PUT", &path, Some(token), inventory.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Puts images, their side-car and the profile `small` into the folder.
    pub fn with_profile(self) -> Self {
        for name in ["os.img.gz", "os-boot.img.gz"] {
            self.folder.write(&format!("targetimages/{name}"), [31, 139, 8, 0]);
        }
        self.folder.write("targetimages/os.yaml", SIDE_CAR);
        self.folder.write("profiles/small.toml", PROFILE);
        self
    }

    /// Releases a node without asking.
    pub fn release(&self, node: &str) -> Output {
        self.nodes(&["release", node, "--profile", "small", "--yes"])
    }

    /// `bedplate-master nodes ..` on this master.
    pub fn nodes(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bedplate-master"))
            .arg("nodes")
            .args(arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `bedplate-master bootstrap ..` on this master.
    pub fn bootstrap(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bedplate-master"))
            .arg("bootstrap")
            .args(arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `nodes show --json`.
    pub fn show(&self, node: u64) -> Value {
        let output = self.nodes(&["show", &node.to_string(), "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn status(&self, node: u64) -> String {
        self.show(node)["status"].as_str().unwrap().to_owned()
    }

    /// Waits for a status; the watchdog looks once a second.
    pub fn wait_for(&self, node: u64, status: &str) -> Value {
        for _ in 0..100 {
            let shown = self.show(node);
            if shown["status"] == status {
                return shown;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("node {node} did not become {status}: {}", self.show(node));
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ended_before = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Self { status, headers, body: bytes[end + 4..].to_vec() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

fn connect_from(peer: Ipv4Addr, to: SocketAddrV4) -> std::io::Result<TcpStream> {
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(peer, 0)))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(TcpStream::from(fd))
}

/// A discovery report of a small VM with this address.
pub fn discovery(mac: &str) -> Value {
    json!({
        "mac": mac, "ip": "10.20.0.102", "os_platform": "debian", "manufacturer": "QEMU", "platform_name": "PC",
        "status": "discover", "is_agent": true, "agent_checksum": "0123456789abcdef0123456789abcdef01234567",
        "meta": {
            "system": { "manufacturer": "QEMU", "uuid": "0C2041CE-0000-453D-95DD-000000000002", "product": "PC" },
            "interfaces": [{ "name": "enp0s3", "mac": mac, "state": "up", "pxe": true, "driver": "virtio_net",
                "bus_info": "0000:00:03.0", "ip": "10.20.0.102", "netmask": "255.255.255.0" }],
            "cpu": { "total": 2, "real": 1, "spec": [{ "frequency": 2593, "model": "QEMU Virtual CPU" }] },
            "disks": [{ "name": "vda", "model": null, "size": 10_737_418_240_u64, "disk": "disk/by-path/pci-0000:00:05.0",
                "extra": ["disk/by-id/virtio-root"], "removable": "0", "paths": null, "opt_io": 512 }],
            "memory": { "total": 2_147_483_648_u64 },
        },
    })
}

/// `inventory --json` of the same VM; its disk is empty.
pub fn inventory(mac: &str) -> Value {
    json!({
        "firmware": { "mode": "bios" },
        "memory": { "total": 2_147_483_648_u64 },
        "disks": [{ "name": "vda", "device": "/dev/vda", "size": 10_737_418_240_u64, "sector_size": 512,
            "major": 254, "minor": 0, "links": ["/dev/disk/by-id/virtio-root", "/dev/disk/by-path/pci-0000:00:05.0"],
            "serial": "root", "transport": "virtio", "has_data": false }],
        "interfaces": [{ "name": "enp0s3", "mac": mac, "state": "up", "ip": "10.20.0.102",
            "netmask": "255.255.255.0", "is_pxe": true }],
    })
}

/// Events of a run as lines.
pub fn events(run: &str, from: u64, to: u64) -> Vec<u8> {
    let lines = (from..=to).map(|seq| {
        json!({ "run": run, "seq": seq, "time": "2026-01-01T00:00:00Z", "boot_time_ms": seq, "kind": "step_started",
            "step": "write-image /dev/vda", "message": format!("event {seq}") })
        .to_string()
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

const SIDE_CAR: &str = "images:
- {container: gzip, container_name: os.img.gz, raw_size: 734003200, raw_md5: 33d34d752cb93f11f55f3b18e52a07d8, format: ext4}
- {container: gzip, container_name: os-boot.img.gz, raw_size: 67108864, raw_md5: ed1bd27e406fc2776a35a36ea1d25028, format: ext2}
os: {name: OperatingSystem, major: 12, minor: 0}
";

const PROFILE: &str = "ssh_keys = [\"ssh-ed25519 AAAAexample operator@example.test\"]
kernel_params = \"console=ttyS0\"
[images]
root = \"os.img.gz\"
boot = \"os-boot.img.gz\"
[disk]
at_least = \"4 GiB\"
[sizes]
swap = \"512 MiB\"
[[users]]
name = \"operator\"
password = \"example-password-of-operator\"
sudo = [\"ALL=(ALL) NOPASSWD: ALL\"]
";
