//! Archives that mean harm, and archives that are broken.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::making::{Making, header};
use super::*;
use crate::http::{Proxies, Settings};
use crate::image::unpack::packing::{PACKED, pack};

/// A folder with `target` to unpack to, and `outside` that must stay as it is.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bedplate-archive-{}-{count}", std::process::id()));
        fs::create_dir_all(path.join("target")).unwrap();
        fs::create_dir_all(path.join("outside/folder")).unwrap();
        fs::write(path.join("outside/secret"), "secret").unwrap();
        Self(path)
    }

    pub(super) fn target(&self) -> PathBuf {
        self.0.join("target")
    }

    /// Everything beside the target: name, kind, rights, times, links, content.
    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        list(&self.0, &self.target(), &mut found);
        found
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.target().join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn list(folder: &Path, except: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let it = path.symlink_metadata().unwrap();
        if path != except {
            let content = if it.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let facts = (it.mode(), it.uid(), it.mtime_nsec(), it.ctime_nsec(), it.nlink(), content);
            found.insert(path.clone(), format!("{facts:?}"));
            if it.is_dir() {
                list(&path, except, found);
            }
        }
    }
}

/// A job whose archive lies in a file beside the target.
pub(super) fn job(scratch: &Scratch, archive: &[u8]) -> Job {
    let file = std::env::temp_dir().join(format!("{}.tar", scratch.0.file_name().unwrap().to_str().unwrap()));
    fs::write(&file, archive).unwrap();
    Job::new("unpack", crate::image::Location::File(file), scratch.target())
}

pub(super) fn run(job: &Job) -> Result<ImageReport> {
    let client = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
    let unpacked = unpack(job, &client, &Reporter::new("r", Vec::new()));
    if let crate::image::Location::File(file) = &job.source {
        let _gone = fs::remove_file(file);
    }
    unpacked
}

/// Unpacks, proves that nothing outside changed, and gives what was said of a failure.
fn unpacked(scratch: &Scratch, archive: &[u8]) -> Result<ImageReport, String> {
    let before = scratch.outside();
    let job = job(scratch, archive);
    let begin = format!("unpacking {} to {}: ", job.source, scratch.target().display());
    let report = run(&job).map_err(|error| error.to_string().strip_prefix(&begin).unwrap().to_owned());
    assert_eq!(scratch.outside(), before);
    report
}

#[test]
fn names_that_climb_are_refused_and_absolute_ones_are_relative() {
    let scratch = Scratch::new();
    let climbs =
        |name: &str, at: u64| Err(format!("at byte {at} of the archive: \"{name}\": its name climbs with \"..\""));
    let failure = |archive: Vec<u8>| unpacked(&scratch, &archive).map(|report| report.bytes_written);
    assert_eq!(failure(Making::default().file("../outside/x", b"x").end()), climbs("../outside/x", 512));
    assert_eq!(failure(Making::default().file("a/../../outside/x", b"x").end()), climbs("a/../../outside/x", 512));
    assert_eq!(failure(Making::default().directory("..").end()), climbs("..", 512));
    let long = "x/".repeat(100) + "../../x";
    assert_eq!(failure(Making::default().pax(&[("path", long.as_bytes())]).file("x", b"").end()), {
        let shown = format!("{}...", &long[..200]);
        climbs(&shown, 1536)
    });
    let outside = scratch.0.join("outside/new");
    let outside = outside.to_str().unwrap();
    assert_eq!(failure(Making::default().file(outside, b"abc").end()), Ok(3));
    assert_eq!(scratch.read(outside.strip_prefix('/').unwrap()), "abc");
}

