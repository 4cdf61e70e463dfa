//! Images on a real file system.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind};
use crate::image::making::Making;
use crate::master::token::hex;
use crate::scratch::Scratch;

use super::metadata::{ImageId, METADATA, Metadata, Part};
use super::store::{ACTIVE, PREVIOUS, Status, Store};

pub(super) const FIRST: &str = "11111111-1111-4111-8111-111111111111";
pub(super) const SECOND: &str = "22222222-2222-4222-8222-222222222222";
const THIRD: &str = "33333333-3333-4333-8333-333333333333";

const KERNEL: &[u8] = b"kernel";
const INITRD: &[u8] = b"initrd";
const ROOT: &[u8] = b"hsqs and so on";

fn module(part: Part, bytes: &[u8]) -> String {
    let (md5, sha256) = (hex(&Md5::digest(bytes)), hex(&Sha256::digest(bytes)));
    let (key, file, size) = (part.key(), part.file(), bytes.len());
    format!("  {key}: {{file: {file}, raw_md5: '{md5}', raw_sha256: '{sha256}', raw_size: {size}}}\n")
}

/// As a build writes them.
fn metadata(uuid: &str) -> String {
    let modules = [(Part::Kernel, KERNEL), (Part::Initrd, INITRD), (Part::Root, ROOT)];
    let modules: String = modules.iter().map(|(part, bytes)| module(*part, bytes)).collect();
    format!("uuid: {uuid}\nlabel: label of {}\nextend_kopts: 'net.ifnames=1'\nmodules:\n{modules}", &uuid[..4])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// What `tar -czf X --directory FOLDER .` makes of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let making = files.iter().fold(Making::default().directory("./"), |making, (name, bytes)| making.file(name, bytes));
    gzip(&making.end())
}

fn image(metadata: &str) -> Vec<u8> {
    archive(&[
        ("./vmlinuz", KERNEL),
        ("./metadata.yaml", metadata.as_bytes()),
        ("./initrd.img", INITRD),
        ("./root.squashfs", ROOT),
    ])
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store of its own.
pub(super) struct Images {
    pub(super) store: Store,
    scratch: Scratch,
}

impl Images {
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        Self { store: Store::new(scratch.path("bootstraps"), None), scratch }
    }

    pub(super) fn with(ids: &[&str]) -> Self {
        let images = Self::new();
        ids.iter().for_each(|id| drop(images.store.import_stream(image(&metadata(id)).as_slice()).unwrap()));
        images
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.scratch.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, archive: &[u8]) -> String {
        let path = self.write("x.tar.gz", archive);
        let error = self.store.import(&path).unwrap_err();
        let text = error.to_string();
        assert_eq!(names(self.store.folder()), [".lock"], "{text}: nothing is left");
        text.strip_prefix(&format!("importing {}: ", path.display())).unwrap().to_owned()
    }

    fn list(&self) -> String {
        self.store.list().unwrap().text()
    }

    pub(super) fn set_active(&self, name: Option<&str>) {
        self.store.set_active(&self.store.change().unwrap(), name.map(id).as_ref()).unwrap();
    }
}

pub(super) fn id(name: &str) -> ImageId {
    name.parse().unwrap()
}

fn words(error: &Error) -> (Kind, String) {
    (error.kind(), error.to_string())
}

#[test]
fn what_a_build_made_is_imported_as_it_is() {
    let images = Images::new();
    let path = images.write("x.tar.gz", &image(&metadata(FIRST)));
    let imported = images.store.import(&path).unwrap();
    assert_eq!((imported.uuid.as_str(), imported.label.as_str()), (FIRST, "label of 1111"));
    assert_eq!(imported.computed, Vec::<String>::new());
    assert_eq!(names(images.store.folder()), [".lock", FIRST]);
    let folder = images.store.folder().join(FIRST);
    assert_eq!(names(&folder), ["initrd.img", "metadata.yaml", "root.squashfs", "vmlinuz"]);
    assert_eq!(fs::read_to_string(folder.join(METADATA)).unwrap(), metadata(FIRST), "not written anew");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("vmlinuz")), mode(&folder.join(METADATA))), (0o755, 0o644, 0o644));
    let image = images.store.image(&id(FIRST)).unwrap();
    assert_eq!(fs::read(image.path(Part::Root)).unwrap(), ROOT);
}

