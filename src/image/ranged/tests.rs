use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::*;
use crate::http::{Client, Proxies, Settings};
use crate::image::Location;
use crate::image::testing::http_server::{Cut, Length, Reply, Seen, Server};

/// 4 MiB in which no two places look alike.
fn picture() -> Arc<[u8]> {
    static PICTURE: OnceLock<Arc<[u8]>> = OnceLock::new();
    Arc::clone(PICTURE.get_or_init(|| (0..1_u32 << 20).flat_map(u32::to_be_bytes).collect()))
}

fn client() -> Client {
    let settings = Settings {
        proxies: Proxies::default(),
        system_ca_file: "/nonexistent/ca.crt".into(),
        read_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    Client::new(&settings).unwrap()
}

fn opened(urls: &[String], has_digest: bool, patience: Duration, cancel: &Cancel) -> Result<Box<dyn Ranged>> {
    let locations: Vec<Location> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let client = client();
    let (source, mirrors) = locations.split_first().unwrap();
    open(&Access { source, mirrors, has_digest, signed: None, client: &client, cancel, patience })
}

fn of(server: &Server) -> Result<Box<dyn Ranged>> {
    opened(&[server.url("/i.qcow2")], false, Duration::from_secs(5), &Cancel::default())
}

/// Whether these bytes are those of the picture, read from `offset` on.
fn is_true(ranged: &mut dyn Ranged, offset: u64, count: usize) -> bool {
    let mut buffer = vec![0; count];
    ranged.read_exact_at(offset, &mut buffer).unwrap();
    let start = usize::try_from(offset).unwrap();
    buffer == picture()[start..start + count]
}

fn starts(server: &Server) -> Vec<u64> {
    server.seen().iter().map(|seen| seen.range_start().unwrap()).collect()
}

fn words(result: Result<impl Sized>) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), Kind::Image, "{error}");
    error.to_string()
}

#[test]
fn reads_in_order_and_over_small_gaps_share_a_connection_and_others_open_one() {
    let server = Server::serving(picture());
    let mut ranged = of(&server).unwrap();
    assert_eq!(ranged.length(), 4 << 20);
    assert!(is_true(&mut *ranged, 0, 1000));
    assert!(is_true(&mut *ranged, 1000, 70_000));
    assert!(is_true(&mut *ranged, 71_000 + (1 << 20), 10));
    assert_eq!(starts(&server), [0]);
    assert!(is_true(&mut *ranged, 500, 10), "backwards");
    assert!(is_true(&mut *ranged, 511 + (1 << 20), 10), "a byte too far");
    assert!(is_true(&mut *ranged, (4 << 20) - 7, 7), "the last bytes");
    assert_eq!(starts(&server), [0, 500, 511 + (1 << 20), (4 << 20) - 7]);
    let seen = server.seen();
    assert_eq!(seen[0].header("if-range"), None);
    assert!(seen[1..].iter().all(|seen| seen.header("if-range") == Some("\"v1\"")));
}

#[test]
fn broken_connections_and_stalls_are_resumed_where_they_broke() {
    let body = picture();
    let server = Server::start(move |seen, nth| {
        let reply = Reply::file(seen, &body, "\"v1\"");
        match nth {
            0 => reply.cut(Cut::Reset(100_000)),
            1 => reply.cut(Cut::Close(1)),
            2 => Reply::new(503, *b"busy"),
            3 => reply.stall(100_000, Duration::from_secs(2)),
            4 => reply.length(Length::Chunked).cut(Cut::Close(600_000)),
            _ => reply,
        }
    });
    let mut ranged = of(&server).unwrap();
    assert!(is_true(&mut *ranged, 0, 300_000));
    // While 500 bytes are skipped the connection breaks: the next one begins where the bytes are wanted.
    assert!(is_true(&mut *ranged, 800_001, 300_000));
    assert_eq!(starts(&server), [0, 100_000, 100_001, 100_001, 200_001, 800_001]);
}