#[test]
fn links_lead_within_the_target_wherever_they_point() {
    let through = |link: &str| {
        let scratch = Scratch::new();
        let archive = Making::default().directory("outside").link(b'2', "l", link).file("l/x", b"new").end();
        let report = unpacked(&scratch, &archive).map(|_| ());
        let made: Vec<_> = ["x", "outside/x"].into_iter().filter(|name| scratch.target().join(name).exists()).collect();
        (report, made)
    };
    // Beyond the target's own root there is nothing to climb to.
    for (link, made) in [("../outside", "outside/x"), ("../../../../outside", "outside/x"), ("/", "x"), ("..", "x")] {
        assert_eq!(through(link), (Ok(()), vec![made]), "{link}");
    }
    let nowhere = "making \"l/x\": opening its folder: No such file or directory";
    assert_eq!(through("/proc/self/root/etc"), (Err(nowhere.to_owned()), vec![]));
    let itself = "making \"l/x\": opening its folder: Too many symbolic links encountered";
    assert_eq!(through("l"), (Err(itself.to_owned()), vec![]));

    let scratch = Scratch::new();
    let outside = scratch.0.join("outside");
    let chain = Making::default()
        .link(b'2', "a", "b")
        .link(b'2', "b", "c/../c")
        .link(b'2', "c", outside.to_str().unwrap())
        .file("a/secret", b"new")
        .end();
    assert_eq!(
        unpacked(&scratch, &chain),
        Err("making \"a/secret\": opening its folder: No such file or directory".to_owned())
    );
}

#[test]
fn what_stands_there_is_replaced_and_never_written_through() {
    let scratch = Scratch::new();
    let secret = scratch.0.join("outside/secret");
    let folder = scratch.0.join("outside/folder");
    let (secret, folder) = (secret.to_str().unwrap(), folder.to_str().unwrap());
    for (name, to) in [("file", secret), ("folder", folder), ("fifo", secret)] {
        std::os::unix::fs::symlink(to, scratch.target().join(name)).unwrap();
    }
    let archive = Making::default()
        .file("file", b"new")
        .directory("folder")
        .file("folder/x", b"x")
        .raw(&header(b"fifo", b'6', 0), b"")
        .file("twice", b"the first, and longer")
        .file("twice", b"second")
        .link(b'1', "same", "twice")
        .link(b'1', "twice", "twice")
        .directory("empty")
        .link(b'2', "empty", folder)
        .end();
    assert_eq!(unpacked(&scratch, &archive).unwrap().bytes_written, 31);
    assert_eq!(
        (scratch.read("file"), scratch.read("folder/x"), scratch.read("twice")),
        ("new".into(), "x".into(), "second".into())
    );
    let kind = |name: &str| scratch.target().join(name).symlink_metadata().unwrap();
    assert!(kind("folder").is_dir() && kind("file").is_file() && kind("empty").is_symlink());
    assert_eq!(kind("same").ino(), kind("twice").ino());
    assert_eq!(kind("fifo").mode() & 0o170_000, 0o010_000);

    let replaced = Making::default().directory("d").file("d/x", b"").link(b'2', "d", folder).end();
    let words = "making \"d\": a folder that is not empty stands in its place";
    assert_eq!(unpacked(&scratch, &replaced).map(|_| ()), Err(words.to_owned()));
}

#[test]
fn hard_links_need_their_target_within_the_tree() {
    let scratch = Scratch::new();
    let secret = scratch.0.join("outside/secret");
    let failure = |archive: Vec<u8>| unpacked(&scratch, &archive).map(|_| ()).unwrap_err();
    assert_eq!(
        failure(Making::default().link(b'1', "h", "../outside/secret").end()),
        "at byte 512 of the archive: \"h\": its target is outside: \"../outside/secret\""
    );
    let absolute = secret.to_str().unwrap();
    assert_eq!(
        failure(Making::default().link(b'1', "h", absolute).end()),
        format!("making \"h\": the hard link's target {:?} is not there", &absolute[1..])
    );
    let outside = scratch.0.join("outside");
    let through = Making::default().link(b'2', "l", outside.to_str().unwrap()).link(b'1', "h", "l/secret");
    assert_eq!(failure(through.end()), "making \"h\": the hard link's target \"l/secret\" is not there");
    // The link itself gets another name, and what is written under that takes its place.
    let through = Making::default().link(b'2', "l", absolute).link(b'1', "h", "l").file("h", b"new").end();
    unpacked(&scratch, &through).unwrap();
    assert_eq!(scratch.read("h"), "new");
    assert_eq!(
        failure(Making::default().directory("d").link(b'1', "h", "d").end()),
        "making \"h\": a hard link to a folder cannot be made"
    );
    assert_eq!(
        failure(Making::default().link(b'1', "h", "/").end()),
        "making \"h\": the hard link's target \"\" is not there"
    );
}

