//! Every fault of a server meets every form of an image: each ends in a target that is proved, or in an error that names
//! the place and the cause.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::{Error, Kind};
use bedplate::http::{Client, Proxies, Settings};
use bedplate::image::{self, Cancel, Location, beside};
use bedplate::request::Container;
use rcgen::{CertificateParams, date_time_ymd};
use support::authority::Authority;
use support::http_server::{Cut, Length, Reply, Seen, Server};
use support::images::{
    assert_too_slow, breaking, client_trusting, failure, job, packed, picture, sha256, write_with, written,
};
use support::scratch::Scratch;

/// What is read from its start to its end. qcow2 is not: what is another fault for it stands in `image_qcow2.rs`.
const STREAMS: [Container; 6] =
    [Container::Gzip, Container::Raw, Container::Zstd, Container::Xz, Container::Bzip2, Container::Lz4];

const ALL: [Container; 7] = [
    Container::Gzip,
    Container::Raw,
    Container::Zstd,
    Container::Xz,
    Container::Bzip2,
    Container::Lz4,
    Container::Qcow2,
];

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
        assert_too_slow(&words, total);
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
fn packing_inside_packing_is_named_for_every_form() {
    for form in STREAMS {
        let twice = Server::serving(packed(&packed(&picture(), Container::Gzip), form));
        let words = refused(&twice, form);
        let expected = match form {
            Container::Raw => "URL: expected a raw image, found gzip",
            _ => "expected an image, found gzip inside",
        };
        assert!(words.ends_with(expected), "{form:?}: {words}");
    }
    let gzip = Server::serving(packed(&picture(), Container::Gzip));
    assert_eq!(refused(&gzip, Container::Qcow2), "URL: expected qcow2, found gzip");
}

#[test]
fn what_is_no_image_is_named_for_every_form() {
    for form in ALL {
        assert_eq!(refused(&Server::serving(Vec::new()), form), "URL: it is empty", "{form:?}");
        let page = Server::start(|_, _| Reply::new(200, *b"<!DOCTYPE html><title>Login</title>"));
        let words = refused(&page, form);
        assert!(words.starts_with("URL: ") && words.contains("an HTML page"), "{form:?}: {words}");
        let circle = Server::start(|_, _| Reply::redirect(302, "/image"));
        assert_eq!(refused(&circle, form), "reading URL: redirected in a loop, back to URL", "{form:?}");
    }
}

#[test]
fn servers_that_cannot_be_trusted_send_nothing_of_any_form() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let page = |_: &Seen, _| Reply::new(200, *b"never sent");
    let expire = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let faults = [
        (
            authority.serving("images.example.com", |_| (), page),
            "its certificate is for another name: DnsName(\"images.example.com\")",
        ),
        (
            authority.serving("127.0.0.1", expire, page),
            "its certificate has expired: valid until 2020-01-01T00:00:00Z, the clock here says ",
        ),
        (stranger.serving("127.0.0.1", |_| (), page), "its certificate is issued by an unknown authority"),
    ];
    let client = client_trusting(vec![authority.ca_file.clone()]);
    for form in ALL {
        for (server, cause) in &faults {
            let scratch = Scratch::new();
            let mut job = job(&server.url("/image"), &scratch.path("target.img"));
            job.container = Some(form);
            let error = write_with(&client, &job).unwrap_err();
            assert_eq!(error.kind(), Kind::Image, "{form:?}: {error}");
            let words = error.to_string().replace(&server.url("/image"), "URL");
            assert!(
                words.contains(&format!("target.img: reading URL: TLS with 127.0.0.1: {cause}")),
                "{form:?}: {words}"
            );
            assert!(!scratch.path("target.img").exists(), "nothing was made");
        }
    }
}

/// Asks for the end while a server is silent that could be waited for much longer.
fn ends_soon<T: std::fmt::Debug>(act: impl FnOnce(&Client, &Location, &Cancel) -> Result<T, Error>) {
    let silent = Server::start(|_, _| Reply::new(200, *b"x").delay(Duration::from_secs(60)));
    let patient = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
    let (cancel, began) = (Cancel::default(), Instant::now());
    let asking = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        }
    });
    let error = act(&patient, &silent.url("/image").parse().unwrap(), &cancel).unwrap_err();
    asking.join().unwrap();
    assert_eq!(error.kind(), Kind::Terminated, "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_silent_server_does_not_hold_up_who_asks_to_end() {
    for form in [Container::Raw, Container::Qcow2] {
        ends_soon(|client, source, cancel| {
            let scratch = Scratch::new();
            let mut job = job(&source.to_string(), &scratch.path("target.img"));
            (job.container, job.cancel) = (Some(form), cancel.clone());
            write_with(client, &job)
        });
    }
}

#[test]
fn a_silent_server_does_not_hold_up_who_asks_to_end_a_probe() {
    ends_soon(|client, source, cancel| {
        let mut job = image::Job::new("probe", source.clone(), "/nonexistent");
        job.cancel = cancel.clone();
        image::probe(&job, client)
    });
}

#[test]
fn a_silent_server_does_not_hold_up_who_asks_to_end_reading_a_list() {
    ends_soon(|client, list, cancel| beside::read(list, client, cancel));
}
