//! Lists of checksums, signatures, and the demand for either, through the program itself.
//!
//! The signatures are those of minisign 0.11 (`minisign -S -m image`, likewise of the list).

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use support::http_server::{Reply, Server};
use support::images::{md5, pack, picture, sha256};
use support::scratch::Scratch;

const KEY: &str = "RWS08tODgJzXwbsLGKqVGlfRXAYBb9b9LiKZ3929Lx6uKjB5bjhRxyig";
const OTHER_KEY: &str = "RWS+/742/XMpFXmKbUk3CXjt127+nujcbup8i1keGOs+nZSXamBcciD8";

const OF_IMAGE: &str = "untrusted comment: signature of the tests
RUS08tODgJzXwdlddTfuzZcciqIrSSL6M/VGSI6ZZ/cuf4xWN5IA2ex0uz5sxcPnqdsJuv582IM641XV/f5Bf8mtHz56PH21vAg=
trusted comment: image of the tests
mrwy0LIfHeuYrFp6aopthzf0E15awK84Iyk7r7T39BUCw+6ylFE8GfFHIbJsth5kmeNPafxFaHLhDAPkYR90Bg==
";

/// Over `sha256  image` of the picture.
const OF_LIST: &str = "untrusted comment: signature of the tests
RUS08tODgJzXwft6bN5vWVLitHBBrpbwyN/pMjDNoF6ZwHFkLbLQLCuywVXCDLV5LtvitWkyPBxYdEbXf0fdkHmDsCXZOm9cpQw=
trusted comment: list of the tests
7ERU2pPwDBLUFt4BVFFN6dm0dhx2J4sNU8mRwKaq/2s1fuNh+bc58/z3/pgJ3MbDTkaiEEkZG4X3OuJDYvFQAA==
";

/// The same by `minisign -S -l`.
const OF_LIST_LEGACY: &str = "untrusted comment: legacy signature of the tests
RWS08tODgJzXwZb+dPZDy5sBUeIHOjjFl6vnifChfADSZSFPTBN1yHj4ivI6Wz6vUoUElzOoNGevOGF/BN8XvoShNAKn6BBOkA4=
trusted comment: list of the tests
QoKEiKfmD8lUTP+FR5W58h1dh2hPfNPyTmm5+/sloPiygE3ELFktbXYgFKO41ycIoy5ew1OBoXWTlVCv382vBQ==
";

fn list() -> String {
    format!("{}  image\n", sha256(&picture()).strip_prefix("sha256:").unwrap())
}

/// A server with these files.
fn serving(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    let files: Vec<(&str, Arc<[u8]>)> = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    Server::start(move |seen, _| match files.iter().find(|(name, _)| seen.path == *name) {
        Some((_, bytes)) => Reply::file(seen, bytes, "\"v1\""),
        None => Reply::new(404, *b"no"),
    })
}

/// A run of `write-image` onto a file of its own.
struct Run {
    scratch: Scratch,
    target: PathBuf,
}

impl Run {
    fn new() -> Self {
        let scratch = Scratch::new();
        let target = scratch.path("target.img");
        Self { scratch, target }
    }

    /// Exit code, and the last line of what was said without what to do.
    fn write(&self, source: &str, options: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .env_clear()
            .args(["write-image", source])
            .arg(&self.target)
            .args(options)
            .output()
            .unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let error = words.lines().rfind(|line| !line.starts_with("bedplate: what to do: ")).unwrap_or_default();
        (output.status.code().unwrap(), error.replace(&format!("{}", self.target.display()), "TARGET"))
    }

    fn good(&self, source: &str, options: &[&str]) {
        let (code, words) = self.write(source, options);
        assert_eq!(code, 0, "{options:?}: {words}");
        assert!(std::fs::read(&self.target).unwrap() == picture());
    }
}

#[test]
fn a_list_of_checksums_proves_the_image_by_its_name() {
    let run = Run::new();
    let server = serving(vec![("/image", picture()), ("/SHA256SUMS", list().into_bytes())]);
    run.good(&server.url("/image"), &["--sums", &server.url("/SHA256SUMS"), "--require-digest"]);

    let tagged = run.scratch.path("CHECKSUMS");
    std::fs::write(&tagged, format!("MD5 (x/image) = {}\n", &md5(&picture())[4..])).unwrap();
    run.good(&server.url("/image"), &["--sums", tagged.to_str().unwrap()]);

    let wrong = md5(b"x");
    std::fs::write(&tagged, format!("{}  image\n", &wrong[4..])).unwrap();
    let url = server.url("/image");
    assert_eq!(
        run.write(&url, &["--sums", tagged.to_str().unwrap()]),
        (
            13,
            format!(
                "bedplate: writing image to TARGET: {url}: digest of the file is {}, expected {wrong}",
                md5(&picture())
            )
        )
    );
}