#[test]
fn truncation_damage_and_garbage_are_told_apart() {
    let whole = Making::default().directory("d").file("d/x", &[7; 3000]).file("y", b"y").end();
    let failure = |archive: &[u8]| unpacked(&Scratch::new(), archive).map(|_| ()).unwrap_err();
    for length in (513..whole.len() - 1024).step_by(171) {
        let words = failure(&whole[..length]);
        assert!(words.ends_with("the archive is truncated"), "{length}: {words}");
    }
    assert_eq!(failure(&whole[..4000]), "at byte 4000 of the archive: \"d/x\": the archive is truncated");
    assert_eq!(
        failure(&[&whole[..], b"more"].concat()),
        format!("at byte {}: garbage follows the end of the archive", whole.len())
    );
    let mut damaged = whole.clone();
    damaged[4096 + 10] ^= 1;
    assert_eq!(failure(&damaged), "at byte 4096, after \"d/x\": its header is corrupt: the checksum differs");
    assert_eq!(failure(&[]), "it is empty");
    assert_eq!(failure(b"<html>"), "expected a tar archive, found an HTML page");
    assert_eq!(failure(&[0; 1024]), "expected a tar archive, found raw data");
    // As tar's own, one block of zeros at the end will do.
    assert_eq!(unpacked(&Scratch::new(), &whole[..whole.len() - 512]).map(|_| ()), Ok(()));
}

