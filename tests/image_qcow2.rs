//! qcow2 images of the real `qemu-img` from servers on the loopback, written to files.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::Kind;
use bedplate::request::Container;
use bedplate::units::Bytes;
use support::http_server::{Cut, Length, Reply, Server};
use support::images::{breaking, failure, md5, picture, sha256, written};
use support::scratch::Scratch;

/// The picture with a hole of 6 MiB behind it, and its end.
fn raw() -> Vec<u8> {
    let mut raw = picture();
    raw.resize((raw.len() + (6 << 20)).next_multiple_of(512), 0);
    raw.extend([7; 512]);
    raw
}

fn qcow2(raw: &[u8], options: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    let (from, to) = (scratch.path("raw"), scratch.path("image"));
    std::fs::write(&from, raw).unwrap();
    let paths = [&from, &to].map(|path: &_| AsRef::<Path>::as_ref(path).to_owned());
    let status =
        Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).args(paths).status();
    assert!(status.expect("qemu-img: is qemu-utils installed?").success());
    std::fs::read(&to).unwrap()
}

const KINDS: [&[&str]; 4] =
    [&[], &["-c"], &["-c", "-o", "compression_type=zstd"], &["-o", "compat=0.10,cluster_size=512"]];

#[test]
fn every_kind_is_written_proved_and_resumed_where_its_connection_broke() {
    let raw = raw();
    for kind in KINDS {
        let published = qcow2(&raw, kind);
        let cuts = vec![Cut::Reset(100_000), Cut::Close(300_001), Cut::Reset(0)];
        let server = breaking(published.clone(), cuts, Length::True);
        let (report, bytes) = written(&server, |job| {
            job.container = Some(Container::Qcow2);
            job.container_size = Some(Bytes::new(published.len() as u64));
            job.size = Some(Bytes::new(raw.len() as u64));
            job.digests = vec![md5(&raw).parse().unwrap()];
            job.container_digests = vec![sha256(&published).parse().unwrap()];
        })
        .unwrap();
        assert!(bytes == raw, "{kind:?}");
        assert_eq!(report.bytes_written, raw.len() as u64, "{kind:?}");
        // All of it for the digest, the tables once more.
        assert!(report.bytes_read > published.len() as u64, "{kind:?}: {}", report.bytes_read);
        assert!(report.proved);
    }
}

#[test]
fn without_a_digest_of_the_file_only_what_is_needed_is_read_and_counted() {
    let raw = raw();
    let mut published = qcow2(&raw, KINDS[2]);
    let needed = published.len() as u64;
    // What a snapshot of before left behind.
    published.resize(published.len() + (8 << 20), 9);
    let (report, bytes) = written(&Server::serving(published), |_| ()).unwrap();
    assert!(bytes == raw);
    // Gaps of up to 1 MiB are read over.
    let range = needed / 2..needed + (2 << 20);
    assert!(range.contains(&report.bytes_read), "{range:?}: {}", report.bytes_read);
}

#[test]
fn it_is_known_by_its_first_bytes_and_never_written_as_it_is() {
    let raw = raw();
    let published = qcow2(&raw, KINDS[2]);
    assert!(written(&Server::serving(published.clone()), |_| ()).unwrap().1 == raw);
    let (kind, words) = failure(&Server::serving(published), |job| job.container = Some(Container::Raw));
    assert_eq!(kind, Kind::Image);
    assert!(words.ends_with(": expected a raw image, found qcow2"), "{words}");
}

#[test]
fn a_wrong_digest_of_the_file_is_told() {
    let published = qcow2(&raw(), KINDS[1]);
    let server = Server::serving(published.clone());
    let wrong = sha256(b"another");
    let (kind, words) = failure(&server, |job| job.container_digests = vec![wrong.parse().unwrap()]);
    assert_eq!(kind, Kind::Image);
    let expected = format!("{}: digest of the file is {}, expected {wrong}", server.url("/image"), sha256(&published));
    assert_eq!(words, expected);
}

#[test]
fn faults_name_the_server_and_the_byte() {
    let published = qcow2(&raw(), KINDS[1]);
    let serve = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = published.clone();
        change(&mut changed);
        let server = Server::serving(changed);
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image, "{words}");
        words.replace(&server.url("/image"), "URL")
    };
    assert_eq!(
        serve(&|image| image[32..36].fill(2)),
        "URL: reading qcow2: at byte 32: it is encrypted by the unknown method 33686018"
    );
    let words = serve(&|image| image.truncate(150_000));
    assert!(words.contains("reading qcow2: at byte ") && words.contains("of the file, 150000"), "{words}");
}

#[test]
fn a_server_that_does_not_know_ranges_is_told() {
    let published = qcow2(&raw(), KINDS[1]);
    let server = Server::start(move |_, _| Reply::new(200, published.clone()));
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    assert!(
        words.contains("images of this form are read in parts, and the server sends only the whole file"),
        "{words}"
    );
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let published: Arc<[u8]> = qcow2(&raw(), KINDS[1]).into();
    let server = Server::start(move |seen, _| {
        let reply = Reply::file(seen, &published, "\"v1\"");
        // The first bytes come, so that it is known what it is.
        if seen.range_start().is_some() { reply.trickle(Duration::from_millis(100)) } else { reply }
    });
    let began = Instant::now();
    let (kind, words) = failure(&server, |job| job.patience = Duration::from_secs(1));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(kind, Kind::Image);
    assert!(words.contains(": the server sends too slowly: ") && words.ends_with(" bytes in 1 s"), "{words}");
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_told() {
    let published: Arc<[u8]> = qcow2(&raw(), KINDS[1]).into();
    for changes_at in 2..6 {
        let body = Arc::clone(&published);
        let server = Server::start(move |seen, nth| {
            let tag = if nth < changes_at { "\"v1\"" } else { "\"v2\"" };
            let reply = Reply::file(seen, &body, tag);
            // Every connection breaks, so that each has to be asked for again.
            if seen.range_start().is_some() { reply.cut(Cut::Close(100_000)) } else { reply }
        });
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image);
        assert!(
            words.ends_with(": the image on the server has changed: its ETag was \"v1\" and is \"v2\""),
            "{changes_at}: {words}"
        );
    }
}

#[test]
fn a_file_without_a_tag_is_known_by_its_date_and_its_length() {
    let published: Arc<[u8]> = qcow2(&raw(), KINDS[1]).into();
    let total = published.len();
    let changing = |date: &'static str, length: usize| {
        let body = Arc::clone(&published);
        // The first look, the data, and then the tables, which another edition of the file has.
        let server = Server::start(move |seen, nth| {
            let body =
                if nth < 2 { Arc::clone(&body) } else { [&body[..], &vec![0; length - body.len()]].concat().into() };
            let mut reply = Reply::file(seen, &body, "");
            reply.headers.retain(|(name, _)| name != "ETag");
            reply.header("Last-Modified", if nth < 2 { "Sat, 01 Feb 2025 10:00:00 GMT" } else { date })
        });
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image);
        words.replace(&server.url("/image"), "URL")
    };
    assert_eq!(
        changing("Sun, 02 Feb 2025 10:00:00 GMT", total),
        "URL: reading URL: the image on the server has changed: it was last modified Sat, 01 Feb 2025 10:00:00 GMT \
         and is Sun, 02 Feb 2025 10:00:00 GMT"
    );
    assert_eq!(
        changing("Sat, 01 Feb 2025 10:00:00 GMT", total + 512),
        format!("URL: reading URL: the image on the server has changed: it had {total} bytes and has {}", total + 512)
    );
}
