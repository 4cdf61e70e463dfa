//! Images that several servers publish, servers that come and go, and addresses of every kind.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bedplate::error::Kind;
use bedplate::image::Job;
use support::http_server::{Cut, Length, Reply, Seen, Server};
use support::images::{failure, job, pack, picture, sha256, write, written};
use support::scratch::Scratch;

/// Lets a job know of a second server, and of a digest where one is wanted.
fn beside(server: &Server, digest: Option<String>) -> impl FnOnce(&mut Job) {
    let mirror = server.url("/copy").parse().unwrap();
    move |job| {
        job.mirrors = vec![mirror];
        job.container_digests = digest.iter().map(|digest| digest.parse().unwrap()).collect();
    }
}

/// Breaks the first connection there and answers this status ever after.
fn dying(body: &Arc<[u8]>, at: usize, status: u16) -> Server {
    let body = Arc::clone(body);
    Server::start(move |seen, nth| match nth {
        0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(at)),
        _ => Reply::new(status, *b"no"),
    })
}

fn starts(server: &Server) -> Vec<Option<u64>> {
    server.seen().iter().map(Seen::range_start).collect()
}

#[test]
fn a_server_that_does_not_have_the_image_is_left_for_the_next() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let absent = Server::start(|_, _| Reply::new(404, *b"no"));
    let second = Server::serving(Arc::clone(&body));
    assert!(written(&absent, beside(&second, None)).unwrap().1 == picture());
    assert_eq!((starts(&absent), starts(&second)), (vec![None], vec![None]));
}

#[test]
fn a_server_that_fails_for_good_is_left_where_it_stopped() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let first = dying(&body, 100_000, 410);
    // Another server may well have another tag.
    let second = Server::start({
        let body = Arc::clone(&body);
        move |seen, _| Reply::file(seen, &body, "\"other\"")
    });
    let (report, bytes) = written(&first, beside(&second, Some(sha256(&body)))).unwrap();
    assert!(bytes == picture() && report.proved);
    assert_eq!(starts(&first), [None, Some(100_000)]);
    assert_eq!(starts(&second), [Some(100_000)], "with a digest the rest is enough");
    assert_eq!(second.seen()[0].header("if-range"), None);

    let first = dying(&body, 100_000, 410);
    let second = Server::serving(Arc::clone(&body));
    assert!(written(&first, beside(&second, None)).unwrap().1 == picture());
    assert_eq!(starts(&second), [None], "without one what came before is compared");
}

#[test]
fn a_server_that_stands_still_is_left_and_asked_again_in_its_turn() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let first = Server::start({
        let body = Arc::clone(&body);
        move |seen, nth| match seen.range_start() {
            None => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(100_000)),
            Some(100_000) => Reply::new(503, *b"busy"),
            Some(_) if nth > 2 => Reply::file(seen, &body, "\"v1\""),
            Some(_) => Reply::new(503, *b"busy"),
        }
    });
    let second = Server::start({
        let body = Arc::clone(&body);
        move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(200_000)),
            _ => Reply::new(503, *b"busy"),
        }
    });
    let (_, bytes) = written(&first, |job| {
        beside(&second, Some(sha256(&body)))(job);
        job.patience = Duration::from_secs(4);
    })
    .unwrap();
    assert!(bytes == picture());
    assert_eq!(starts(&second)[0], Some(100_000));
    assert_eq!(starts(&first).last(), Some(&Some(300_000)));
}

#[test]
fn when_nobody_is_left_the_error_names_all() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let total = body.len();
    let first = dying(&body, 100_000, 404);
    let second = dying(&body, 0, 403);
    let (kind, words) = failure(&first, beside(&second, Some(sha256(&body))));
    assert_eq!(kind, Kind::Image);
    assert_eq!(
        words,
        format!(
            "reading {}: at byte 100000 of {total}: the server answers 403 Forbidden (before: {}: the server answers 404 Not Found)",
            second.url("/copy"),
            first.url("/image")
        )
    );
}