#[test]
fn servers_that_cannot_send_parts_are_named() {
    let body = picture();
    let deaf = Server::start({
        let body = Arc::clone(&body);
        move |_, _| Reply::new(200, Arc::clone(&body))
    });
    let url = deaf.url("/i.qcow2");
    assert_eq!(
        words(of(&deaf)),
        format!(
            "reading {url}: images of this form are read in parts, and the server sends only the whole file: it ignores Range"
        )
    );
    let vague = Server::start(|_, _| Reply::new(206, vec![7; 10]).header("Content-Range", "bytes 0-9/*"));
    assert_eq!(
        words(of(&vague)),
        format!(
            "reading {}: images of this form are read in parts, and the server does not tell how long the file is",
            vague.url("/i.qcow2")
        )
    );
    for (range, reason) in [
        (None, "status 206 without a usable Content-Range: \"\""),
        (Some("bytes 5-9/10"), "asked for the bytes from 0, got Content-Range \"bytes 5-9/10\""),
    ] {
        let server = Server::start(move |_, _| {
            range.iter().fold(Reply::new(206, vec![7; 10]), |reply, &range| reply.header("Content-Range", range))
        });
        assert_eq!(words(of(&server)), format!("reading {}: {reason}", server.url("/i.qcow2")));
    }
    let absent = Server::start(|_, _| Reply::new(404, *b"no"));
    assert_eq!(words(of(&absent)), format!("reading {}: the server answers 404 Not Found", absent.url("/i.qcow2")));
}

fn part(tag: &str, total: u64) -> Reply {
    let reply = Reply::new(206, vec![7; 10]).header("ETag", tag);
    reply.header("Content-Range", format!("bytes 2097152-2097161/{total}"))
}

#[test]
fn a_file_that_changes_between_two_parts_is_noticed() {
    let changing = |second: fn(&Seen, &Arc<[u8]>) -> Reply| {
        let body = picture();
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\""),
            _ => second(seen, &body),
        });
        let mut ranged = of(&server).unwrap();
        assert!(is_true(&mut *ranged, 0, 10));
        let text = words(ranged.read_exact_at(2 << 20, &mut [0; 10]));
        let front = format!("reading {}: at byte 2097152 of 4194304: ", server.url("/i.qcow2"));
        text.strip_prefix(&front).unwrap_or(&text).to_owned()
    };
    let tags = "the image on the server has changed: its ETag was \"v1\" and is \"v2\"";
    assert_eq!(changing(|seen, body| Reply::file(seen, body, "\"v2\"")), tags, "If-Range makes it the whole");
    assert_eq!(changing(|_, _| part("\"v2\"", 4 << 20)), tags);
    assert_eq!(
        changing(|_, _| part("\"v1\"", (4 << 20) + 1)),
        "the image on the server has changed: it had 4194304 bytes and has 4194305"
    );
    assert_eq!(
        changing(|_, _| Reply::new(416, Vec::new()).header("Content-Range", "bytes */100")),
        "the server has no bytes from there on (416, Content-Range \"bytes */100\")"
    );
    assert_eq!(
        changing(|_, body| Reply::new(200, Arc::clone(body))),
        "the image on the server has changed: its ETag was \"v1\" and is gone"
    );
}

#[test]
fn a_server_that_tells_neither_tag_nor_date_is_doubted_where_no_digest_is_known() {
    let serving = |name: &'static str, value: &'static str| {
        let body = picture();
        let server = Server::start(move |seen, _| {
            let mut reply = Reply::file(seen, &body, "");
            reply.headers.retain(|(name, _)| name != "ETag");
            reply.header(name, value)
        });
        let edition = of(&server).unwrap().edition().unwrap();
        assert_eq!(edition.doubt(true), None);
        edition.doubt(false).map(|words| words.replace(&server.url("/i.qcow2"), "URL"))
    };
    let doubt = "URL: the server gives neither a strong ETag nor a date, and no digest is known: \
                 that all parts are of one file cannot be told";
    assert_eq!(serving("Server", "one").as_deref(), Some(doubt));
    assert_eq!(serving("ETag", "W/\"v1\"").as_deref(), Some(doubt), "a weak tag is no validator");
    assert_eq!(serving("ETag", "\"v1\""), None);
    assert_eq!(serving("Last-Modified", "Sat, 01 Feb 2025 10:00:00 GMT"), None);
}

