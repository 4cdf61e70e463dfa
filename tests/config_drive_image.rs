//! The config drive's file system, judged by the tools that administrators and cloud-init use.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bedplate::configdrive::{ConfigDrive, LABEL, fat_image};
use bedplate::units::{Bytes, SectorSize};
use time::OffsetDateTime;

const VOLUME_ID: u32 = 0x1234_ABCD;

/// Four files, one of them of many clusters.
fn drive() -> ConfigDrive {
    let long: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let files = [
        ("meta-data", b"instance-id: i1\n".to_vec()),
        ("network-config", b"version: 2\n".to_vec()),
        ("user-data", long),
        ("vendor-data", Vec::new()),
    ];
    ConfigDrive { files: files.map(|(name, content)| (name.to_owned(), content)).into() }
}

fn made() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_323_045).unwrap()
}

/// Runs a tool that must succeed and gives its standard output.
fn tool(name: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(name);
    // dosfstools and blkid stand where a user's PATH may not lead.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TZ", "UTC").args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{output:?}", output.status);
    output.stdout
}

fn written(name: &str, image: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, image).unwrap();
    path
}

/// Checks an image of 20 MiB, as the config drive's partition is.
fn check(sector_size: SectorSize, file: &str) {
    let drive = drive();
    let image = fat_image(&drive, Bytes::mib(20), sector_size, VOLUME_ID, made()).unwrap();
    assert_eq!(image.len(), 20 << 20);
    assert_eq!(image, fat_image(&drive, Bytes::mib(20), sector_size, VOLUME_ID, made()).unwrap());
    let path = written(file, &image);
    let path = path.to_str().unwrap();

    tool("fsck.fat", &["-n", path]);
    let found = String::from_utf8(tool("blkid", &["-p", "-o", "export", path])).unwrap();
    for expected in ["TYPE=vfat", &format!("LABEL={LABEL}"), "UUID=1234-ABCD", "VERSION=FAT16"] {
        assert!(found.lines().any(|line| line == expected), "{expected}: {found}");
    }
    let listing = String::from_utf8(tool("mdir", &["-i", path, "::"])).unwrap();
    assert!(listing.contains("2026-01-02   3:04"), "{listing}");
    assert!(listing.contains("        4 files"), "{listing}");
    for (name, content) in &drive.files {
        assert!(tool("mtype", &["-i", path, &format!("::{name}")]) == *content, "{name} differs");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn image_with_sectors_of_512_bytes_is_sound_and_holds_every_file() {
    check(SectorSize::B512, "config-drive-512.img");
}

#[test]
fn image_with_sectors_of_4096_bytes_is_sound_and_holds_every_file() {
    check(SectorSize::B4096, "config-drive-4096.img");
}

#[test]
fn too_small_or_uneven_size_is_refused_by_name() {
    let refused =
        |size, sector_size| fat_image(&drive(), size, sector_size, VOLUME_ID, made()).unwrap_err().to_string();
    let uneven = refused(Bytes::new((20 << 20) + 512), SectorSize::B4096);
    assert_eq!(uneven, "making the config drive in 20972032 bytes with sectors of 4096 bytes: the last sector is cut");
    let full = refused(Bytes::mib(1), SectorSize::B512);
    assert!(
        full.starts_with("making the config drive in 1048576 bytes with sectors of 512 bytes: adding user-data: "),
        "{full}"
    );
    refused(Bytes::ZERO, SectorSize::B512);
    refused(Bytes::kib(4), SectorSize::B4096);
}
