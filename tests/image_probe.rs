//! What is asked of images before the first step of a plan is carried out: whatever is wrong then has destroyed nothing.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedplate::error::{Error, Kind};
use bedplate::execute;
use bedplate::http::{Client, Proxies, Settings};
use bedplate::image::{self, Probe};
use bedplate::layout::device_size;
use bedplate::plan::{Plan, Step};
use bedplate::request::Container;
use bedplate::units::{Bytes, MaxWindow};
use support::http_server::{Reply, Server};
use support::images::{client, job, packed, picture};
use support::planning::{machine, plan};
use support::scratch::Scratch;

const KEY: &str = "RWS08tODgJzXwbsLGKqVGlfRXAYBb9b9LiKZ3929Lx6uKjB5bjhRxyig";
const OTHER_KEY: &str = "RWS+/742/XMpFXmKbUk3CXjt127+nujcbup8i1keGOs+nZSXamBcciD8";

const SIGNATURE: &str = "untrusted comment: signature of the tests
RUS08tODgJzXwdlddTfuzZcciqIrSSL6M/VGSI6ZZ/cuf4xWN5IA2ex0uz5sxcPnqdsJuv582IM641XV/f5Bf8mtHz56PH21vAg=
trusted comment: image of the tests
mrwy0LIfHeuYrFp6aopthzf0E15awK84Iyk7r7T39BUCw+6ylFE8GfFHIbJsth5kmeNPafxFaHLhDAPkYR90Bg==
";

/// By `minisign -S -l`.
const LEGACY: &str = "untrusted comment: legacy signature of the tests
RWS08tODgJzXwZb+dPZDy5sBUeIHOjjFl6vnifChfADSZSFPTBN1yHj4ivI6Wz6vUoUElzOoNGevOGF/BN8XvoShNAKn6BBOkA4=
trusted comment: list of the tests
QoKEiKfmD8lUTP+FR5W58h1dh2hPfNPyTmm5+/sloPiygE3ELFktbXYgFKO41ycIoy5ew1OBoXWTlVCv382vBQ==
";

/// A file of each name, which has as many bytes as are told.
fn serving(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    let files: Vec<(&str, Arc<[u8]>)> = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    Server::start(move |seen, _| match files.iter().find(|(name, _)| seen.path == *name) {
        Some((_, bytes)) => Reply::file(seen, bytes, "\"v1\""),
        None => Reply::new(404, *b"no"),
    })
}

/// A raw image of which the server tells the length and sends no more than the beginning.
fn pretending(length: u64) -> Server {
    let body: Arc<[u8]> = vec![7; 1 << 20].into();
    Server::start(move |_, _| {
        Reply::new(200, Arc::clone(&body)).length(support::http_server::Length::Announced(length))
    })
}

/// qcow2 of this many bytes, all of them zero.
fn qcow2(size: u64) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&path).arg(size.to_string()).status();
    assert!(made.expect("qemu-img: is qemu-utils installed?").success());
    std::fs::read(&path).unwrap()
}

/// A plan with nothing but one image, whose step says what `adjust` makes of it: a raw one at this address, of which nothing
/// else is known. Gives the target's size, too.
fn plan_of(source: &str, adjust: &dyn Fn(&mut Step)) -> (Plan, u64) {
    let name = "01-single-disk-lvm";
    let mut plan = plan(name, &machine(name));
    let is_root = |step: &&Step| matches!(step, Step::WriteImage { target, .. } if target == "/dev/mapper/os-root");
    let mut step = plan.steps.iter().find(is_root).unwrap().clone();
    if let Step::WriteImage { source: from, container, size, digests, container_size, container_digests, .. } =
        &mut step
    {
        *from = source.to_owned();
        *container = "raw".to_owned();
        (*size, *container_size) = (None, None);
        digests.clear();
        container_digests.clear();
    }
    adjust(&mut step);
    plan.steps = vec![step];
    let room = device_size(&plan.layout, "/dev/mapper/os-root").unwrap().bytes().unwrap().get();
    (plan, room)
}

fn prepared(plan: &Plan) -> Result<(), Error> {
    execute::prepare(plan, &client(), MaxWindow::default())
}