#[test]
fn a_server_with_another_image_is_not_believed() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let (total, mut other) = (body.len(), body.to_vec());
    other[5000] ^= 1;
    let first = dying(&body, 100_000, 404);
    let second = Server::serving(other);
    let (_, words) = failure(&first, beside(&second, None));
    let front = format!("reading {}: at byte 100000 of {total}: ", second.url("/copy"));
    let before = format!(" (before: {}: the server answers 404 Not Found)", first.url("/image"));
    let reason = |words: &str| words.strip_prefix(&front).unwrap().strip_suffix(&before).unwrap().to_owned();
    assert_eq!(reason(&words), "the image there is another one: its first bytes differ");

    let first = dying(&body, 100_000, 404);
    let second = Server::serving([&body[..], &[0; 7]].concat());
    let (_, words) = failure(&first, beside(&second, Some(sha256(&body))));
    let text = format!("the image there is another one: it has {} bytes, not {total}", total + 7);
    assert!(words.contains(&text), "{words}");
}

#[test]
fn only_servers_have_mirrors() {
    let server = Server::serving(pack(&picture()));
    let (kind, words) = failure(&server, |job| job.mirrors = vec!["/srv/a.img".parse().unwrap()]);
    assert_eq!((kind, words.as_str()), (Kind::Image, "mirror /srv/a.img: expected an http or https address"));
    let scratch = Scratch::new();
    let mut of_file = job("/srv/a.img", &scratch.path("target.img"));
    of_file.mirrors = vec![server.url("/copy").parse().unwrap()];
    let words = write(&of_file).unwrap_err().to_string();
    assert!(words.ends_with(": reading /srv/a.img: an image in a file has no mirrors"), "{words}");
}

#[test]
fn a_server_that_restarts_costs_only_the_time_it_takes() {
    let body: Arc<[u8]> = pack(&picture()).into();
    for length in [Length::True, Length::Chunked, Length::Unmarked] {
        let before = Arc::clone(&body);
        let first =
            Server::start(move |seen, _| Reply::file(seen, &before, "\"v1\"").length(length).cut(Cut::Reset(100_000)));
        let address = first.address().to_string();
        let scratch = Scratch::new();
        let job = job(&first.url("/image"), &scratch.path("target.img"));
        let after = Arc::clone(&body);
        let restarting = std::thread::spawn(move || {
            // Down while the client asks, more than once.
            while first.seen().is_empty() {
                std::thread::yield_now();
            }
            drop(first);
            std::thread::sleep(Duration::from_millis(700));
            Server::start_at(&address, move |seen, _| Reply::file(seen, &after, "\"v1\""))
        });
        write(&job).unwrap();
        let second = restarting.join().unwrap();
        assert!(std::fs::read(&job.targets[0]).unwrap() == picture(), "{length:?}");
        assert_eq!(starts(&second), [Some(100_000)], "{length:?}");
    }
}

#[test]
fn servers_are_reached_by_their_ipv6_address() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let server = Server::start_at("[::1]:0", move |seen, nth| {
        let reply = Reply::file(seen, &body, "\"v1\"");
        if nth == 0 { reply.cut(Cut::Reset(100_000)) } else { reply }
    });
    assert!(server.url("/").starts_with("http://[::1]:"));
    assert!(written(&server, |_| ()).unwrap().1 == picture());
    assert_eq!(starts(&server), [None, Some(100_000)]);
}

#[test]
fn redirects_are_followed_and_a_loop_of_them_is_named() {
    let files = Server::serving(pack(&picture()));
    let target = files.url("/real");
    let server = Server::start(move |_, _| Reply::redirect(302, target.clone()));
    assert!(written(&server, |_| ()).unwrap().1 == picture());

    let server = Server::start(|seen, _| Reply::redirect(302, if seen.path == "/image" { "/b" } else { "/image" }));
    let (kind, words) = failure(&server, |_| ());
    let url = server.url("/image");
    assert_eq!((kind, words), (Kind::Image, format!("reading {url}: redirected in a loop, back to {url}")));
}

