//! Every fault of a server meets every packing of an archive of files: each ends in a tree that is proved, or in an error
//! that names the place and the cause, and says what is left in the folder.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::{Error, Kind};
use bedplate::http::{Client, Proxies, Settings};
use bedplate::image::{self, Job, MinisignKey, Signed};
use bedplate::report::{ImageReport, Reporter};
use bedplate::request::Container;
use bedplate::units::Bytes;
use support::http_server::{Cut, Length, Reply, Server};
use support::images::{assert_too_slow, breaking, client, job, packed, picture, sha256};
use support::scratch::Scratch;

const FORMS: [Container; 4] = [Container::Raw, Container::Gzip, Container::Zstd, Container::Xz];

/// What every archive holds: large enough that each form of it has more than 500 kB.
fn files() -> BTreeMap<String, Vec<u8>> {
    let picture = picture();
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let (first, second) = picture.split_at(2_000_000);
    BTreeMap::from([file("boot/vmlinuz", first), file("etc/hostname", b"node-1\n"), file("srv/data", second)])
}

/// The archive as GNU tar makes it.
fn archive() -> Vec<u8> {
    let scratch = Scratch::new();
    for (name, bytes) in files() {
        let path = scratch.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let tar =
        Command::new("tar").args(["--create", "--sort=name", "--directory"]).arg(scratch.folder()).arg(".").output();
    let tar = tar.unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

/// The published file of each form of an archive.
fn forms(archive: &[u8]) -> Vec<(Container, Arc<[u8]>)> {
    FORMS.into_iter().map(|form| (form, packed(archive, form).into())).collect()
}

/// All files below a folder.
fn found(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn look(folder: &Path, below: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(folder, &path, found);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    look(folder, folder, &mut all);
    all
}

fn unpack(client: &Client, job: &Job) -> Result<ImageReport, Error> {
    image::unpack(job, client, &Reporter::silent())
}

/// A job that knows what the archive is.
fn expecting(server: &Server, form: Container, archive: &[u8], target: &Path) -> Job {
    let mut job = job(&server.url("/root.tar"), target);
    job.container = Some(form);
    job.digests = vec![sha256(archive).parse().unwrap()];
    job
}

fn is_proved(server: &Server, form: Container, archive: &[u8]) {
    let scratch = Scratch::new();
    let report = unpack(&client(), &expecting(server, form, archive, scratch.folder())).unwrap();
    assert!(report.proved && found(scratch.folder()) == files(), "{form:?}");
}

/// The error of a server, address and folder taken out. Its advice tells of the folder when there is something in it, and
/// only then.
fn refused(server: &Server, form: Container, archive: &[u8], adjust: impl FnOnce(&mut Job)) -> String {
    let scratch = Scratch::new();
    let mut job = expecting(server, form, archive, scratch.folder());
    job.patience = Duration::from_secs(1);
    adjust(&mut job);
    let error = unpack(&client(), &job).unwrap_err();
    assert_eq!(error.kind(), Kind::Image, "{form:?}: {error}");
    let folder = scratch.folder().display();
    let left = format!("what is in {folder} is not proved: do not use it, and empty it before another try");
    let is_begun = std::fs::read_dir(scratch.folder()).unwrap().count() > 0;
    assert_eq!(error.advice(), is_begun.then_some(left.as_str()), "{form:?}: {error}");
    let url = server.url("/root.tar");
    let words = error.to_string();
    words.strip_prefix(&format!("unpacking {url} to {folder}: ")).expect(&words).replace(&url, "URL")
}

#[test]
fn connections_that_break_at_any_byte_are_survived() {
    let archive = archive();
    let mut state = 11_u64;
    for (form, body) in forms(&archive) {
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let cuts = vec![Cut::Reset(random(100)), Cut::Close(random(200_000)), Cut::Reset(random(200_000))];
        is_proved(&breaking(body.to_vec(), cuts, Length::True), form, &archive);
    }
}

#[test]
fn ignored_ranges_are_survived() {
    let archive = archive();
    for (form, body) in forms(&archive) {
        let server = Server::start(move |_, nth| {
            let reply = Reply::new(200, Arc::clone(&body));
            if nth == 0 { reply.cut(Cut::Close(100_000)) } else { reply }
        });
        is_proved(&server, form, &archive);
    }
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let archive = archive();
    for (form, body) in forms(&archive) {
        let total = body.len();
        let server = Server::start(move |seen, _| {
            let reply = Reply::file(seen, &body, "\"v1\"");
            // The first bytes come, so that it is known what it is.
            match seen.range_start() {
                None => reply.cut(Cut::Close(100_000)),
                Some(_) => reply.trickle(Duration::from_millis(100)),
            }
        });
        let began = Instant::now();
        let words = refused(&server, form, &archive, |_| ());
        assert!(began.elapsed() < Duration::from_secs(20), "{form:?}");
        assert_too_slow(&words, total);
    }
}

#[test]
fn wrong_lengths_are_named() {
    let archive = archive();
    for (form, body) in forms(&archive) {
        let total = body.len();
        let announced = total + 5;
        let server = Server::start(move |seen, _| {
            let reply = Reply::file(seen, &body, "\"v1\"");
            if reply.status == 200 { reply.length(Length::Announced(announced as u64)) } else { reply }
        });
        assert_eq!(
            refused(&server, form, &archive, |_| ()),
            format!(
                "reading URL: at byte {total} of {announced}: the server announced {announced} bytes and has {total}"
            ),
            "{form:?}"
        );
        let words = refused(&server, form, &archive, |job| job.container_size = Some(Bytes::new(total as u64)));
        assert_eq!(words, format!("the file has {announced} bytes and should have {total}"), "{form:?}");
    }
}

#[test]
fn a_file_that_ends_early_is_named() {
    let archive = archive();
    for (form, body) in forms(&archive) {
        let server = Server::serving(body[..400_000].to_vec());
        let words = refused(&server, form, &archive, |_| ());
        let expected = match form {
            Container::Raw => "\"./boot/vmlinuz\": the archive is truncated".to_owned(),
            form => format!("the {} stream is truncated", form.as_str()),
        };
        assert!(words.ends_with(&expected), "{form:?}: {words}");
    }
}

#[test]
fn a_tag_that_changes_in_the_middle_is_named() {
    let archive = archive();
    for (form, body) in forms(&archive) {
        let total = body.len();
        let server = Server::start(move |seen, nth| match nth {
            0 => Reply::file(seen, &body, "\"v1\"").cut(Cut::Close(100_000)),
            _ => Reply::file(seen, &body, "\"v2\""),
        });
        assert_eq!(
            refused(&server, form, &archive, |_| ()),
            format!(
                "reading URL: at byte 100000 of {total}: the image on the server has changed: its ETag was \"v1\" and is \"v2\""
            ),
            "{form:?}"
        );
    }
}

#[test]
fn digests_that_differ_are_named_once_all_has_come() {
    let archive = archive();
    let (right, wrong) = (sha256(&archive), sha256(b"another"));
    for (form, body) in forms(&archive) {
        let published = sha256(&body);
        let server = Server::serving(body);
        assert_eq!(
            refused(&server, form, &archive, |job| job.digests = vec![wrong.parse().unwrap()]),
            format!("URL: digest of the image is {right}, expected {wrong}"),
            "{form:?}"
        );
        assert_eq!(
            refused(&server, form, &archive, |job| job.container_digests = vec![wrong.parse().unwrap()]),
            format!("URL: digest of the file is {published}, expected {wrong}"),
            "{form:?}"
        );
    }
}

#[test]
fn pages_and_nothing_are_no_archive_and_leave_the_folder_alone() {
    for form in FORMS {
        let none = Server::serving(Vec::new());
        assert_eq!(refused(&none, form, b"", |_| ()), "it is empty", "{form:?}");
        let page = Server::start(|_, _| Reply::new(200, *b"<!DOCTYPE html><title>Login</title>"));
        let words = refused(&page, form, b"", |_| ());
        assert!(words.ends_with("found an HTML page"), "{form:?}: {words}");
        let absent = Server::start(|_, _| Reply::new(404, *b"no"));
        assert_eq!(refused(&absent, form, b"", |_| ()), "reading URL: the server answers 404 Not Found", "{form:?}");
    }
}

#[test]
fn what_to_do_about_a_signature_is_not_replaced_by_what_to_do_about_the_folder() {
    /// Of `minisign -S -l`.
    const LEGACY: &str = "untrusted comment: legacy signature of the tests
RWS08tODgJzXwZb+dPZDy5sBUeIHOjjFl6vnifChfADSZSFPTBN1yHj4ivI6Wz6vUoUElzOoNGevOGF/BN8XvoShNAKn6BBOkA4=
trusted comment: list of the tests
QoKEiKfmD8lUTP+FR5W58h1dh2hPfNPyTmm5+/sloPiygE3ELFktbXYgFKO41ycIoy5ew1OBoXWTlVCv382vBQ==
";
    let key: MinisignKey = "RWS08tODgJzXwbsLGKqVGlfRXAYBb9b9LiKZ3929Lx6uKjB5bjhRxyig".parse().unwrap();
    let scratch = Scratch::new();
    let (signature, folder) = (scratch.path("root.tar.minisig"), scratch.path("target"));
    std::fs::write(&signature, LEGACY).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let archive = archive();
    let server = Server::serving(archive.clone());
    let mut job = expecting(&server, Container::Raw, &archive, &folder);
    job.signed = Some(Signed::new(key, signature.display().to_string().parse().unwrap()));
    let error = unpack(&client(), &job).unwrap_err();
    let anew = "sign the file anew with `minisign -S -H -m FILE`; since minisign 0.10 that is its usual form";
    assert_eq!(error.advice(), Some(anew), "{error}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_silent_server_does_not_hold_up_who_asks_to_end() {
    let archive = archive();
    let minute = Duration::from_secs(60);
    let patient = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
    for (form, body) in forms(&archive) {
        for has_begun in [false, true] {
            let body = Arc::clone(&body);
            let server = Server::start(move |seen, _| {
                let reply = Reply::file(seen, &body, "\"v1\"");
                if has_begun { reply.stall(300_000, minute) } else { reply.delay(minute) }
            });
            let scratch = Scratch::new();
            let mut job = expecting(&server, form, &archive, scratch.folder());
            job.patience = minute;
            let (cancel, began) = (job.cancel.clone(), Instant::now());
            let asking = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(400));
                cancel.cancel();
            });
            let error = unpack(&patient, &job).unwrap_err();
            asking.join().unwrap();
            assert_eq!(error.kind(), Kind::Terminated, "{form:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(5), "{form:?}: {:?}", began.elapsed());
        }
    }
}
