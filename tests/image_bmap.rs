//! Images with block maps of the real `bmaptool` from servers on the loopback.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bedplate::error::{Error, Kind};
use bedplate::image::{Job, TargetKind};
use bedplate::report::ImageReport;
use bedplate::request::Container;
use bedplate::units::Bytes;
use support::http_server::{Cut, Reply, Server};
use support::images::{job, packed, picture, sha256, write};
use support::loop_device::LoopDevice;
use support::scratch::Scratch;

const MIB: u64 = 1 << 20;

/// A sparse image: where its data begin, and how many bytes.
const DATA: [(u64, usize); 4] = [(0, 100_000), (2 * MIB + 4096, 8192), (6 * MIB, 3 << 19), (12 * MIB, 1024)];

/// What was published: an image whose unmapped blocks are not zero, so that it shows who reads them; its map; and the image
/// as it must arrive.
struct Published {
    map: String,
    image: Vec<u8>,
    arrives: Vec<u8>,
    /// Start and end of what is mapped.
    ranges: Vec<(u64, u64)>,
}

fn published(options: &[&str]) -> Published {
    let scratch = Scratch::new();
    let (from, to) = (scratch.path("sparse"), scratch.path("map"));
    let file = std::fs::File::create(&from).unwrap();
    let noise = picture();
    for (start, length) in DATA {
        file.write_all_at(&noise[..length], start).unwrap();
    }
    file.sync_all().unwrap();
    let status = Command::new("bmaptool").args(["create", "-o"]).arg(&to).args(options).arg(&from).status();
    assert!(status.expect("bmaptool: is it installed?").success());
    let map = std::fs::read_to_string(&to).unwrap();
    let arrives = std::fs::read(&from).unwrap();
    let size = arrives.len() as u64;
    let range = |line: &str| {
        let (_, blocks) = line.split_once('>')?;
        let blocks = blocks.split('<').next()?.trim();
        let (first, last) = blocks.split_once('-').unwrap_or((blocks, blocks));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        Some((first * 4096, ((last + 1) * 4096).min(size)))
    };
    let ranges: Vec<_> = map.lines().filter(|line| line.trim().starts_with("<Range")).filter_map(range).collect();
    let mut image = vec![0xEE; arrives.len()];
    for &(start, end) in &ranges {
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        image[range.clone()].copy_from_slice(&arrives[range]);
    }
    Published { map, image, arrives, ranges }
}

/// Serves the image, and the map beside it.
fn server(published: &Published, image: Vec<u8>, cuts: Vec<Cut>) -> Server {
    let (map, image): (Arc<[u8]>, Arc<[u8]>) = (published.map.as_bytes().into(), image.into());
    Server::start(move |seen, nth| match seen.path.as_str() {
        "/map" => Reply::file(seen, &map, "\"m\""),
        _ => {
            let reply = Reply::file(seen, &image, "\"v1\"");
            cuts.get(nth).map_or_else(|| reply.clone(), |&cut| reply.clone().cut(cut))
        }
    })
}

/// Writes the server's image by its map over a file of other bytes; what is there then, whatever came of it.
fn written(server: &Server, adjust: impl FnOnce(&mut Job)) -> (Result<ImageReport, Error>, Vec<u8>) {
    let scratch = Scratch::new();
    let target = scratch.path("target.img");
    std::fs::write(&target, vec![0xAA; 1 << 20]).unwrap();
    let mut job = job(&server.url("/image"), target.as_ref());
    job.bmap = Some(server.url("/map").parse().unwrap());
    adjust(&mut job);
    (write(&job), std::fs::read(&target).unwrap())
}

fn failure(server: &Server, adjust: impl FnOnce(&mut Job)) -> (Kind, String, Vec<u8>) {
    let (outcome, left) = written(server, adjust);
    let error = outcome.unwrap_err();
    let words = error.to_string();
    let (front, rest) = words.split_once("target.img: ").unwrap();
    assert!(front.starts_with("writing image to /"), "{words}");
    (error.kind(), rest.replace(&server.url(""), "URL"), left)
}

fn starts(server: &Server) -> Vec<Option<u64>> {
    server.seen().iter().filter(|seen| seen.path == "/image").map(|seen| seen.range_start()).collect()
}

#[test]
fn of_a_raw_image_only_what_is_mapped_is_asked_for() {
    let published = published(&[]);
    let server = server(&published, published.image.clone(), Vec::new());
    let (report, bytes) = written(&server, |job| {
        job.size = Some(Bytes::new(published.image.len() as u64));
        job.container_size = job.size;
        job.digests = vec![sha256(&published.arrives).parse().unwrap()];
    });
    let report = report.unwrap();
    assert!(bytes == published.arrives);
    let mapped: u64 = published.ranges.iter().map(|(start, end)| end - start).sum();
    assert_eq!((report.bytes_read, report.bytes_written), (mapped, bytes.len() as u64));
    // One look at the first bytes, then each range: all gaps are too long to be read over.
    let mut expected = vec![None];
    expected.extend(published.ranges.iter().map(|&(start, _)| Some(start)));
    assert_eq!(starts(&server), expected);
}

#[test]
fn digests_of_all_ranges_are_proof_and_connections_are_taken_up_again() {
    let published = published(&[]);
    // The map, a look at the image, then the ranges.
    let cuts = vec![Cut::No, Cut::No, Cut::Reset(50_000), Cut::Close(1)];
    let server = server(&published, published.image.clone(), cuts);
    let (report, bytes) = written(&server, |_| ());
    assert!(bytes == published.arrives);
    assert!(report.unwrap().proved);

    let without = self::published(&["--no-checksum"]);
    let server = self::server(&without, without.image.clone(), Vec::new());
    let (report, bytes) = written(&server, |_| ());
    assert!(bytes == without.arrives);
    assert!(!report.unwrap().proved);
}