/// The error of preparing such a plan, the server taken out.
fn refused(server: &Server, adjust: &dyn Fn(&mut Step)) -> String {
    let error = prepared(&plan_of(&server.url("/image"), adjust).0).unwrap_err();
    assert_eq!(error.kind(), Kind::Image, "{error}");
    error.to_string().replace(&server.url(""), "")
}

fn signed(key: &str, at: Option<String>) -> impl Fn(&mut Step) {
    let key = key.to_owned();
    move |step| {
        let Step::WriteImage { minisign_key, signature, .. } = step else { unreachable!("it is one") };
        (*minisign_key, *signature) = (Some(key.clone()), at.clone());
    }
}

fn sized(bytes: u64) -> impl Fn(&mut Step) {
    move |step| {
        let Step::WriteImage { size, .. } = step else { unreachable!("it is one") };
        *size = Some(Bytes::new(bytes));
    }
}

fn packed_as(word: &str) -> impl Fn(&mut Step) {
    move |step| {
        let Step::WriteImage { container, .. } = step else { unreachable!("it is one") };
        *container = word.to_owned();
    }
}

#[test]
fn signatures_that_cannot_be_checked_are_refused_before_the_first_step() {
    let server = serving(vec![("/image", picture()), ("/image.minisig", SIGNATURE.into()), ("/legacy", LEGACY.into())]);
    prepared(&plan_of(&server.url("/image"), &signed(KEY, None)).0).unwrap();
    assert_eq!(
        refused(&server, &signed(OTHER_KEY, None)),
        format!("signature /image.minisig: it was made with another key than {OTHER_KEY}")
    );
    assert_eq!(
        refused(&server, &signed(KEY, Some(server.url("/absent")))),
        "reading /absent: the server answers 404 Not Found"
    );
    assert_eq!(
        refused(&server, &signed(KEY, Some(server.url("/legacy")))),
        "signature /legacy: it has the legacy form, which cannot be checked while an image streams"
    );
    assert_eq!(
        refused(&server, &signed(KEY, Some(server.url("/image")))),
        "signature /image: it is no signature of minisign"
    );
    let (plan, _) = plan_of(&server.url("/image"), &signed("RWS", None));
    let error = prepared(&plan).unwrap_err();
    assert_eq!(error.kind(), Kind::Request);
    assert_eq!(error.to_string(), "\"RWS\" is no public key of minisign: 56 letters that begin with RW");

    let server = serving(vec![("/image", qcow2(1 << 20)), ("/image.minisig", SIGNATURE.into())]);
    let words = refused(&server, &|step| {
        signed(KEY, None)(step);
        packed_as("qcow2")(step);
    });
    assert_eq!(words, "signature /image.minisig: it is over the whole file, and images of this form are read in parts");
}

#[test]
fn raw_images_of_another_size_or_larger_than_their_target_are_refused_before_the_first_step() {
    let (_, room) = plan_of("http://h/image", &|_| ());
    let target = "/dev/mapper/os-root";
    prepared(&plan_of(&pretending(room).url("/image"), &|_| ()).0).unwrap();
    assert_eq!(
        refused(&pretending(room + 1), &|_| ()),
        format!("image /image: the image has {} bytes, {target} holds {room}", room + 1)
    );
    let server = serving(vec![("/image", picture())]);
    prepared(&plan_of(&server.url("/image"), &sized(3_200_017)).0).unwrap();
    assert_eq!(
        refused(&server, &sized(3_200_018)),
        "image /image: the image has 3200017 bytes and should have 3200018"
    );
    // What is packed tells nothing of itself; what is said of it counts.
    let server = serving(vec![("/image", packed(&picture(), Container::Gzip))]);
    let words = refused(&server, &|step| {
        packed_as("gzip")(step);
        sized(room + 1)(step);
    });
    assert_eq!(words, format!("image /image: the image has {} bytes, {target} holds {room}", room + 1));
}

