//! Archives of bootstrap images, made by the real tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const FIRST: &str = "11111111-1111-4111-8111-111111111111";
pub const SECOND: &str = "22222222-2222-4222-8222-222222222222";

/// What `root.squashfs` of an image holds.
pub fn root_of(uuid: &str) -> String {
    format!("hsqs of {uuid}")
}

/// The archive of an image that was made by hand.
pub fn archive(folder: &Path, uuid: &str, extend_kopts: &str) -> PathBuf {
    let files = folder.join(format!("files-{uuid}"));
    fs::create_dir_all(&files).unwrap();
    for (name, content) in [
        ("vmlinuz", format!("kernel of {uuid}")),
        ("initrd.img", format!("initrd of {uuid}")),
        ("root.squashfs", root_of(uuid)),
        ("metadata.yaml", format!("uuid: {uuid}\nextend_kopts: '{extend_kopts}'\nlabel: made by hand\n")),
    ] {
        fs::write(files.join(name), content).unwrap();
    }
    let archive = folder.join(format!("{uuid}.tar.gz"));
    let packed =
        Command::new("tar").arg("-czf").arg(&archive).arg("--directory").arg(&files).arg(".").status().unwrap();
    assert!(packed.success(), "tar: {packed}");
    archive
}