#[test]
fn what_metadata_made_by_hand_do_not_say_is_computed_and_told() {
    let images = Images::new();
    let by_hand = format!("uuid: {FIRST}\nextend_kopts: ''\nmaker: me\n");
    let archive = archive(&[("metadata.yaml", by_hand.as_bytes()), ("vmlinuz", KERNEL), ("initrd.img", INITRD)]);
    let imported = images.store.import_stream(archive.as_slice()).unwrap();
    let expected = ["raw_size", "raw_md5", "raw_sha256"];
    let expected = ["kernel", "initrd"].iter().flat_map(|part| expected.map(|key| format!("modules.{part}.{key}")));
    assert_eq!(imported.computed, expected.collect::<Vec<_>>());
    let written = fs::read(images.store.folder().join(FIRST).join(METADATA)).unwrap();
    let mut expected = Metadata::parse(metadata(FIRST).as_bytes()).unwrap();
    expected.modules.remove(&Part::Root);
    expected.further.insert("maker".into(), "me".into());
    let expected = Metadata { extend_kopts: String::new(), label: FIRST.into(), ..expected };
    assert_eq!(Metadata::parse(&written).unwrap(), expected);
}

#[test]
fn nothing_is_imported_twice() {
    let images = Images::with(&[FIRST]);
    let error = images.store.import_stream(image(&metadata(FIRST)).as_slice()).unwrap_err();
    assert_eq!(words(&error), (Kind::Refused, format!("there is a bootstrap image {FIRST} already")));
    assert_eq!(names(images.store.folder()), [".lock", FIRST]);
}

#[test]
fn files_that_are_not_those_of_their_metadata_are_refused() {
    let images = Images::new();
    let good = metadata(FIRST);
    let with = |root: &[u8]| {
        let files: [(&str, &[u8]); 4] =
            [("vmlinuz", KERNEL), ("metadata.yaml", good.as_bytes()), ("initrd.img", INITRD), ("root.squashfs", root)];
        archive(&files)
    };
    assert_eq!(images.refused(&with(b"hsqs")), "root.squashfs: its size is 4, its metadata say 14");
    let other = b"hsqs And so on";
    let (found, said) = (hex(&Md5::digest(other)), hex(&Md5::digest(ROOT)));
    assert_eq!(images.refused(&with(other)), format!("root.squashfs: its MD5 is {found}, its metadata say {said}"));
    let (right, wrong) = (hex(&Sha256::digest(KERNEL)), "ab".repeat(32));
    let refused = images.refused(&image(&good.replace(&right, &wrong)));
    assert_eq!(refused, format!("vmlinuz: its SHA-256 is {right}, its metadata say {wrong}"));
    let no_root = archive(&[("vmlinuz", KERNEL), ("metadata.yaml", good.as_bytes()), ("initrd.img", INITRD)]);
    assert_eq!(images.refused(&no_root), "there is no root.squashfs in the archive");
    let no_kernel = archive(&[("metadata.yaml", b"uuid: x\nextend_kopts: ''\n"), ("initrd.img", INITRD)]);
    assert_eq!(images.refused(&no_kernel), "there is no vmlinuz in the archive");
    assert_eq!(images.refused(&archive(&[("vmlinuz", KERNEL)])), "there is no metadata.yaml in the archive");
    let nameless = archive(&[("metadata.yaml", b"extend_kopts: ''")]);
    assert_eq!(images.refused(&nameless), "reading metadata.yaml: uuid: it is missing");
}