#[test]
fn qcow2_images_of_another_size_or_larger_than_their_target_are_refused_before_the_first_step() {
    let (_, room) = plan_of("http://h/image", &|_| ());
    let qcow2_of = |bytes: u64| serving(vec![("/image", qcow2(bytes))]);
    prepared(&plan_of(&qcow2_of(room).url("/image"), &packed_as("qcow2")).0).unwrap();
    assert_eq!(
        refused(&qcow2_of(room + 512), &packed_as("qcow2")),
        format!("image /image: the image has {} bytes, /dev/mapper/os-root holds {room}", room + 512)
    );
    let words = refused(&qcow2_of(1 << 20), &|step| {
        packed_as("qcow2")(step);
        sized(1 << 21)(step);
    });
    assert_eq!(words, "image /image: the image has 1048576 bytes and should have 2097152");
}

#[test]
fn block_maps_of_another_image_or_a_larger_one_are_refused_before_the_first_step() {
    let map = |size: u64| {
        let blocks = size.div_ceil(4096);
        format!(
            "<bmap version=\"1.0\"><ImageSize>{size}</ImageSize><BlockSize>4096</BlockSize>\
             <BlocksCount>{blocks}</BlocksCount><MappedBlocksCount>1</MappedBlocksCount>\
             <BlockMap><Range>0</Range></BlockMap></bmap>"
        )
    };
    let (_, room) = plan_of("http://h/image", &|_| ());
    let mapped = |image: Vec<u8>, size: u64, word: &'static str| {
        let server = serving(vec![("/image", image), ("/image.bmap", map(size).into())]);
        let address = server.url("/image.bmap");
        let adjust = move |step: &mut Step| {
            packed_as(word)(step);
            let Step::WriteImage { bmap, .. } = step else { unreachable!("it is one") };
            *bmap = Some(address.clone());
        };
        (server, adjust)
    };
    let (server, adjust) = mapped(picture(), 3_200_017, "raw");
    prepared(&plan_of(&server.url("/image"), &adjust).0).unwrap();
    let (server, adjust) = mapped(picture(), 4_194_304, "raw");
    assert_eq!(refused(&server, &adjust), "block map /image.bmap: the image has 4194304 bytes and should have 3200017");
    let (server, adjust) = mapped(packed(&picture(), Container::Gzip), room + 4096, "gzip");
    assert_eq!(
        refused(&server, &adjust),
        format!("block map /image.bmap: the image has {} bytes, /dev/mapper/os-root holds {room}", room + 4096)
    );
}

#[test]
fn archives_of_another_size_are_refused_before_the_first_step() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("file"), picture()).unwrap();
    let tar = Command::new("tar").args(["--create", "--directory"]).arg(scratch.folder()).arg("file").output().unwrap();
    assert!(tar.status.success());
    let length = tar.stdout.len() as u64;
    let server = serving(vec![("/image", tar.stdout)]);
    let archive = |bytes: u64| {
        move |step: &mut Step| {
            sized(bytes)(step);
            let Step::WriteImage { format, .. } = step else { unreachable!("it is one") };
            *format = "tar".to_owned();
        }
    };
    prepared(&plan_of(&server.url("/image"), &archive(length)).0).unwrap();
    assert_eq!(refused(&server, &archive(5)), format!("image /image: the image has {length} bytes and should have 5"));
}

#[test]
fn neither_a_silent_server_nor_a_silent_neighbour_holds_up_who_asks_to_end() {
    let patient = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
    let silent = Server::start(|_, _| Reply::new(200, *b"x").delay(Duration::from_secs(60)));
    let good = serving(vec![("/image", picture())]);
    let ended = |server: &Server, ask: &dyn Fn(&image::Job) -> Result<(), Error>| {
        let mut job = job(&server.url("/image"), std::path::Path::new("/nonexistent"));
        job.bmap = Some(silent.url("/image.bmap").parse().unwrap());
        let (cancel, began) = (job.cancel.clone(), Instant::now());
        let asking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
        let error = ask(&job).unwrap_err();
        asking.join().unwrap();
        assert_eq!(error.kind(), Kind::Terminated, "{error}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    };
    ended(&silent, &|job| image::probe(job, &patient).map(drop::<Probe>));
    ended(&good, &|job| image::probe(job, &patient)?.check_map(job, None, &patient));
}