#[test]
fn packed_archives_are_unpacked_and_their_digests_and_sizes_compared() {
    let whole = Making::default().file("x", &[7; 100_000]).end();
    for form in PACKED {
        let scratch = Scratch::new();
        let packed = pack(&whole, form);
        let mut job = job(&scratch, &packed);
        job.container = Some(form);
        job.size = Some(Bytes::new(widen(whole.len())));
        job.digests = vec![digest(&whole)];
        job.container_digests = vec![digest(&packed)];
        let report = run(&job).unwrap();
        assert_eq!((report.bytes_read, report.bytes_written, report.proved), (widen(packed.len()), 100_000, true));
        assert_eq!(report.digests, [digest(&whole).to_string()]);

        let failure = |change: &dyn Fn(&mut Job), archive: &[u8]| {
            let mut job = self::job(&scratch, archive);
            change(&mut job);
            let begin = format!("unpacking {} to {}: ", job.source, scratch.target().display());
            let error = run(&job).unwrap_err();
            assert_eq!(error.kind(), Kind::Image);
            let left = format!(
                "what is in {} is not proved: do not use it, and empty it before another try",
                job.target().display()
            );
            let is_begun = fs::read_dir(job.target()).unwrap().count() > 0;
            assert_eq!(error.advice(), is_begun.then_some(left.as_str()), "{error}");
            for entry in fs::read_dir(job.target()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            error.to_string().strip_prefix(&begin).unwrap().replace(&job.source.to_string(), "FILE")
        };
        let (right, wrong) = (digest(&whole), digest(b""));
        assert_eq!(
            failure(&|job| job.digests = vec![digest(b"")], &packed),
            format!("FILE: digest of the image is {right}, expected {wrong}")
        );
        assert_eq!(
            failure(&|job| job.container_digests = vec![digest(b"")], &packed),
            format!("FILE: digest of the file is {}, expected {wrong}", digest(&packed))
        );
        let length = whole.len();
        assert_eq!(
            failure(&|job| job.size = Some(Bytes::new(5)), &packed),
            "the image is longer than the 5 bytes that it should have"
        );
        assert_eq!(
            failure(&|job| job.size = Some(Bytes::new(1 << 30)), &packed),
            format!("the image has {length} bytes and should have {}", 1 << 30)
        );
        let words = failure(&|_| (), &packed[..packed.len() - 3]);
        assert!(words.ends_with(&format!("the {} stream is truncated", form.as_str())), "{words}");
        assert_eq!(
            failure(&|_| (), &pack(b"no archive at all", form)),
            "at byte 17 of the archive: the archive is truncated"
        );
        assert_eq!(failure(&|_| (), &pack(&[1; 600], form)), "expected a tar archive, found raw data inside");
        assert_eq!(
            failure(&|job| job.container = Some(form), &whole),
            format!("expected {}, found a tar archive", form.as_str())
        );
    }
}

#[test]
fn what_may_stand_before_entries_is_bounded_whatever_it_is_made_of() {
    let failure = |archive: Vec<u8>| unpacked(&Scratch::new(), &archive).map(|_| ()).unwrap_err();
    let refused =
        |at: usize| format!("at byte {at} of the archive: its extensions take more than {} bytes of memory", 4 << 20);
    let block = |data: usize| 512 + data.next_multiple_of(512);
    let large = vec![b'x'; 3 << 20];
    let one = Making::default().pax(&[("SCHILY.xattr.user.a", &large)]);
    let length = one.0.len();
    assert_eq!(failure(one.pax(&[("SCHILY.xattr.user.b", &large)]).file("x", b"").end()), refused(2 * length));
    // The last of a key counts, so that repeating it takes nothing.
    let twice = Making::default().pax(&[("comment", &large)]).pax(&[("comment", &large)]).file("x", b"").end();
    assert_eq!(unpacked(&Scratch::new(), &twice).map(|_| ()), Ok(()));

    let long = |kind: u8| header(b"././@LongLink", kind, large.len() as u64);
    let both = Making::default().raw(&long(b'K'), &large).raw(&long(b'L'), &large).file("x", b"").end();
    assert_eq!(failure(both), refused(2 * block(large.len())));

    // Small records take much more than their bytes.
    let small: Vec<u8> = (10_000..60_000).flat_map(|key: u32| super::making::record(&key.to_string(), b"")).collect();
    let header_of = |kind: u8, data: &[u8]| header(b"PaxHeaders/x", kind, data.len() as u64);
    let many = Making::default().raw(&header_of(b'x', &small), &small).file("x", b"").end();
    assert_eq!(failure(many), refused(block(small.len())));

    // What holds for all entries stays to the end: numbers add up over headers and entries.
    let numbers: Vec<u8> = super::making::record("GNU.sparse.offset", b"1").repeat(100_000);
    let mut making = Making::default();
    for name in ["a", "b", "c", "d", "e", "f"] {
        making = making.raw(&header_of(b'g', &numbers), &numbers).file(name, b"");
    }
    let at = 6 * block(numbers.len()) + 5 * 512;
    let words = failure(making.end());
    assert_eq!(words.replace("\"e\": ", ""), refused(at));
}

#[test]
fn advice_that_is_there_stays_and_what_is_in_the_folder_is_told_once_there_is_something() {
    let scratch = Scratch::new();
    let absent = Job::new("unpack", crate::image::Location::File(scratch.0.join("absent")), scratch.target());
    assert_eq!(run(&absent).unwrap_err().advice(), None);

    let job = job(&scratch, &Making::default().directory("d").file("d/x", &[7; 3000]).end()[..2000]);
    let left = format!(
        "what is in {} is not proved: do not use it, and empty it before another try",
        scratch.target().display()
    );
    assert_eq!(run(&job).unwrap_err().advice(), Some(left.as_str()));
}

fn digest(bytes: &[u8]) -> crate::image::Digest {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().unwrap()
}

#[test]
fn lists_name_the_users_of_the_archive_itself() {
    let scratch = Scratch::new();
    let list: &[u8] = b"user::rw-,user:lisa:r--,group::r--,group:team:r--,mask::r--,other::---";
    let archive = |users: &[u8]| {
        Making::default()
            .pax(&[("SCHILY.acl.access", list)])
            .file("x", b"x")
            .file("etc/passwd", users)
            .file("etc/group", b"team:x:4321:\n")
            .end()
    };
    unpacked(&scratch, &archive(b"lisa:x:1234:5:::\n")).unwrap();
    let expected = crate::image::archive::acl::binary(
        &String::from_utf8_lossy(list).replace("lisa", "1234").replace("team", "4321").into_bytes(),
        |_, _| None,
    );
    let python = "import os,sys;sys.stdout.buffer.write(os.getxattr(sys.argv[1],'system.posix_acl_access'))";
    let found =
        std::process::Command::new("python3").args(["-c", python]).arg(scratch.target().join("x")).output().unwrap();
    assert_eq!(found.stdout, expected.unwrap().unwrap());
    assert_eq!(
        unpacked(&scratch, &archive(b"")).map(|_| ()),
        Err("making \"x\": its access control list is corrupt: \"user:lisa:r--\"".to_owned())
    );
}

/// Makes what an archive holds, and neither flushes nor proves it.
fn make_all(tree: &mut Tree, archive: &[u8]) -> Result<()> {
    let mut reader = Reader::new(archive);
    let mut maker = Maker { tree, written: 0, buffer: vec![0; BUFFER], entries: 0 };
    while let Some(entry) = reader.next()? {
        maker.make(&entry, &mut reader, |_| Ok(()))?;
    }
    tree.finish().map_err(|(name, trouble)| trouble.about(&name))
}

#[test]
fn reading_back_finds_what_changed_and_what_is_gone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.target().join("lost+found")).unwrap();
    let archive =
        Making::default().directory("d").file("d/x", &[7; 200_000]).file("y", b"y").link(b'1', "z", "y").end();
    let check = |spoil: &dyn Fn(&Path)| {
        let mut tree = Tree::open(&scratch.target(), true).unwrap();
        make_all(&mut tree, &archive).unwrap();
        tree.flush().unwrap();
        spoil(&scratch.target());
        let contents = tree.contents.take().unwrap().sorted();
        check::read_back(tree.root(), contents, &crate::image::Cancel::default(), |_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(&|_| ()), Ok(()));
    let spoilt = check(&|target| {
        let file = fs::File::options().write(true).open(target.join("d/x")).unwrap();
        file.write_all_at(b"\x08", 150_000).unwrap();
    });
    assert_eq!(spoilt, Err("reading back: \"d/x\" does not hold what was written".to_owned()));
    let longer = check(&|target| fs::write(target.join("y"), "yy").unwrap()).unwrap_err();
    // It has two names, and the folder's order tells which is found first.
    assert_eq!(longer.replace("\"z\"", "\"y\""), "reading back: \"y\" does not hold what was written");
    let gone = check(&|target| fs::remove_file(target.join("d/x")).unwrap());
    assert_eq!(gone, Err("reading back: 1 of 2 files are not there any more".to_owned()));
}

