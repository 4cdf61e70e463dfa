//! What is on a disk after an image did not arrive: nothing that starts, nothing that mounts.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bedplate::image;
use bedplate::report::{DiskState, Reporter};
use bedplate::request::Container;
use support::http_server::{Cut, Reply, Server};
use support::images::{client, job, packed, sha256};
use support::loop_device::LoopDevice;
use support::scratch::Scratch;

const SIZE: u64 = 48 << 20;

/// Runs a tool of the system.
fn run(tool: &str, arguments: &[&str], input: &str) -> (bool, String) {
    use std::io::Write as _;
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A whole disk with a GPT and an ext4 file system, or that file system alone, with something in every MiB but some zeros.
fn disk_image(scratch: &Scratch, has_table: bool) -> Vec<u8> {
    let path = scratch.path("image.raw");
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    let name = path.to_str().unwrap();
    let start = if has_table { 1 << 20 } else { 0 };
    if has_table {
        assert!(run("sfdisk", &["-q", name], "label: gpt\nstart=2048, size=94208\n").0);
    }
    let offset = format!("offset={start}");
    assert!(run("mke2fs", &["-q", "-t", "ext4", "-F", "-E", &offset, name, "40960"], "").0);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in (3 << 20..40 << 20).step_by(4096).filter(|at| (at >> 20) % 4 != 0) {
        bytes[at] |= 1;
        bytes[at + 1] = u8::try_from((at >> 12) % 251).unwrap();
    }
    bytes
}

/// Everything that libblkid and sfdisk find.
fn found(device: &Path) -> String {
    let device = device.to_str().unwrap();
    let (_, signatures) = run("blkid", &["-p", "-o", "export", device], "");
    let (_, table) = run("sfdisk", &["--dump", device], "");
    signatures + &table
}

#[test]
fn needs_root_failed_run_leaves_neither_table_nor_file_system_old_or_new() {
    for (has_table, container) in
        [(true, Container::Raw), (true, Container::Gzip), (false, Container::Zstd), (false, Container::Xz)]
    {
        let scratch = Scratch::new();
        let bytes = disk_image(&scratch, has_table);
        let device = LoopDevice::new(&scratch.path("disk"), SIZE, 512);
        // An installation of before, whose table has its copy in the last sector.
        let path = device.path().to_str().unwrap();
        assert!(run("sfdisk", &["-q", path], "label: gpt\nstart=2048\n").0);
        assert!(found(device.path()).contains("label: gpt"));

        let published: Arc<[u8]> = packed(&bytes, container).into();
        let cut = published.len() - 2000;
        let body = Arc::clone(&published);
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Reset(cut)),
            _ => Reply::new(404, *b"gone"),
        });
        let mut job = job(&server.url("/image"), device.path());
        job.container = Some(container);
        let written = image::write(&job, &client(), &Reporter::silent());
        let error = written.outcome.unwrap_err();
        assert_eq!(written.state, Some(DiskState::NotBootable), "{container:?}: {error}");
        assert!(error.advice().unwrap().contains("neither a partition table nor a file system"), "{error}");
        assert_eq!(found(device.path()), "", "{container:?}");

        // A digest that is wrong is known when all else is written.
        let whole = Server::serving(published.to_vec());
        let mut wrong = job.clone();
        wrong.source = whole.url("/image").parse().unwrap();
        wrong.digests = vec![sha256(b"other").parse().unwrap()];
        assert!(image::write(&wrong, &client(), &Reporter::silent()).outcome.is_err());
        assert_eq!(found(device.path()), "", "{container:?}");

        // And the same once more, as it should be.
        wrong.digests = vec![sha256(&bytes).parse().unwrap()];
        let written = image::write(&wrong, &client(), &Reporter::silent());
        assert_eq!(written.outcome.map(|reports| reports.len()).map_err(|error| error.to_string()), Ok(1));
        assert_eq!(written.state, Some(DiskState::Complete));
        assert!(device.read() == bytes);
        assert!(found(device.path()).contains(if has_table { "label: gpt" } else { "TYPE=ext4" }));
    }
}

#[test]
fn needs_root_killed_run_leaves_neither_table_nor_file_system() {
    let scratch = Scratch::new();
    let bytes: Arc<[u8]> = disk_image(&scratch, true).into();
    let device = LoopDevice::new(&scratch.path("disk"), SIZE, 512);
    device.fill(0xa5);
    let server =
        Server::start(move |seen, _| Reply::file(seen, &bytes, "\"v1\"").stall(40 << 20, Duration::from_secs(60)));
    let mut child = Command::new(env!("CARGO_BIN_EXE_bedplate"))
        .args(["write-image", &server.url("/image"), device.path().to_str().unwrap()])
        .env("no_proxy", "*")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until what comes shortly before the silence is on the disk.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while device.read()[(34 << 20) + 1] == 0xa5 {
        assert!(std::time::Instant::now() < deadline, "nothing is written");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found(device.path()), "");
    assert!(device.read()[..1 << 20].iter().all(|&byte| byte == 0));
}

#[test]
fn needs_root_old_data_do_not_show_through_zeros_and_two_disks_share_a_download() {
    for sector_size in [512, 4096] {
        let scratch = Scratch::new();
        let bytes = disk_image(&scratch, false);
        let disks = ["one", "two"].map(|name| LoopDevice::new(&scratch.path(name), SIZE + (2 << 20), sector_size));
        disks.iter().for_each(|disk| disk.fill(0xa5));
        let server = Server::serving(packed(&bytes, Container::Gzip));
        let mut job = job(&server.url("/image"), disks[0].path());
        job.targets.push(disks[1].path().to_owned());
        let reports = image::write(&job, &client(), &Reporter::silent()).outcome.unwrap();
        assert_eq!(server.seen().len(), 1);
        for (disk, report) in disks.iter().zip(&reports) {
            let now = disk.read();
            assert!(now[..bytes.len()] == bytes);
            let (behind, end) = now[bytes.len()..].split_at(1 << 20);
            assert!(behind.iter().all(|&byte| byte == 0xa5), "what lies behind the image is not touched");
            assert!(end.iter().all(|&byte| byte == 0), "but for the end, where signatures of before may lie");
            assert_eq!(report.target, disk.path().display().to_string());
            assert!(report.bytes_zeroed >= 5 << 20, "{}", report.bytes_zeroed);
        }
    }
}

#[test]
fn regular_files_stay_sparse() {
    let scratch = Scratch::new();
    let mut bytes = vec![0; 24 << 20];
    bytes[5 << 20] = 1;
    bytes[20 << 20] = 1;
    for container in [Container::Raw, Container::Zstd] {
        let target = scratch.path("target.raw");
        let server = Server::serving(packed(&bytes, container));
        image::write(&job(&server.url("/image"), &target), &client(), &Reporter::silent()).outcome.unwrap();
        assert!(std::fs::read(&target).unwrap() == bytes);
        let allocated = target.metadata().unwrap().blocks() * 512;
        assert!(allocated <= 4 << 20, "{allocated} bytes are allocated");
    }
}