#[test]
fn packed_images_arrive_with_zeros_where_nothing_is_mapped() {
    let published = published(&[]);
    for container in [Container::Gzip, Container::Zstd, Container::Xz] {
        let file = packed(&published.image, container);
        let server = server(&published, file.clone(), Vec::new());
        let (report, bytes) = written(&server, |job| {
            job.container = Some(container);
            job.digests = vec![sha256(&published.arrives).parse().unwrap()];
            job.container_digests = vec![sha256(&file).parse().unwrap()];
        });
        let report = report.unwrap();
        assert!(bytes == published.arrives, "{container:?}");
        assert_eq!((report.bytes_read, report.proved), (file.len() as u64, true));
    }
}

#[test]
fn a_range_with_other_bytes_is_named_and_leaves_nothing_that_starts() {
    let published = published(&[]);
    let (start, end) = published.ranges[2];
    let at = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
    let mut changed = published.image.clone();
    changed[at.start + 70_000] ^= 1;
    let (found, expected) = (sha256(&changed[at.clone()]), sha256(&published.arrives[at]));
    for container in [Container::Raw, Container::Gzip, Container::Zstd] {
        let server = server(&published, packed(&changed, container), Vec::new());
        let (kind, words, left) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image);
        assert_eq!(
            words,
            format!("URL/image: digest of bytes {start} to {end} of the image is {found}, expected {expected}")
        );
        assert!(left.is_empty());
    }
}

#[test]
fn a_whole_raw_file_is_read_where_parts_are_not_sent_or_its_digest_is_expected() {
    let published = published(&[]);
    let (map, image): (Arc<[u8]>, Arc<[u8]>) = (published.map.as_bytes().into(), published.image.clone().into());
    let whole = Server::start(move |seen, _| {
        Reply::new(200, if seen.path == "/map" { Arc::clone(&map) } else { Arc::clone(&image) })
    });
    let (report, bytes) = written(&whole, |_| ());
    assert!(bytes == published.arrives);
    assert_eq!(report.unwrap().bytes_read, published.image.len() as u64);

    let server = server(&published, published.image.clone(), Vec::new());
    let (report, bytes) =
        written(&server, |job| job.container_digests = vec![sha256(&published.image).parse().unwrap()]);
    assert!(bytes == published.arrives);
    assert_eq!(report.unwrap().bytes_read, published.image.len() as u64);
    let wrong = sha256(b"another");
    let (_, words, left) = failure(&server, |job| job.container_digests = vec![wrong.parse().unwrap()]);
    let found = sha256(&published.image);
    assert_eq!(words, format!("URL/image: digest of the file is {found}, expected {wrong}"));
    assert!(left.is_empty());
}

#[test]
fn what_does_not_fit_is_told_before_anything_is_written() {
    let published = published(&[]);
    let size = published.image.len();
    let untouched = |server: &Server, adjust: &dyn Fn(&mut Job)| {
        let (kind, words, left) = failure(server, adjust);
        assert_eq!(kind, Kind::Image, "{words}");
        assert!(left == vec![0xAA; 1 << 20], "{words}");
        words
    };
    let good = server(&published, published.image.clone(), Vec::new());
    assert_eq!(
        untouched(&good, &|job| job.size = Some(Bytes::new(4096))),
        format!("block map URL/map: the image has {size} bytes and should have 4096")
    );
    let longer = server(&published, [published.image.clone(), vec![0]].concat(), Vec::new());
    assert_eq!(
        untouched(&longer, &|_| ()),
        format!("URL/image: the image has {} bytes and should have {size}", size + 1)
    );
    let damaged =
        Published { map: published.map.replace("version=\"2.0\"", "version=\"2.1\""), ..self::published(&[]) };
    let words = untouched(&server(&damaged, published.image.clone(), Vec::new()), &|_| ());
    assert!(words.starts_with("block map URL/map: at ") && words.contains("BmapFileChecksum"), "{words}");
    assert!(untouched(&good, &|job| job.bmap = Some("/nonexistent/map".parse().unwrap())).contains("/nonexistent/map"));

    let scratch = Scratch::new();
    let (from, to) = (scratch.path("raw"), scratch.path("qcow2"));
    std::fs::write(&from, &published.image).unwrap();
    let paths = [&from, &to].map(|path: &_| AsRef::<Path>::as_ref(path).to_owned());
    let made = Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args(paths).status();
    assert!(made.expect("qemu-img: is qemu-utils installed?").success());
    let qcow2 = server(&published, std::fs::read(&to).unwrap(), Vec::new());
    assert_eq!(
        untouched(&qcow2, &|_| ()),
        "URL/image: a qcow2 image tells itself what holds data: it has no map of blocks (bmap)"
    );
}

#[test]
fn needs_root_old_data_of_a_device_is_gone_where_nothing_is_mapped() {
    let published = published(&[]);
    for container in [Container::Raw, Container::Zstd] {
        let scratch = Scratch::new();
        let device = LoopDevice::new(scratch.path("disk").as_ref(), 16 * MIB, 512);
        device.fill(0xAA);
        let server = server(&published, packed(&published.image, container), Vec::new());
        let mut job = job(&server.url("/image"), device.path());
        job.target_kind = TargetKind::Device;
        job.bmap = Some(server.url("/map").parse().unwrap());
        write(&job).unwrap();
        let found = device.read();
        assert!(found[..published.arrives.len()] == published.arrives, "{container:?}");
        let (behind, end) = found[published.arrives.len()..].split_at(15 * 1024 * 1024 - published.arrives.len());
        assert!(behind.iter().all(|&byte| byte == 0xAA) && end.iter().all(|&byte| byte == 0), "{container:?}");
    }
}