#[test]
fn an_archive_has_no_way_out_and_holds_nothing_else() {
    let images = Images::new();
    let outside = images.write("victim", b"untouched");
    let of = |making: Making| gzip(&making.end());
    for (archive, words) in [
        (archive(&[("../victim", b"x")]), "its name climbs with"),
        (archive(&[("/tmp/x/vmlinuz", b"x")]), "expected files in the archive's root alone"),
        (archive(&[("boot/vmlinuz", b"x")]), "expected files in the archive's root alone"),
        (of(Making::default().directory("boot")), "expected files in the archive's root alone"),
        (of(Making::default().link(b'2', "vmlinuz", "../victim").file("vmlinuz", b"x")), "expected a plain file"),
        (of(Making::default().link(b'1', "vmlinuz", "/etc/shadow")), "expected a plain file"),
        (archive(&[("init", b"x")]), "in the archive, found \"init\""),
        (archive(&[("vmlinuz", b"x"), ("./vmlinuz", b"y")]), "vmlinuz is in the archive twice"),
        (Making::default().file("vmlinuz", b"x").end(), "expected a tar archive that is packed with gzip"),
        (b"".to_vec(), "unexpected end of file"),
        (gzip(b"no archive"), "truncated"),
    ] {
        let refused = images.refused(&archive);
        assert!(refused.contains(words), "{refused}: expected {words}");
    }
    let whole = image(&metadata(FIRST));
    for length in [1, 10, whole.len() / 2, whole.len() - 1] {
        images.refused(&whole[..length]);
    }
    images.refused(&[whole.as_slice(), b"garbage"].concat());
    assert_eq!(fs::read(outside).unwrap(), b"untouched");
}

#[test]
fn an_endless_file_is_refused_before_it_is_unpacked() {
    let images = Images::new();
    let mut header = crate::image::making::header(b"vmlinuz", b'0', 0);
    header[124..136].copy_from_slice(b"777777777777");
    crate::image::making::seal(&mut header);
    let refused = images.refused(&gzip(&Making::default().raw(&header, b"x").0));
    assert_eq!(refused, "unpacking vmlinuz: expected at most 17179869184 bytes, found 68719476735");
    let header = crate::image::making::header(b"metadata.yaml", b'0', 5 << 20);
    let refused = images.refused(&gzip(&Making::default().raw(&header, b"x").0));
    assert_eq!(refused, "metadata.yaml: expected at most 4194304 bytes, found 5242880");
}

#[test]
fn a_folder_is_not_imported() {
    let images = Images::new();
    let folder = images.scratch.path("plain");
    fs::create_dir(&folder).unwrap();
    let error = images.store.import(&folder).unwrap_err();
    let expected = format!("importing {}: it is a folder, expected a tar.gz", folder.display());
    assert_eq!(words(&error), (Kind::Usage, expected));
    assert!(error.advice().unwrap().contains("--no-compress"));
}

#[test]
fn what_a_killed_import_left_is_not_seen_and_goes_with_the_next() {
    let images = Images::with(&[FIRST]);
    let left = images.store.folder().join(".import-0123");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("vmlinuz"), "half").unwrap();
    assert_eq!(images.store.list().unwrap().images.len(), 1);
    images.store.import_stream(image(&metadata(SECOND)).as_slice()).unwrap();
    assert_eq!(names(images.store.folder()), [".lock", FIRST, SECOND]);
}