/// What a server sends that knows ranges, and tells neither tag nor date.
fn untold(seen: &Seen, body: &Arc<[u8]>) -> Reply {
    let mut reply = Reply::file(seen, body, "");
    reply.headers.retain(|(name, _)| name != "ETag");
    reply
}

#[test]
fn a_server_without_tag_and_date_is_resumed_only_where_a_digest_tells_of_another_file() {
    let body: Arc<[u8]> = picture().into();
    let breaking = |then: Arc<[u8]>, length: Length, date: Option<&'static str>| {
        let body = Arc::clone(&body);
        Server::start(move |seen, nth| {
            let reply = match nth {
                0 => untold(seen, &body).cut(Cut::Close(100_000)),
                _ => untold(seen, &then),
            };
            date.iter().fold(reply, |reply, &date| reply.header("Last-Modified", date)).length(length)
        })
    };
    for length in [Length::True, Length::Chunked] {
        let server = breaking(Arc::clone(&body), length, None);
        assert!(written(&server, |_| ()).unwrap().1 == picture());
        assert_eq!(starts(&server), [None, None], "all of it again, and compared");
    }
    let server = breaking(Arc::clone(&body), Length::Unmarked, None);
    assert!(written(&server, |_| ()).unwrap().1 == picture());
    assert_eq!(starts(&server)[..3], [None, Some(100_000), None], "whether there is more, then all of it");

    let server = breaking(Arc::clone(&body), Length::True, None);
    let digest = sha256(&body);
    written(&server, |job| job.container_digests = vec![digest.parse().unwrap()]).unwrap();
    assert_eq!(starts(&server), [None, Some(100_000)]);

    let date = "Sat, 01 Feb 2025 10:00:00 GMT";
    let server = breaking(Arc::clone(&body), Length::True, Some(date));
    assert!(written(&server, |_| ()).unwrap().1 == picture());
    assert_eq!(starts(&server), [None, Some(100_000)]);
    assert_eq!(server.seen()[1].header("if-range"), Some(date));

    let mut other = body.to_vec();
    other[5000] ^= 1;
    for length in [Length::True, Length::Chunked, Length::Unmarked] {
        let server = breaking(other.clone().into(), length, None);
        let (kind, words) = failure(&server, |_| ());
        assert_eq!(kind, Kind::Image, "{length:?}");
        assert!(words.contains(": at byte 100000"), "{words}");
        assert!(words.ends_with(": the image on the server has changed: its first bytes are others now"), "{words}");
    }
}

#[test]
fn servers_that_all_send_too_slowly_are_left_in_turn_until_the_patience_ends() {
    let body: Arc<[u8]> = pack(&picture()).into();
    let slow = || {
        let body = Arc::clone(&body);
        Server::start(move |seen, _| Reply::file(seen, &body, "\"v1\"").trickle(Duration::from_millis(50)))
    };
    let (first, second) = (slow(), slow());
    let (kind, words) = failure(&first, |job| {
        beside(&second, Some(sha256(&body)))(job);
        job.patience = Duration::from_secs(2);
    });
    assert_eq!(kind, Kind::Image);
    assert!(words.starts_with(&format!("reading {}: at byte ", second.url("/copy"))), "{words}");
    assert!(words.contains(": the server sends too slowly: "), "{words}");
    assert!(words.ends_with(" bytes in 1 s (no progress for 2 s)"), "{words}");
    assert_eq!((starts(&first), starts(&second).len()), (vec![None], 1));
}

#[test]
fn a_server_that_sends_too_slowly_what_was_read_already_says_so() {
    let body: Arc<[u8]> = picture().into();
    let server = Server::start(move |seen, nth| match nth {
        0 => untold(seen, &body).cut(Cut::Close(100_000)),
        _ => untold(seen, &body).trickle(Duration::from_millis(50)),
    });
    let (kind, words) = failure(&server, |job| job.patience = Duration::from_secs(1));
    assert_eq!(kind, Kind::Image);
    assert!(
        words.contains(": at byte 100000 of 3200017: the server sends what was read already too slowly: "),
        "{words}"
    );
    assert!(words.ends_with(" bytes in 1 s"), "{words}");
}
