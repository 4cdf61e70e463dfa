//! Images from real, faulty servers on the loopback, written to files and devices.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::Kind;
use bedplate::image::{self, Form, TargetKind};
use bedplate::request::Container;
use bedplate::units::Bytes;
use support::http_server::{Cut, Length, Reply, Seen, Server};
use support::images::{breaking, client, failure, job, md5, pack, picture, sha256, write, written};
use support::loop_device::LoopDevice;
use support::scratch::Scratch;

#[test]
fn packed_image_is_written_proved_and_reported() {
    let (raw, packed) = (picture(), pack(&picture()));
    let server = Server::serving(packed.clone());
    let (report, bytes) = written(&server, |job| {
        job.container = Some(Container::Gzip);
        job.size = Some(Bytes::new(raw.len() as u64));
        job.container_size = Some(Bytes::new(packed.len() as u64));
        job.digests = vec![md5(&raw).parse().unwrap(), sha256(&raw).parse().unwrap()];
        job.container_digests = vec![sha256(&packed).parse().unwrap()];
    })
    .unwrap();
    assert!(bytes == raw);
    assert_eq!((report.bytes_read, report.bytes_written), (packed.len() as u64, raw.len() as u64));
    assert_eq!(report.digests, [md5(&raw), sha256(&raw)]);
    assert_eq!(report.source, server.url("/image"));
    assert!(report.proved);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn several_members_and_raw_images_are_written_and_an_old_longer_file_is_cut() {
    let raw = picture();
    let members: Vec<u8> = raw.chunks(1_000_000).flat_map(pack).collect();
    assert!(written(&Server::serving(members), |_| ()).unwrap().1 == raw);

    let scratch = Scratch::new();
    let target = scratch.path("target.img");
    std::fs::write(&target, vec![9; raw.len() + 5000]).unwrap();
    let server = Server::serving(raw.clone());
    let report = write(&job(&server.url("/image"), &target)).unwrap();
    assert!(std::fs::read(&target).unwrap() == raw);
    assert!(!report.proved);
}

#[test]
fn image_in_a_file_is_written_and_an_absent_one_named() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.path("a.img.gz"), scratch.path("target.img"));
    std::fs::write(&source, pack(&picture())).unwrap();
    let report = write(&job(&format!("file://{}", source.display()), &target)).unwrap();
    assert!(std::fs::read(&target).unwrap() == picture());
    assert_eq!(report.source, source.display().to_string());

    let error = write(&job("/nonexistent/a.img", &target)).unwrap_err();
    assert_eq!(error.kind(), Kind::Image);
    assert_eq!(
        error.to_string(),
        format!(
            "writing image to {}: reading /nonexistent/a.img: No such file or directory (os error 2)",
            target.display()
        )
    );
}

#[test]
fn broken_connections_are_resumed_where_they_broke() {
    let packed = pack(&picture());
    for length in [Length::True, Length::Chunked] {
        let cuts = vec![Cut::Reset(100_000), Cut::Close(300_001), Cut::Reset(0), Cut::Close(1)];
        let server = breaking(packed.clone(), cuts, length);
        let (_, bytes) = written(&server, |job| job.digests = vec![md5(&picture()).parse().unwrap()]).unwrap();
        assert!(bytes == picture());
        let seen = server.seen();
        assert_eq!(seen.len(), 5, "{length:?}");
        let starts: Vec<_> = seen.iter().map(Seen::range_start).collect();
        assert_eq!(starts, [None, Some(100_000), Some(400_001), Some(400_001), Some(400_002)]);
        assert!(seen[1..].iter().all(|seen| seen.header("if-range") == Some("\"v1\"")));
    }
}

#[test]
fn body_whose_end_is_not_marked_is_read_to_its_true_end() {
    let packed = pack(&picture());
    // A reset of such a body looks like its end: only a second question tells.
    let server = breaking(packed, vec![Cut::Close(50_000)], Length::Unmarked);
    let (_, bytes) = written(&server, |_| ()).unwrap();
    assert!(bytes == picture());
    assert_eq!(server.seen()[1].range_start(), Some(50_000));
}

#[test]
fn stalls_cost_only_their_time_and_a_dead_server_ends_the_patience() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let stalling = Arc::clone(&body);
    let server = Server::start(move |seen, nth| {
        let reply = Reply::file(seen, &stalling, "\"v1\"");
        if nth == 0 { reply.stall(70_000, Duration::from_secs(3)) } else { reply }
    });
    assert!(written(&server, |_| ()).unwrap().1 == picture());
    assert_eq!(server.seen()[1].range_start(), Some(70_000));

    let server = Server::start(move |seen, nth| match nth {
        0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(70_000)),
        _ => Reply::new(503, *b"busy"),
    });
    let began = Instant::now();
    let (kind, words) = failure(&server, |job| job.patience = Duration::from_secs(1));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(kind, Kind::Image);
    let total = pack(&picture()).len();
    assert_eq!(
        words,
        format!(
            "reading {}: at byte 70000 of {total}: the server answers 503 Service Unavailable (no progress for 1 s)",
            server.url("/image")
        )
    );
}