#[test]
fn folders_get_their_times_at_the_end_and_missing_ones_are_made() {
    let scratch = Scratch::new();
    let archive = Making::default().directory("./").directory("d/").file("d/x", b"x").file("e/f/x", b"x").end();
    unpacked(&scratch, &archive).unwrap();
    let facts = |name: &str| scratch.target().join(name).metadata().map(|it| (it.mtime(), it.mode())).unwrap();
    assert_eq!(facts("."), (1_000_000_000, 0o40755));
    assert_eq!(facts("d"), (1_000_000_000, 0o40755));
    assert_eq!(facts("d/x"), (1_000_000_000, 0o100_644));
    assert_eq!(facts("e/f").1, 0o40755);
}

#[test]
fn what_cannot_be_made_is_named() {
    let failure = |archive: Vec<u8>| unpacked(&Scratch::new(), &archive).map(|_| ()).unwrap_err();
    let of_kind = |kind: u8| failure(Making::default().raw(&header(b"x", kind, 0), b"").end());
    assert_eq!(of_kind(b'Z'), "at byte 512 of the archive: \"x\": its kind 'Z' is not known");
    assert_eq!(of_kind(b'M'), "at byte 512 of the archive: \"x\": it goes on from another archive");
    assert_eq!(of_kind(b'2'), "at byte 512 of the archive: \"x\": the link says nothing");
    assert_eq!(
        failure(Making::default().file("/", b"").link(b'2', "./", "x").end()),
        "at byte 1024 of the archive: \"./\": it has no name"
    );
    let long = "x".repeat(300);
    assert_eq!(
        failure(Making::default().pax(&[("path", long.as_bytes())]).file("x", b"").end()),
        format!("making \"{}...\": looking at what stands there: File name too long", &long[..200])
    );
    let large = header(b"x", b'L', 5 << 20);
    assert_eq!(
        failure(Making::default().raw(&large, b"").end()),
        "at byte 512 of the archive: an extension of 5242880 bytes is too long"
    );
    assert_eq!(
        failure(Making::default().pax(&[("uid", b"4294967295")]).file("x", b"").end()),
        "at byte 1536 of the archive: \"x\": its uid 4294967295 is none"
    );
}

