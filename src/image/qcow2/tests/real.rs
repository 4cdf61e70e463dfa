//! Images of the real `qemu-img`, compared byte by byte with what it makes of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::scratch::Scratch;

/// What the real tools do in a folder of their own.
struct Folder(Scratch);

impl Folder {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(arguments).current_dir(self.0.folder()).output();
        let output = output.unwrap_or_else(|error| panic!("{tool}: {error}: is qemu-utils installed?"));
        assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn img(&self, line: &str) {
        self.run("qemu-img", &line.split(' ').collect::<Vec<_>>());
    }

    /// What it refuses, compressed data over others, it tells and goes on.
    fn io(&self, image: &str, commands: &[String]) {
        let commands: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
        let arguments = [&["-f", "qcow2"][..], &commands, &[image]].concat();
        let output = Command::new("qemu-io").args(arguments).current_dir(self.0.folder()).output();
        output.unwrap_or_else(|error| panic!("qemu-io: {error}: is qemu-utils installed?"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn read(&self, name: &str) -> Memory {
        Memory::new(fs::read(self.path(name)).unwrap())
    }

    /// Ours and that of `qemu-img convert` are the same.
    fn compare(&self, name: &str) -> (Vec<u8>, Vec<Shape>) {
        self.img(&format!("convert -f qcow2 -O raw {name} expected"));
        let (bytes, shapes) = read(&self.read(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert!(bytes == fs::read(self.path("expected")).unwrap(), "{name}: the images differ");
        (bytes, shapes)
    }
}

/// Data that pack well, data that do not, short and long zeros; the end is no whole cluster.
fn content() -> Vec<u8> {
    let text = b"what is written here packs well. ".iter().copied().cycle();
    let mut bytes = Vec::new();
    for round in 0..2 {
        bytes.extend(noise(300_000 + usize::from(round) * 4096, u64::from(round) + 1));
        bytes.resize(bytes.len() + 70_000, 0);
        bytes.extend(text.clone().take(900_000));
        bytes.resize((bytes.len() + 1_300_000).next_multiple_of(512), 0);
        bytes.extend([round + 1; 512]);
    }
    bytes.extend(noise(5 * 512, 9));
    bytes
}

fn write_content(folder: &Folder) -> Vec<u8> {
    let bytes = content();
    fs::write(folder.path("raw"), &bytes).unwrap();
    bytes
}

#[test]
fn images_of_every_kind_equal_what_qemu_img_makes_of_them() {
    let folder = Folder::new();
    let expected = write_content(&folder);
    let kinds = [
        "-o compat=0.10",
        "-o compat=1.1",
        "-c -o compat=0.10",
        "-c -o compat=1.1",
        "-c -o compression_type=zstd",
        "-o lazy_refcounts=on",
        "-o preallocation=metadata",
        "-o preallocation=falloc",
        "-o preallocation=full",
        "-S 0",
        "-o refcount_bits=1",
        "-o extended_l2=on",
        "-c -o extended_l2=on",
        "-c -o extended_l2=on,compression_type=zstd",
    ];
    for kind in kinds {
        for cluster in ["512", "16k", "64k", "2M"] {
            if kind.contains("extended_l2") && cluster == "512" {
                continue;
            }
            let options = match kind.contains("-o ") {
                true => format!("{kind},cluster_size={cluster}"),
                false => format!("{kind} -o cluster_size={cluster}"),
            };
            folder.img(&format!("convert -f raw -O qcow2 {options} raw image"));
            let (bytes, _) = folder.compare("image");
            assert!(bytes == expected, "{options}: not what was put in");
        }
    }
}

#[test]
fn zeros_become_holes_and_clusters_side_by_side_are_one_read() {
    let folder = Folder::new();
    let mut bytes = vec![0; 12 << 20];
    bytes[1 << 20..3 << 20].copy_from_slice(&noise(2 << 20, 1));
    bytes[8 << 20] = 1;
    fs::write(folder.path("raw"), &bytes).unwrap();
    folder.img("convert -f raw -O qcow2 -c -o compression_type=zstd raw image");
    let file = folder.read("image");
    let (_, shapes) = read(&file).unwrap();
    let mib = 1 << 20;
    let expected = [
        (0, mib, false),
        (mib, mib, true),
        (2 * mib, mib, true),
        (3 * mib, 5 * mib, false),
        (8 * mib, 64 << 10, true),
        (8 * mib + (64 << 10), 4 * mib - (64 << 10), false),
    ];
    assert_eq!(shapes, expected);
    let reads = file.reads.lock().unwrap();
    assert_eq!(reads.len(), 3, "{reads:?}");
    assert!(reads.is_sorted(), "{reads:?}");
}

#[test]
fn sectors_that_clusters_share_are_read_once() {
    let folder = Folder::new();
    let text: Vec<u8> = (0..2_000_000_u32).flat_map(|number| number.to_string().into_bytes()).take(8 << 20).collect();
    fs::write(folder.path("raw"), &text).unwrap();
    for options in ["-c", "-c -o compression_type=zstd"] {
        folder.img(&format!("convert -f raw -O qcow2 {options} raw image"));
        let file = folder.read("image");
        assert!(read(&file).unwrap().0 == text);
        let reads = file.reads.lock().unwrap();
        assert_eq!(reads.len(), 8, "{reads:?}");
        let ends = reads.iter().map(|(start, length)| start + widen(*length));
        assert!(ends.zip(&reads[1..]).all(|(end, next)| end == next.0), "{reads:?}");
    }
}

#[test]
fn snapshots_inside_are_not_looked_at() {
    let folder = Folder::new();
    folder.img("create -f qcow2 image 5M");
    folder.io("image", &["write -P 1 0 3M".to_owned()]);
    folder.img("snapshot -c before image");
    folder.io("image", &["write -P 2 1M 1M".to_owned(), "write -z 2M 64k".to_owned()]);
    let (bytes, _) = folder.compare("image");
    assert_eq!((bytes[0], bytes[1 << 20], bytes[2 << 20], bytes[(2 << 20) + (64 << 10)]), (1, 2, 0, 1));
}

#[test]
fn images_made_larger_or_smaller_are_read_as_they_are_now() {
    let folder = Folder::new();
    for cluster in ["512", "64k"] {
        folder.img(&format!("create -f qcow2 -o cluster_size={cluster} image 1M"));
        folder.io("image", &["write -P 7 0 1M".to_owned()]);
        folder.img("resize -f qcow2 image 70M");
        folder.io("image", &["write -P 8 69M 1M".to_owned()]);
        assert_eq!(folder.compare("image").0.len(), 70 << 20);
        folder.img("resize -f qcow2 --shrink image 524800");
        assert_eq!(folder.compare("image").0, vec![7; 524_800]);
    }
}

#[test]
fn an_image_without_bytes_or_without_data_is_no_fault() {
    let folder = Folder::new();
    folder.img("create -f qcow2 image 0");
    assert_eq!(read(&folder.read("image")), Ok((Vec::new(), Vec::new())));
    folder.img("create -f qcow2 image 100M");
    assert_eq!(read(&folder.read("image")).map(|(_, shapes)| shapes), Ok(vec![(0, 100 << 20, false)]));
}

#[test]
fn huge_images_without_data_take_little_time_and_memory() {
    let folder = Folder::new();
    folder.img("create -f qcow2 -o cluster_size=2M image 1P");
    let file = folder.read("image");
    let mut image = open(&file).unwrap();
    assert_eq!(image.size(), 1 << 50);
    let mut length = 0;
    while let Some(stretch) = image.next().unwrap() {
        let Stretch::Hole(hole) = stretch else { panic!("data in an empty image") };
        length += hole;
    }
    assert_eq!(length, 1 << 50);
}

fn refusal(file: &Memory) -> String {
    open(file).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_needs_other_files_or_keys_is_refused_by_name() {
    let folder = Folder::new();
    folder.img("create -f qcow2 base 1M");
    folder.img("create -f qcow2 -b base -F qcow2 image");
    let words = "reading qcow2: at byte 8: it holds only what differs from a backing file (\"base\"): make one image of both with `qemu-img convert`";
    assert_eq!(refusal(&folder.read("image")), words);
    folder.img("create -f qcow2 -o data_file=data image 1M");
    let words = "reading qcow2: at byte 72: its data are in another file: make one of both with `qemu-img convert`";
    assert_eq!(refusal(&folder.read("image")), words);
    let secret = "create -f qcow2 --object secret,id=s,data=abc -o encrypt.key-secret=s,encrypt.format=luks,encrypt.iter-time=10 image 1M";
    folder.img(secret);
    assert_eq!(refusal(&folder.read("image")), "reading qcow2: at byte 32: it is encrypted with LUKS");
}

#[test]
fn an_image_that_was_not_closed_is_read() {
    let folder = Folder::new();
    folder.img("create -f qcow2 -o lazy_refcounts=on image 1M");
    let arguments = ["-f", "qcow2", "-c", "write -P 5 0 128k", "-c", "flush", "-c", "abort", "image"];
    let output = Command::new("qemu-io").args(arguments).current_dir(folder.0.folder()).output().unwrap();
    assert!(!output.status.success());
    let file = folder.read("image");
    assert_eq!(file.bytes[79] & 1, 1, "the image is not marked as dirty");
    let (bytes, _) = read(&file).unwrap();
    assert!(bytes[..128 << 10] == [5; 128 << 10] && bytes[128 << 10..] == vec![0; 896 << 10]);
}

#[test]
fn every_truncation_is_an_error() {
    let folder = Folder::new();
    write_content(&folder);
    for options in ["", "-c", "-c -o compression_type=zstd", "-o extended_l2=on"] {
        folder.img(format!("convert -f raw -O qcow2 {options} raw image").replace("  ", " ").as_str());
        let whole = fs::read(folder.path("image")).unwrap();
        // The rest of a last sector is of no meaning.
        let lengths = (0..whole.len() - 512).step_by(98_765).chain([whole.len() - 70_000]);
        for length in lengths {
            let outcome = read(&Memory::new(whole[..length].to_vec()));
            let fault = outcome.expect_err(&format!("{options}: cut at {length} of {}", whole.len()));
            assert!(fault.starts_with("reading qcow2: "), "{fault}");
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u32, u32, u8),
    Compressed(u32, u8),
    Zero(u32, u32),
    ZeroUnmap(u32, u32),
    Discard(u32, u32),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = || (0u32..6 << 20, prop_oneof![Just(512u32), 512u32..300_000]);
    let change = prop_oneof![
        (place(), any::<u8>()).prop_map(|((at, length), byte)| Change::Write(at, length, byte)),
        (0u32..6 << 20, any::<u8>()).prop_map(|(at, byte)| Change::Compressed(at, byte)),
        place().prop_map(|(at, length)| Change::Zero(at, length)),
        place().prop_map(|(at, length)| Change::ZeroUnmap(at, length)),
        place().prop_map(|(at, length)| Change::Discard(at, length)),
    ];
    proptest::collection::vec(change, 1..40)
}

const SIZE: u32 = (6 << 20) + 3 * 512;

/// The last byte of the incompatible features, and the bit in it that qemu sets when it finds an image at fault.
const MARKS: usize = 79;
const CORRUPT: u8 = 2;

fn command(change: &Change, cluster: u32) -> String {
    let cut = |at: u32, length: u32| (at / 512 * 512, length.min(SIZE - at / 512 * 512).next_multiple_of(512));
    match *change {
        Change::Write(at, length, byte) => {
            let (at, length) = cut(at, length);
            format!("write -P {byte} {at} {length}")
        }
        Change::Compressed(at, byte) => {
            let at = at / cluster * cluster;
            format!("write -c -P {byte} {at} {}", cluster.min(SIZE - at))
        }
        Change::Zero(at, length) => {
            let (at, length) = cut(at, length);
            format!("write -z {at} {length}")
        }
        Change::ZeroUnmap(at, length) => {
            let (at, length) = cut(at, length);
            format!("write -z -u {at} {length}")
        }
        Change::Discard(at, length) => {
            let (at, length) = cut(at, length);
            format!("discard {at} {length}")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_writes_are_read_as_qemu_img_reads_them(
        changes in changes(),
        bits in prop_oneof![Just(9u32), Just(12), Just(14), Just(16), Just(20), Just(21)],
        options in proptest::sample::select(&["compat=0.10", "compat=1.1", "compression_type=zstd", "extended_l2=on"][..]),
    ) {
        let bits = if options == "extended_l2=on" { bits.max(14) } else { bits };
        let folder = Folder::new();
        folder.img(&format!("create -f qcow2 -o cluster_size={},{options} image {SIZE}", 1 << bits));
        let commands: Vec<String> = changes.iter().map(|change| command(change, 1 << bits)).collect();
        folder.io("image", &commands);
        // Some of these sequences have qemu itself find its own image at fault: discarding what is packed into small clusters.
        let file = folder.read("image");
        if file.bytes[MARKS] & CORRUPT != 0 {
            let words = "reading qcow2: at byte 72: it is marked as corrupt: mend it with `qemu-img check -r all`";
            prop_assert_eq!(refusal(&file), words);
            return Ok(());
        }
        folder.compare("image");
    }
}