#[test]
fn what_lies_beyond_the_end_is_refused_without_asking() {
    let server = Server::serving(picture());
    let mut ranged = of(&server).unwrap();
    let mut refused = |offset| words(ranged.read_exact_at(offset, &mut [0; 8]));
    let url = server.url("/i.qcow2");
    let text =
        |offset: u64| format!("reading {url}: 8 bytes are wanted from byte {offset} on, and there are 4194304 in all");
    assert_eq!(refused(4_194_297), text(4_194_297));
    assert_eq!(refused(u64::MAX), text(u64::MAX));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_dead_server_ends_the_patience_and_a_signal_the_waiting() {
    let dying = |patience, cancel: &Cancel| {
        let body = picture();
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(1000)),
            _ => Reply::new(503, *b"busy"),
        });
        let mut ranged = opened(&[server.url("/i")], false, patience, cancel).unwrap();
        let error = ranged.read_exact_at(0, &mut [0; 2000]).unwrap_err();
        (error.kind(), error.to_string().replace(&server.url("/i"), "URL"))
    };
    assert_eq!(
        dying(Duration::from_secs(1), &Cancel::default()),
        (
            Kind::Image,
            "reading URL: at byte 1000 of 4194304: the server answers 503 Service Unavailable (no progress for 1 s)"
                .to_owned()
        )
    );
    let cancel = Cancel::default();
    let began = Instant::now();
    let canceller = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            std::thread::sleep(Duration::from_millis(600));
            cancel.cancel();
        }
    });
    assert_eq!(dying(Duration::from_secs(60), &cancel), (Kind::Terminated, "ended by SIGTERM".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(10));
    canceller.join().unwrap();
}

#[test]
fn another_server_goes_on_only_where_a_digest_would_tell_of_other_bytes() {
    let body = picture();
    let dying = || {
        let body = Arc::clone(&body);
        Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(1000)),
            _ => Reply::new(404, *b"gone"),
        })
    };
    let (first, second) = (dying(), Server::serving(picture()));
    let urls = [first.url("/i"), second.url("/i")];
    let mut ranged = opened(&urls, true, Duration::from_secs(5), &Cancel::default()).unwrap();
    assert!(is_true(&mut *ranged, 0, 5000));
    assert_eq!(starts(&second), [1000]);

    let (first, second) = (dying(), Server::serving(picture()));
    let urls = [first.url("/i"), second.url("/i")];
    let mut ranged = opened(&urls, false, Duration::from_secs(5), &Cancel::default()).unwrap();
    assert_eq!(
        words(ranged.read_exact_at(0, &mut [0; 5000])),
        format!("reading {}: at byte 1000 of 4194304: the server answers 404 Not Found", urls[0])
    );
    assert_eq!(second.seen().len(), 0);

    let absent = Server::start(|_, _| Reply::new(404, *b"no"));
    let urls = [absent.url("/i"), second.url("/i")];
    let mut ranged = opened(&urls, false, Duration::from_secs(5), &Cancel::default()).unwrap();
    assert!(is_true(&mut *ranged, 0, 5000), "before the first byte any server will do");
}

#[test]
fn files_are_read_at_any_place() {
    let path = std::env::temp_dir().join(format!("bedplate-ranged-{}", std::process::id()));
    std::fs::write(&path, &picture()[..]).unwrap();
    let text = path.display().to_string();
    let mut ranged = opened(std::slice::from_ref(&text), false, Duration::ZERO, &Cancel::default()).unwrap();
    assert!(is_true(&mut *ranged, 12_345, 5000));
    assert!(is_true(&mut *ranged, 0, 5));
    assert_eq!(
        words(ranged.read_exact_at(4 << 20, &mut [0; 1])),
        format!("reading {text}: 1 bytes are wanted from byte 4194304 on, and there are 4194304 in all")
    );
    std::fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert_eq!(
        words(ranged.read_exact_at(90, &mut [0; 20])),
        format!("reading {text}: at byte 90 of 4194304: the file has become shorter")
    );
    std::fs::remove_file(&path).unwrap();
}