/// Names and links of few parts, so that they meet each other.
fn part() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!["a", "b", "..", ".", "", "outside", "target"]), 1..4)
        .prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_names_an_archive_has_nothing_outside_changes(
        entries in proptest::collection::vec((part(), part(), proptest::sample::select(vec![b'0', b'1', b'2', b'5', b'6'])), 1..8),
        is_absolute in any::<bool>(),
    ) {
        let scratch = Scratch::new();
        let mut making = Making::default();
        for (name, link, kind) in &entries {
            let link = if is_absolute { format!("{}/{link}", scratch.0.display()) } else { link.clone() };
            making = match kind {
                b'0' => making.file(name, b"new"),
                b'5' => making.directory(name),
                b'6' => making.raw(&header(name.as_bytes(), b'6', 0), b""),
                kind => making.link(*kind, name, &link),
            };
        }
        let before = scratch.outside();
        // What fails is as good as what does not.
        let _either = make_all(&mut Tree::open(&scratch.target(), true).unwrap(), &making.end());
        prop_assert_eq!(scratch.outside(), before);
    }

    #[test]
    fn broken_archives_are_errors_and_nothing_else(
        flips in proptest::collection::vec((0usize..8192, any::<u8>()), 0..12),
        length in 0usize..9000,
    ) {
        let mut bytes = Making::default()
            .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"900"), ("GNU.sparse.name", b"s"), ("mtime", b"-1.5")])
            .file("x", &[b"1\n5\n5\n".as_slice(), &[0; 506], b"abcde"].concat())
            .raw(&header(b"long", b'L', 3), b"abc")
            .file("y", &[1; 700])
            .end();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] ^= byte;
            // Damage behind the checksum's back.
            if let Some(block) = bytes[at / 512 * 512..].first_chunk_mut().filter(|block| block[257..262] == *b"ustar") {
                super::making::seal(block);
            }
        }
        bytes.truncate(length);
        let mut reader = Reader::new(bytes.as_slice());
        let mut buffer = [0; 100];
        while let Ok(Some(_)) = reader.next() {
            while reader.read_data(&mut buffer).is_ok_and(|count| count > 0) {}
        }
    }
}

#[test]
fn names_in_messages_are_bytes_made_readable() {
    let scratch = Scratch::new();
    let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff"));
    unpacked(&scratch, &Making::default().raw(&header(b"a\xff", b'0', 0), b"").end()).unwrap();
    assert!(scratch.target().join(path).is_file());
}
