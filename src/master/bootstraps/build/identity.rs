//! The name of an image. With a given moment it says what went in, so that equal builds have equal names.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::configdrive::password;
use crate::error::{Context as _, Error, Kind, Result};
use crate::master::bootstraps::metadata::ImageId;
use crate::sys::clock;

use super::apt::{self, Pin};
use super::check::Ground;
use super::request::Request;

/// What names an image.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its UUID.
    pub(super) uuid: ImageId,
    /// The moment that it counts as, in seconds since 1970.
    pub(super) epoch: i64,
    /// Root's password as it stands in shadow(5).
    pub(super) root_hash: Option<String>,
}

/// Names the image: by chance, or with a given moment by what goes in.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn of(request: &Request, ground: &Ground, pins: &[Pin], versions: &[String]) -> Result<Identity> {
    let settings = &request.settings;
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context(Kind::Bug, || "reading /dev/urandom")?;
    // A salt is no secret; one by chance would make two builds differ.
    let salt = match request.epoch {
        Some(epoch) => epoch.to_string(),
        None => format!("{:x}", u128::from_ne_bytes(bytes)),
    };
    let hashed = request.root_password.as_ref();
    let hashed = hashed.map(|text| password::sha512_crypt(text.reveal(), &password::salt(&salt, "root")));
    let root_hash = hashed.or_else(|| settings.hashed_root_password.as_ref().map(|hash| hash.reveal().to_owned()));
    let Some(epoch) = request.epoch else {
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        return Ok(Identity { uuid: id(uuid)?, epoch: clock::now_epoch(), root_hash });
    };
    let said = json!({
        "epoch": epoch,
        "label": request.label,
        "distribution": ground.distribution,
        "suite": ground.suite,
        "variant": settings.variant.name(),
        "firmware": ground.has_firmware,
        "kernel_options": settings.extend_kopts,
        "sources": apt::lines(ground),
        "pins": pins,
        "packages": ground.packages,
        "versions": versions,
        "dpkg_options": ground.dpkg_options,
        "root": root_hash,
    });
    let mut digest = Sha256::new();
    digest.update(said.to_string());
    let scripts = ["packaging/bootstrap", "packaging/common.sh", "packaging/distribution.sh", "initramfs"];
    let scripts = scripts.iter().map(|name| ground.scripts.join(name));
    let keys = ground.repositories.iter().filter_map(|(_, key)| key.clone());
    let single = settings.post_script_file.iter().chain(&settings.root_ssh_authorized_file).cloned();
    let folders = settings.certs.iter().chain(&settings.extra_dirs).chain(&ground.debs).cloned();
    for path in scripts.chain(keys).chain(single).chain(folders) {
        add(&mut digest, &path, Path::new(""))?;
    }
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    Ok(Identity { uuid: id(uuid::Builder::from_custom_bytes(bytes).into_uuid())?, epoch, root_hash })
}

fn id(uuid: uuid::Uuid) -> Result<ImageId> {
    uuid.to_string().parse().map_err(Error::bug)
}

/// Adds names, modes and contents; where it lies makes no difference.
fn add(digest: &mut Sha256, path: &Path, name: &Path) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    let found = if name.as_os_str().is_empty() { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let found = found.context(Kind::Usage, reading)?;
    digest.update(name.as_os_str().as_bytes());
    digest.update([0]);
    if found.is_dir() {
        digest.update(b"folder");
        let entries = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let mut entries: Vec<_> = entries.context(Kind::Usage, reading)?;
        entries.sort();
        for entry in entries {
            add(digest, &path.join(&entry), &name.join(&entry))?;
        }
    } else if found.is_symlink() {
        let target: PathBuf = fs::read_link(path).context(Kind::Usage, reading)?;
        digest.update(target.as_os_str().as_bytes());
    } else if found.is_file() {
        digest.update(found.permissions().mode().to_le_bytes());
        digest.update(found.len().to_le_bytes());
        let mut file = File::open(path).context(Kind::Usage, reading)?;
        std::io::copy(&mut file, &mut Writer(digest)).context(Kind::Usage, reading)?;
    } else {
        digest.update(b"special");
    }
    Ok(())
}

struct Writer<'a>(&'a mut Sha256);

impl std::io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::scratch::Scratch;

    use super::*;

    #[test]
    fn a_folders_digest_follows_its_content_and_not_its_place() {
        let scratch = Scratch::new();
        let digest = |folder: &str| {
            let mut digest = Sha256::new();
            add(&mut digest, &scratch.path(folder), Path::new("")).unwrap();
            digest.finalize()
        };
        for folder in ["one", "two"] {
            fs::create_dir_all(scratch.path(folder).join("etc")).unwrap();
            fs::write(scratch.path(folder).join("etc/motd"), "hello").unwrap();
            std::os::unix::fs::symlink("motd", scratch.path(folder).join("etc/issue")).unwrap();
        }
        let before = digest("two");
        assert_eq!(digest("one"), before);
        fs::write(scratch.path("two").join("etc/motd"), "world").unwrap();
        let content = digest("two");
        assert_ne!(content, before);
        fs::set_permissions(scratch.path("two").join("etc/motd"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(digest("two"), content);
    }
}