#[test]
fn a_list_that_is_absent_or_does_not_know_the_image_ends_the_run_before_the_target_is_touched() {
    let run = Run::new();
    std::fs::write(&run.target, b"as it was").unwrap();
    let server = serving(vec![("/image", picture()), ("/other", picture()), ("/SHA256SUMS", list().into_bytes())]);
    let sums = server.url("/SHA256SUMS");
    assert_eq!(
        run.write(&server.url("/other"), &["--sums", &sums]),
        (13, format!("bedplate: list of checksums {sums}: none of its 1 checksums is of other"))
    );
    let absent = server.url("/MD5SUMS");
    assert_eq!(
        run.write(&server.url("/image"), &["--sums", &absent]),
        (13, format!("bedplate: reading {absent}: the server answers 404 Not Found"))
    );
    let url = server.url("/image");
    let (wrong, right) = (sha256(b"x"), sha256(&picture()));
    assert_eq!(
        run.write(&url, &["--sums", &sums, "--digest", &wrong]),
        (13, format!("bedplate: {url}: {wrong} and {right} contradict each other"))
    );
    assert_eq!(
        run.write(&url, &["--require-digest"]),
        (13, format!("bedplate: {url}: neither a digest nor a signature is known, and require-digest is set"))
    );
    assert_eq!(std::fs::read(&run.target).unwrap(), b"as it was");
}

#[test]
fn a_signature_over_the_image_is_checked_while_it_streams() {
    let run = Run::new();
    let server = serving(vec![("/image", picture()), ("/image.minisig", OF_IMAGE.into())]);
    run.good(&server.url("/image"), &["--minisign-key", KEY, "--require-digest"]);

    let key = run.scratch.path("minisign.pub");
    std::fs::write(&key, format!("untrusted comment: minisign public key\n{KEY}\n")).unwrap();
    let signature = run.scratch.path("elsewhere");
    std::fs::write(&signature, OF_IMAGE).unwrap();
    let bare = serving(vec![("/image", picture())]);
    let options = ["--minisign-key", key.to_str().unwrap(), "--signature", signature.to_str().unwrap()];
    run.good(&bare.url("/image"), &options);

    let mut other = picture();
    *other.last_mut().unwrap() ^= 1;
    let server = serving(vec![("/image", other), ("/image.minisig", OF_IMAGE.into())]);
    let refused = format!(
        "bedplate: writing image to TARGET: signature {}: what came is not what the key {KEY} has signed",
        server.url("/image.minisig")
    );
    assert_eq!(run.write(&server.url("/image"), &["--minisign-key", KEY]), (13, refused));
}

#[test]
fn a_signature_over_the_list_proves_the_image_too() {
    let run = Run::new();
    let server = serving(vec![
        ("/image", picture()),
        ("/SHA256SUMS", list().into_bytes()),
        ("/SHA256SUMS.minisig", OF_LIST.into()),
        ("/legacy", OF_LIST_LEGACY.into()),
        ("/FORGED", format!("{}{}  more\n", list(), &md5(b"x")[4..]).into_bytes()),
        ("/FORGED.minisig", OF_LIST.into()),
    ]);
    let (image, sums) = (server.url("/image"), server.url("/SHA256SUMS"));
    run.good(&image, &["--sums", &sums, "--minisign-key", KEY]);

    let minisig = server.url("/SHA256SUMS.minisig");
    assert_eq!(
        run.write(&image, &["--sums", &sums, "--minisign-key", OTHER_KEY]),
        (13, format!("bedplate: signature {minisig}: it was made with another key than {OTHER_KEY}"))
    );
    let legacy = server.url("/legacy");
    assert_eq!(
        run.write(&image, &["--sums", &sums, "--minisign-key", KEY, "--signature", &legacy]),
        (
            13,
            format!(
                "bedplate: signature {legacy}: it has the legacy form, which cannot be checked while an image streams"
            )
        )
    );
    assert_eq!(
        run.write(&image, &["--sums", &server.url("/FORGED"), "--minisign-key", KEY]),
        (
            13,
            format!(
                "bedplate: signature {}: what came is not what the key {KEY} has signed",
                server.url("/FORGED.minisig")
            )
        )
    );
    assert_eq!(
        run.write(&image, &["--sums", &sums, "--minisign-key", KEY, "--signature", &sums]),
        (13, format!("bedplate: signature {sums}: it is no signature of minisign"))
    );
    let (code, words) = run.write(&image, &["--minisign-key", "/nonexistent.pub"]);
    assert_eq!(
        (code, words.as_str()),
        (
            2,
            "bedplate: minisign key \"/nonexistent.pub\": it is no key itself; reading it as a file: No such file or directory (os error 2)"
        )
    );
}

#[test]
fn mirrors_are_options_and_packed_images_are_signed_as_they_are_published() {
    let run = Run::new();
    let absent = serving(Vec::new());
    let packed = serving(vec![("/image.gz", pack(&picture())), ("/image.gz.minisig", OF_IMAGE.into())]);
    run.good(&absent.url("/image.gz"), &["--mirror", &packed.url("/image.gz"), "--raw-digest", &md5(&picture())]);
    let refused = format!(
        "bedplate: writing image to TARGET: signature {}: what came is not what the key {KEY} has signed",
        packed.url("/image.gz.minisig")
    );
    assert_eq!(run.write(&packed.url("/image.gz"), &["--minisign-key", KEY]), (13, refused));
}