#[test]
fn the_list_names_what_is_active_and_what_is_broken() {
    let images = Images::with(&[FIRST, SECOND, THIRD]);
    assert_eq!(Images::new().list(), "uuid  label  status\n");
    images.set_active(Some(FIRST));
    images.set_active(Some(SECOND));
    fs::write(images.store.folder().join(THIRD).join("vmlinuz"), "other").unwrap();
    fs::create_dir(images.store.folder().join("empty")).unwrap();
    let expected = format!(
        "uuid                                  label          status\n\
         {FIRST}  label of 1111  previous\n\
         {SECOND}  label of 2222  active\n\
         {THIRD}                 broken: vmlinuz has 5 bytes, expected 6\n\
         empty                                                broken: there is no metadata.yaml\n"
    );
    assert_eq!(images.list(), expected);
    let second = &images.store.list().unwrap().images[1];
    assert_eq!((second.status, second.bytes, &second.problem), (Status::Active, Some(26), &None));
    fs::remove_dir_all(images.store.folder().join(SECOND)).unwrap();
    assert!(images.list().contains(&format!("{SECOND}                 active, broken: its folder is not there\n")));
}

#[test]
fn an_image_under_another_name_is_broken() {
    let images = Images::with(&[FIRST]);
    fs::rename(images.store.folder().join(FIRST), images.store.folder().join(SECOND)).unwrap();
    let error = images.store.image(&id(SECOND)).unwrap_err();
    let expected =
        format!("checking the bootstrap image {SECOND}: metadata.yaml: uuid: expected {SECOND}, found {FIRST}");
    assert_eq!(words(&error), (Kind::Image, expected));
}

#[test]
fn links_name_the_active_image_and_the_one_before() {
    let images = Images::with(&[FIRST, SECOND]);
    let link = |name: &str| fs::read_link(images.store.folder().join(name)).ok();
    images.set_active(Some(FIRST));
    assert_eq!((link(ACTIVE), link(PREVIOUS)), (Some(FIRST.into()), None));
    images.set_active(Some(SECOND));
    images.set_active(Some(SECOND));
    assert_eq!((link(ACTIVE), link(PREVIOUS)), (Some(SECOND.into()), Some(FIRST.into())));
    images.set_active(None);
    assert_eq!((link(ACTIVE), link(PREVIOUS)), (None, Some(SECOND.into())));
    // Upstream's link is absolute and may lie elsewhere.
    let elsewhere = images.scratch.path("active");
    let store = Store::new(images.store.folder(), Some(elsewhere.clone()));
    store.set_active(&store.change().unwrap(), Some(&id(FIRST))).unwrap();
    assert_eq!(fs::read_link(&elsewhere).unwrap(), images.store.folder().join(FIRST));
    assert_eq!(store.active().unwrap(), Some(id(FIRST)));
    fs::remove_file(&elsewhere).unwrap();
    std::os::unix::fs::symlink("/srv/other/x", &elsewhere).unwrap();
    assert_eq!(store.active().unwrap_err().kind(), Kind::Refused);
}

#[test]
fn what_nodes_start_and_what_a_roll_back_needs_is_not_deleted() {
    let images = Images::with(&[FIRST, SECOND, THIRD]);
    images.set_active(Some(FIRST));
    images.set_active(Some(SECOND));
    let deleted = |name: &str, is_forced| images.store.delete(name, is_forced).map_err(|error| words(&error));
    let refused =
        |name: &str, words: &str| Err((Kind::Refused, format!("deleting the bootstrap image {name}: {words}")));
    assert_eq!(deleted(SECOND, true), refused(SECOND, "it is the active one"));
    assert_eq!(deleted(FIRST, false), refused(FIRST, "a roll-back would need it"));
    assert_eq!(deleted(THIRD, false), Ok(()));
    assert_eq!(deleted(FIRST, true), Ok(()));
    assert_eq!(names(images.store.folder()), [".lock", SECOND, ACTIVE]);
    for name in [FIRST, "..", "../bootstraps/x", "", ".lock", ACTIVE] {
        assert_eq!(deleted(name, true), Err((Kind::Usage, format!("there is no bootstrap image {name:?}"))));
    }
    fs::create_dir(images.store.folder().join("broken one")).unwrap();
    assert_eq!(deleted("broken one", false), Ok(()));
}