#[test]
fn server_that_ignores_ranges_is_read_again_and_compared() {
    let packed: Arc<[u8]> = pack(&picture()).into();
    let same = Arc::clone(&packed);
    // No ETag, so that nothing but the bytes themselves can tell.
    let server = Server::start(move |_, nth| {
        let reply = Reply::new(200, Arc::clone(&same));
        if nth == 0 { reply.cut(Cut::Close(200_000)) } else { reply }
    });
    assert!(written(&server, |_| ()).unwrap().1 == picture());

    let server = Server::start(move |_, nth| {
        let mut body = packed.to_vec();
        body[100_000] ^= u8::from(nth > 0);
        let reply = Reply::new(200, body);
        if nth == 0 { reply.cut(Cut::Close(200_000)) } else { reply }
    });
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    assert!(words.contains(": at byte 200000 of "), "{words}");
    assert!(words.ends_with(": the image on the server has changed: its first bytes are others now"), "{words}");
}

#[test]
fn image_that_changes_in_the_middle_is_noticed() {
    let packed: Arc<[u8]> = pack(&picture()).into();
    let total = packed.len();
    let changing = |status: u16, range: Option<String>, tag: &'static str| {
        let packed = Arc::clone(&packed);
        let server = Server::start(move |seen, nth| {
            if nth == 0 {
                return Reply::file(seen, &packed, "\"v1\"").cut(Cut::Close(100_000));
            }
            let reply = Reply::new(status, packed[100_000..].to_vec()).header("ETag", tag);
            range.iter().fold(reply, |reply, range| reply.header("Content-Range", range.clone()))
        });
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image);
        let prefix = format!("reading {}: at byte 100000 of {total}: ", server.url("/image"));
        words.strip_prefix(&prefix).unwrap_or(&words).to_owned()
    };
    let good = format!("bytes 100000-{}/{total}", total - 1);
    assert_eq!(changing(200, None, "\"v2\""), "the image on the server has changed: its ETag was \"v1\" and is \"v2\"");
    assert_eq!(
        changing(206, Some(good), "\"v2\""),
        "the image on the server has changed: its ETag was \"v1\" and is \"v2\""
    );
    assert_eq!(
        changing(206, Some(format!("bytes 99999-{}/{total}", total - 2)), "\"v1\""),
        format!("asked for the bytes from 100000, got Content-Range \"bytes 99999-{}/{total}\"", total - 2)
    );
    assert_eq!(changing(206, None, "\"v1\""), "status 206 without a usable Content-Range: \"\"");
    assert_eq!(
        changing(206, Some(format!("bytes 100000-{total}/{}", total + 1)), "\"v1\""),
        format!("the image on the server has changed: it had {total} bytes and has {}", total + 1)
    );
}

