//! Every fault of a server meets every form of an image: each ends in a target that is proved, or in an error that names
//! the place and the cause.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::Kind;
use bedplate::request::Container;
use support::http_server::{Cut, Length, Reply, Server};
use support::images::{breaking, failure, packed, picture, sha256, written};

/// What is read from its start to its end. qcow2 is not: `image_qcow2.rs` has its faults.
const STREAMS: [Container; 6] =
    [Container::Gzip, Container::Raw, Container::Zstd, Container::Xz, Container::Bzip2, Container::Lz4];

/// The published file of each form.
fn forms() -> Vec<(Container, Arc<[u8]>)> {
    STREAMS.into_iter().map(|form| (form, packed(&picture(), form).into())).collect()
}

fn is_proved(server: &Server, form: Container) {
    let (report, bytes) = written(server, |job| {
        job.container = Some(form);
        job.digests = vec![sha256(&picture()).parse().unwrap()];
    })
    .unwrap();
    assert!(bytes == picture() && report.proved, "{form:?}");
}

/// The error of a server, its address taken out.
fn refused(server: &Server, form: Container) -> String {
    let (kind, words) = failure(server, |job| {
        job.container = Some(form);
        job.digests = vec![sha256(&picture()).parse().unwrap()];
        job.patience = Duration::from_secs(1);
    });
    assert_eq!(kind, Kind::Image, "{form:?}: {words}");
    words.replace(&server.url("/image"), "URL")
}

#[test]
fn resets_at_any_byte_are_survived_by_every_form() {
    let mut state = 7_u64;
    for (form, body) in forms() {
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let cuts = vec![Cut::Reset(random(100)), Cut::Close(random(200_000)), Cut::Reset(random(200_000))];
        is_proved(&breaking(body.to_vec(), cuts, Length::True), form);
    }
}

#[test]
fn ignored_ranges_are_survived_by_every_form() {
    for (form, body) in forms() {
        is_proved(
            &Server::start(move |_, nth| {
                let reply = Reply::new(200, Arc::clone(&body));
                if nth == 0 { reply.cut(Cut::Close(100_000)) } else { reply }
            }),
            form,
        );
    }
}

#[test]
fn a_byte_now_and_then_is_no_progress_for_any_form() {
    for (form, body) in forms() {
        let total = body.len();
        let server = Server::start(move |seen, _| {
            let reply = Reply::file(seen, &body, "\"v1\"");
            // The first bytes come, so that it is known what it is.
            if seen.range_start().is_none() {
                reply.cut(Cut::Close(100_000))
            } else {
                reply.trickle(Duration::from_millis(100))
            }
        });
        let began = Instant::now();
        let words = refused(&server, form);
        assert!(began.elapsed() < Duration::from_secs(20), "{form:?}");
        let front = "reading URL: at byte 1000";
        assert!(words.starts_with(front) && words.contains(&format!(" of {total}: ")), "{form:?}: {words}");
        assert!(
            words.contains("the server sends too slowly: ") && words.ends_with(" bytes in 1 s"),
            "{form:?}: {words}"
        );
    }
}

#[test]
fn wrong_lengths_are_named_for_every_form() {
    for (form, body) in forms() {
        let total = body.len();
        let server = Server::start(move |seen, _| {
            let reply = Reply::file(seen, &body, "\"v1\"");
            if reply.status == 200 { reply.length(Length::Announced(total as u64 + 5)) } else { reply }
        });
        let announced = total + 5;
        assert_eq!(
            refused(&server, form),
            format!(
                "reading URL: at byte {total} of {announced}: the server announced {announced} bytes and has {total}"
            ),
            "{form:?}"
        );
    }
}

#[test]
fn a_tag_that_changes_in_the_middle_is_named_for_every_form() {
    for (form, body) in forms() {
        let total = body.len();
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(100_000)),
            _ => Reply::file(seen, &body, "\"v2\""),
        });
        assert_eq!(
            refused(&server, form),
            format!(
                "reading URL: at byte 100000 of {total}: the image on the server has changed: its ETag was \"v1\" and is \"v2\""
            ),
            "{form:?}"
        );
    }
}

#[test]
fn what_is_no_image_is_named_for_every_form() {
    for form in STREAMS {
        let twice = Server::serving(packed(&packed(&picture(), Container::Gzip), form));
        let words = refused(&twice, form);
        let expected = match form {
            Container::Raw => "URL: expected a raw image, found gzip",
            _ => "expected an image, found gzip inside",
        };
        assert!(words.ends_with(expected), "{form:?}: {words}");
        assert_eq!(refused(&Server::serving(Vec::new()), form), "URL: it is empty", "{form:?}");
        let page = Server::start(|_, _| Reply::new(200, *b"<!DOCTYPE html><title>Login</title>"));
        let words = refused(&page, form);
        assert!(words.starts_with("URL: ") && words.contains("an HTML page"), "{form:?}: {words}");
        let circle = Server::start(|_, _| Reply::redirect(302, "/image"));
        assert_eq!(refused(&circle, form), "reading URL: redirected in a loop, back to URL", "{form:?}");
    }
}
