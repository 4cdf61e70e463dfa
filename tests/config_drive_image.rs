//! The config drive's file system, judged by the tools that administrators and cloud-init use.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bedplate::configdrive::{ConfigDrive, check_prebuilt, fat_image, iso_image};
use bedplate::request::{DriveFileSystem, DriveForm};
use bedplate::units::{Bytes, SectorSize};
use time::OffsetDateTime;

const VOLUME_ID: u32 = 0x1234_ABCD;
const LABEL: &str = DriveForm::NoCloud.label();

/// Four files, one of them of many clusters.
fn drive() -> ConfigDrive {
    let long: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let files = [
        ("meta-data", b"instance-id: i1\n".to_vec()),
        ("network-config", b"version: 2\n".to_vec()),
        ("user-data", long),
        ("vendor-data", Vec::new()),
    ];
    ConfigDrive { files: files.map(|(name, content)| (name.to_owned(), content)).into(), prebuilt: None }
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
    let image = fat_image(&drive, Bytes::mib(20), sector_size, LABEL, VOLUME_ID, made()).unwrap();
    assert_eq!(image.len(), 20 << 20);
    assert_eq!(image, fat_image(&drive, Bytes::mib(20), sector_size, LABEL, VOLUME_ID, made()).unwrap());
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
        |size, sector_size| fat_image(&drive(), size, sector_size, LABEL, VOLUME_ID, made()).unwrap_err().to_string();
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

/// A tree as OpenStack has it, with a file of many blocks.
fn tree() -> ConfigDrive {
    let ConfigDrive { files, .. } = drive();
    let [_, _, long, _]: [Vec<u8>; 4] = files.into_values().collect::<Vec<_>>().try_into().unwrap();
    let files = [("meta_data.json", b"{}".to_vec()), ("network_data.json", Vec::new()), ("user_data", long)];
    let files = files.map(|(name, content)| (format!("openstack/latest/{name}"), content));
    ConfigDrive { files: files.into(), prebuilt: None }
}

#[test]
fn iso9660_has_label_identity_and_every_file_for_root_alone() {
    for (drive, form, name) in
        [(drive(), DriveForm::NoCloud, "cidata.iso"), (tree(), DriveForm::OpenStack, "config-2.iso")]
    {
        let image = iso_image(&drive, Bytes::mib(20), form.label(), VOLUME_ID, made()).unwrap();
        assert_eq!(image, iso_image(&drive, Bytes::mib(20), form.label(), VOLUME_ID, made()).unwrap());
        let path = written(name, &image);
        let path = path.to_str().unwrap();
        let found = String::from_utf8(tool("blkid", &["-p", "-o", "export", path])).unwrap();
        let uuid = format!("UUID={}", DriveFileSystem::Iso9660.uuid(VOLUME_ID));
        for expected in ["TYPE=iso9660", &format!("LABEL={}", form.label()), &uuid] {
            assert!(found.lines().any(|line| line == expected), "{expected}: {found}");
        }
        for (name, content) in &drive.files {
            let shown = tool("isoinfo", &["-R", "-i", path, "-x", &format!("/{name}")]);
            assert!(shown == *content, "{name} differs: {} bytes", shown.len());
        }
        let listing = String::from_utf8(tool("isoinfo", &["-R", "-l", "-i", path])).unwrap();
        let files: Vec<_> = listing.lines().filter(|line| line.starts_with('-')).collect();
        assert_eq!(files.len(), drive.files.len(), "{listing}");
        assert!(files.iter().all(|line| line.starts_with("-rw-------   1    0    0 ")), "{listing}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn ready_drive_is_taken_when_cloud_init_finds_it_and_the_disk_can_carry_it() {
    let fat = |label: &str, sector_size| {
        fat_image(&ConfigDrive::default(), Bytes::mib(20), sector_size, label, VOLUME_ID, made()).unwrap()
    };
    let refused = |image: &[u8], sector_size| check_prebuilt(image, sector_size).unwrap_err().to_string();
    check_prebuilt(&fat("cidata", SectorSize::B512), SectorSize::B512).unwrap();
    check_prebuilt(&fat("CIDATA", SectorSize::B4096), SectorSize::B4096).unwrap();
    assert_eq!(
        refused(&fat("cidata", SectorSize::B512), SectorSize::B4096),
        "vfat with blocks of 512 bytes cannot lie on sectors of 4096"
    );
    assert_eq!(
        refused(&fat("data", SectorSize::B512), SectorSize::B512),
        "expected the label cidata or config-2 on vfat, found \"data\""
    );
    let iso = iso_image(&tree(), Bytes::mib(20), "config-2", VOLUME_ID, made()).unwrap();
    check_prebuilt(&iso, SectorSize::B512).unwrap();
    assert_eq!(refused(&iso, SectorSize::B4096), "iso9660 with blocks of 2048 bytes cannot lie on sectors of 4096");
    assert_eq!(
        refused(&[0; 4096], SectorSize::B512),
        "expected a file system of vfat, iso9660 or ext, found none of them"
    );

    let ext = written("ready-ext.img", &vec![0; 4 << 20]);
    tool("mkfs.ext2", &["-q", "-F", "-b", "4096", "-L", "config-2", ext.to_str().unwrap()]);
    check_prebuilt(&std::fs::read(&ext).unwrap(), SectorSize::B4096).unwrap();
    std::fs::remove_file(ext).unwrap();
}
