//! Every packed form from real, faulty servers on the loopback, written to files.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::sync::Arc;

use bedplate::error::Kind;
use bedplate::image::{self, Form};
use bedplate::request::Container;
use bedplate::units::Bytes;
use support::http_server::{Cut, Length, Reply, Seen, Server};
use support::images::{breaking, client, failure, job, md5, packed, picture, sha256, write, written};
use support::scratch::Scratch;

const PACKED: [Container; 5] = [Container::Gzip, Container::Zstd, Container::Xz, Container::Bzip2, Container::Lz4];

#[test]
fn every_form_is_written_proved_and_resumed_where_its_connection_broke() {
    let raw = picture();
    for form in PACKED {
        let published: Vec<u8> = raw.chunks(1_100_000).flat_map(|chunk| packed(chunk, form)).collect();
        let cuts = vec![Cut::Reset(100_000), Cut::Close(300_001), Cut::Reset(0)];
        let server = breaking(published.clone(), cuts, Length::True);
        let (report, bytes) = written(&server, |job| {
            job.container = Some(form);
            job.digests = vec![md5(&raw).parse().unwrap()];
            job.container_digests = vec![sha256(&published).parse().unwrap()];
        })
        .unwrap();
        assert!(bytes == raw, "{form:?}");
        assert_eq!((report.bytes_read, report.bytes_written), (published.len() as u64, raw.len() as u64), "{form:?}");
        let starts: Vec<_> = server.seen().iter().map(Seen::range_start).collect();
        assert_eq!(starts, [None, Some(100_000), Some(400_001), Some(400_001)], "{form:?}");
    }
}

#[test]
fn every_form_is_known_by_its_first_bytes_alone() {
    for form in PACKED {
        assert!(written(&Server::serving(packed(&picture(), form)), |_| ()).unwrap().1 == picture(), "{form:?}");
    }
}

#[test]
fn a_truncated_or_padded_body_is_told_with_how_far_it_came() {
    for form in PACKED {
        let (name, whole) = (form.as_str(), packed(&picture(), form));
        let server = Server::serving(whole[..whole.len() - 1000].to_vec());
        let (kind, words) = failure(&server, |job| job.container = Some(form));
        assert_eq!(kind, Kind::Image);
        let before = format!("unpacking {}: after ", server.url("/image"));
        let reached = words
            .strip_prefix(&before)
            .and_then(|rest| rest.strip_suffix(&format!(" bytes of the image: the {name} stream is truncated")));
        let reached: usize = reached.unwrap_or_else(|| panic!("{words}")).parse().unwrap();
        assert!(reached > 2_000_000 && reached <= picture().len(), "{name}: {reached}");

        let server = Server::serving([&whole[..], b"</html>"].concat());
        let (kind, words) = failure(&server, |job| job.container = Some(form));
        assert_eq!(kind, Kind::Image);
        let expected = format!(
            "unpacking {}: after {} bytes of the image: garbage follows the end of the {name} stream",
            server.url("/image"),
            picture().len()
        );
        assert_eq!(words, expected);
    }
}

#[test]
fn a_spoiled_byte_and_a_wrong_length_are_told() {
    for form in PACKED {
        let whole = packed(&picture(), form);
        let mut spoiled = whole.clone();
        spoiled[whole.len() / 2] ^= 0x10;
        let (kind, words) = failure(&Server::serving(spoiled), |_| ());
        assert_eq!(kind, Kind::Image);
        let expected = format!(" bytes of the image: the {} stream is corrupt: ", form.as_str());
        assert!(words.contains(&expected), "{words}");

        let server = Server::serving(whole);
        let (kind, words) = failure(&server, |job| job.size = Some(Bytes::new(3_000_000)));
        assert_eq!(kind, Kind::Image);
        let expected = "the image is longer than the 3000000 bytes that it should have";
        assert_eq!(words, format!("{}: {expected}", server.url("/image")));
    }
}

#[test]
fn another_form_and_a_page_are_refused_before_the_target_is_touched() {
    let scratch = Scratch::new();
    let target = scratch.path("target.img");
    std::fs::write(&target, b"as it was").unwrap();
    let refused = |server: &Server, container: Option<Container>| {
        let mut job = job(&server.url("/image"), &target);
        job.container = container;
        let error = write(&job).unwrap_err();
        let probed = image::probe(&job, &client()).and_then(|probe| probe.check(&job, None)).unwrap_err();
        assert_eq!((error.kind(), probed.kind()), (Kind::Image, Kind::Image));
        assert_eq!(std::fs::read(&target).unwrap(), b"as it was");
        let (written, probed) = (error.to_string(), probed.to_string());
        assert_eq!(written, format!("writing image to {}: {}: {probed}", target.display(), server.url("/image")));
        probed
    };
    let page = Server::start(|_, _| Reply::new(200, *b"<!DOCTYPE html><title>Login</title>"));
    for form in PACKED {
        let name = form.as_str();
        assert_eq!(refused(&page, Some(form)), format!("expected {name}, found an HTML page"));
        let server = Server::serving(packed(&picture(), form));
        assert_eq!(refused(&server, Some(Container::Raw)), format!("expected a raw image, found {name}"));
        let other = PACKED.into_iter().find(|other| *other != form).unwrap();
        assert_eq!(refused(&server, Some(other)), format!("expected {}, found {name}", other.as_str()));
        let nested = Server::serving(packed(&packed(b"image", Container::Gzip), form));
        assert_eq!(refused(&nested, Some(form)), "expected an image, found gzip inside");
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    std::io::Write::write_all(&mut encoder, &picture()).unwrap();
    let long = Server::serving(encoder.finish().unwrap());
    assert_eq!(
        refused(&long, None),
        "the zstd stream needs a window of 1024 MiB, 128 MiB are allowed: --max-window 1024 allows it"
    );
    let (_, bytes) = written(&long, |job| job.max_window = "1024".parse().unwrap()).unwrap();
    assert!(bytes == picture());
}

#[test]
fn an_image_that_changes_on_the_server_is_noticed_in_every_form() {
    for form in PACKED {
        let body: Arc<[u8]> = packed(&picture(), form).into();
        let changed: Arc<[u8]> = packed(&picture()[1..], form).into();
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(100_000)),
            _ => Reply::file(seen, &changed, "\"v2\""),
        });
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image);
        let expected = "the image on the server has changed: its ETag was \"v1\" and is \"v2\"";
        assert!(words.ends_with(expected), "{form:?}: {words}");
    }
}

#[test]
fn an_empty_image_is_an_error_in_every_form() {
    for form in PACKED {
        let server = Server::serving(packed(b"", form));
        assert_eq!(failure(&server, |_| ()), (Kind::Image, format!("{}: the image is empty", server.url("/image"))));
    }
    let empty = Server::serving(Vec::new());
    let nowhere = job(&empty.url("/image"), std::path::Path::new("/nonexistent"));
    let form = image::probe(&nowhere, &client()).unwrap_err();
    assert_eq!(form.to_string(), format!("reading {}: it is empty", empty.url("/image")));
    assert_eq!(Form::of(b""), Form::Empty);
}