#[test]
fn wrong_lengths_and_missing_content_are_named() {
    let packed: Arc<[u8]> = pack(&picture()).into();
    let total = packed.len() as u64;
    let announcing = |length: u64| {
        let packed = Arc::clone(&packed);
        Server::start(move |seen, _| {
            let reply = Reply::file(seen, &packed, "\"v1\"");
            if reply.status == 200 { reply.length(Length::Announced(length)) } else { reply }
        })
    };
    let server = announcing(total + 5);
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    let url = server.url("/image");
    assert_eq!(
        words,
        format!(
            "reading {url}: at byte {total} of {}: the server announced {} bytes and has {total}",
            total + 5,
            total + 5
        )
    );

    let server = announcing(total - 5);
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    assert!(words.ends_with("bytes of the image: the gzip stream is truncated"), "{words}");

    let server = Server::serving(Vec::new());
    assert_eq!(failure(&server, |_| ()), (Kind::Image, format!("{}: it is empty", server.url("/image"))));

    let server = Server::start(|_, _| Reply::new(404, *b"nothing here"));
    assert_eq!(
        failure(&server, |_| ()),
        (Kind::Image, format!("reading {}: the server answers 404 Not Found", server.url("/image")))
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn html_page_with_status_200_is_no_image() {
    let server = Server::start(|_, _| Reply::new(200, *b"<!DOCTYPE html><title>Login</title>"));
    let url = server.url("/image");
    assert_eq!(
        failure(&server, |job| job.container = Some(Container::Gzip)),
        (Kind::Image, format!("{url}: expected gzip, found an HTML page"))
    );
    assert_eq!(
        failure(&server, |_| ()),
        (Kind::Image, format!("{url}: it is an HTML page, which cannot be written as an image"))
    );
    let packed = Server::serving(pack(b"image"));
    assert_eq!(
        failure(&packed, |job| job.container = Some(Container::Raw)),
        (Kind::Image, format!("{}: expected a raw image, found gzip", packed.url("/image")))
    );
}

#[test]
fn cut_and_padded_archives_and_wrong_digests_are_errors() {
    let (raw, packed) = (picture(), pack(&picture()));
    let server = Server::serving(packed[..packed.len() / 2].to_vec());
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    assert!(words.starts_with(&format!("unpacking {}: after ", server.url("/image"))), "{words}");
    assert!(words.ends_with(" bytes of the image: the gzip stream is truncated"), "{words}");

    let server = Server::serving([&packed[..], &[0; 512]].concat());
    let (kind, words) = failure(&server, |_| ());
    assert_eq!(kind, Kind::Image);
    assert!(words.ends_with(": garbage follows the end of the gzip stream"), "{words}");

    let server = Server::serving(packed.clone());
    let url = server.url("/image");
    let wrong = |of: &[u8]| md5(of);
    assert_eq!(
        failure(&server, |job| job.digests = vec![wrong(b"x").parse().unwrap()]),
        (Kind::Image, format!("{url}: digest of the image is {}, expected {}", md5(&raw), md5(b"x")))
    );
    assert_eq!(
        failure(&server, |job| job.container_digests = vec![wrong(b"x").parse().unwrap()]),
        (Kind::Image, format!("{url}: digest of the file is {}, expected {}", md5(&packed), md5(b"x")))
    );
}

#[test]
fn wrong_size_is_told_before_the_target_is_touched_where_it_can_be() {
    let raw = picture();
    let (length, packed) = (raw.len(), pack(&raw));
    let scratch = Scratch::new();
    let target = scratch.path("target.img");
    std::fs::write(&target, b"as it was").unwrap();
    let server = Server::serving(raw);
    let mut early = job(&server.url("/image"), &target);
    early.size = Some(Bytes::new(3_200_000));
    let error = write(&early).unwrap_err();
    assert_eq!(error.kind(), Kind::Image);
    assert!(
        error.to_string().ends_with(&format!("/image: the image has {length} bytes and should have 3200000")),
        "{error}"
    );
    assert_eq!(std::fs::read(&target).unwrap(), b"as it was");

    let server = Server::serving(packed.clone());
    let url = server.url("/image");
    assert_eq!(
        failure(&server, |job| job.size = Some(Bytes::new(3_000_000))),
        (Kind::Image, format!("{url}: the image is longer than the 3000000 bytes that it should have"))
    );
    assert_eq!(
        failure(&server, |job| job.size = Some(Bytes::new(4_000_000))),
        (Kind::Image, format!("{url}: the image has {length} bytes and should have 4000000"))
    );
    assert_eq!(
        failure(&server, |job| job.container_size = Some(Bytes::new(7))),
        (Kind::Image, format!("{url}: the file has {} bytes and should have 7", packed.len()))
    );
}

#[test]
fn a_signal_stops_a_run_that_waits_for_a_silent_server() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let server = Server::start(move |seen, _| Reply::file(seen, &body, "\"v1\"").stall(1000, Duration::from_secs(30)));
    let began = Instant::now();
    let (kind, words) = failure(&server, |job| {
        let cancel = job.cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
    });
    assert_eq!((kind, words.as_str()), (Kind::Terminated, "ended by SIGTERM"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn credentials_in_an_address_are_used_and_shown_nowhere() {
    let server = Server::start(|_, _| Reply::new(403, *b"no"));
    let scratch = Scratch::new();
    let url = server.url("/image?sig=s3cret").replace("http://", "http://user:hunter2@");
    let job = job(&url, &scratch.path("target.img"));
    let error = write(&job).unwrap_err();
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
    assert_eq!(server.seen()[0].path, "/image?sig=s3cret");
    let shown = format!("{error} {error:?} {job:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn probe_tells_length_and_form_and_refuses_what_is_absent() {
    let packed = pack(&picture());
    let server = Server::serving(packed.clone());
    let probed = |server: &Server| image::probe(&job(&server.url("/image"), Path::new("/nonexistent")), &client());
    let probe = probed(&server).unwrap();
    assert_eq!((probe.length, &probe.form, probe.image_size), (Some(packed.len() as u64), &Form::Gzip, None));
    let check = |container, size: Option<u64>| {
        let mut job = job(&server.url("/image"), Path::new("/nonexistent"));
        (job.container, job.container_size) = (container, size.map(Bytes::new));
        probe.check(&job, None)
    };
    check(Some(Container::Gzip), Some(packed.len() as u64)).unwrap();
    assert_eq!(check(Some(Container::Raw), None).unwrap_err().to_string(), "expected a raw image, found gzip");
    assert_eq!(
        check(None, Some(5)).unwrap_err().to_string(),
        format!("the file has {} bytes and should have 5", packed.len())
    );
    for (status, body) in [(404, &b"no"[..]), (200, b"")] {
        let server = Server::start(move |_, _| Reply::new(status, body.to_vec()));
        let error = probed(&server).unwrap_err();
        assert_eq!(error.kind(), Kind::Image, "{error}");
    }
}

#[test]
fn a_file_or_a_mistyped_device_is_not_written_where_a_device_is_expected() {
    let scratch = Scratch::new();
    let file = scratch.path("target.img");
    std::fs::write(&file, b"as it was").unwrap();
    let server = Server::serving(picture());
    let mut to_file = job(&server.url("/image"), &file);
    to_file.target_kind = TargetKind::Device;
    let error = write(&to_file).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert!(error.to_string().ends_with(": not a block device"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"as it was");

    let error = write(&job(&server.url("/image"), Path::new("/dev/no-such-disk"))).unwrap_err();
    assert_eq!(error.kind(), Kind::Hardware);
    assert!(!Path::new("/dev/no-such-disk").exists());
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn needs_root_device_is_written_to_its_last_byte_and_beyond_is_refused() {
    let raw = picture();
    let size = 3_200_512; // the next whole sector
    for sector_size in [512, 4096] {
        let scratch = Scratch::new();
        let size = if sector_size == 512 { size } else { 3_203_072 };
        let device = LoopDevice::new(&scratch.path("disk.img"), size, sector_size);
        device.fill(0xa5);
        let server = Server::serving(pack(&raw));
        let mut to_device = job(&server.url("/image"), device.path());
        to_device.target_kind = TargetKind::Device;
        to_device.digests = vec![sha256(&raw).parse().unwrap()];
        write(&to_device).unwrap();
        let bytes = device.read();
        assert!(bytes[..raw.len()] == raw);
        assert!(bytes[raw.len()..].iter().all(|&byte| byte == 0), "the end of the device may hold old signatures");
    }
    let scratch = Scratch::new();
    let device = LoopDevice::new(&scratch.path("small.img"), 2 << 20, 512);
    let name = device.path().display().to_string();
    let refused = |body: Vec<u8>, size: Option<u64>| {
        let server = Server::serving(body);
        let mut job = job(&server.url("/image"), device.path());
        job.size = size.map(Bytes::new);
        let error = write(&job).unwrap_err();
        assert_eq!(error.kind(), Kind::Image);
        error.to_string().replace(&server.url("/image"), "URL")
    };
    let length = raw.len() as u64;
    let prefix = format!("writing image to {name}: ");
    device.fill(0xa5);
    let known = format!("the image has {length} bytes, {name} holds 2097152");
    assert_eq!(refused(raw.clone(), None), format!("{prefix}URL: {known}"));
    assert_eq!(refused(pack(&raw), Some(length)), format!("{prefix}{known}"));
    assert!(device.read().iter().all(|&byte| byte == 0xa5), "a device was touched that was known to be too small");
    assert_eq!(
        refused(pack(&raw), None),
        format!("{prefix}URL: the image has at least 3145728 bytes, {name} holds 2097152")
    );
}

#[test]
fn needs_root_bytes_are_written_and_compared() {
    let scratch = Scratch::new();
    let device = LoopDevice::new(&scratch.path("drive.img"), 4 << 20, 512);
    device.fill(0xa5);
    let bytes = picture();
    image::write_bytes(&bytes, device.path(), TargetKind::Device).unwrap();
    assert!(device.read()[..bytes.len()] == bytes);
    let error = image::write_bytes(&vec![1; (4 << 20) + 1], device.path(), TargetKind::Device).unwrap_err();
    assert_eq!(error.kind(), Kind::Image);
    assert_eq!(
        error.to_string(),
        format!("writing 4194305 bytes to {}: the target holds 4194304 bytes", device.path().display())
    );
}

#[test]
fn needs_root_device_in_use_is_refused() {
    let scratch = Scratch::new();
    let device = LoopDevice::new(&scratch.path("held.img"), 4 << 20, 512);
    let _holder = bedplate::sys::block::open_exclusive(device.path()).unwrap();
    let server = Server::serving(picture());
    let error = write(&job(&server.url("/image"), device.path())).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("it is in use"), "{error}");
}
