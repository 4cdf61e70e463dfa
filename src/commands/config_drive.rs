//! `configdrive --output`: what the first boot is told, as a file or a folder. No disk is touched.

use std::path::Path;

use time::OffsetDateTime;

use super::ready_drive;
use crate::configdrive::{self, ConfigDrive, Medium};
use crate::error::Result;
use crate::http::Client;
use crate::request::{self, ConfigDriveSpec, DriveFileSystem, Request};
use crate::sys::clock;
use crate::sys::files::replace_private;
use crate::units::{Bytes, SectorSize};

/// As large as the partition that a layout has for it.
const SIZE: Bytes = Bytes::mib(20);

/// What a request's first boot is told; a new installation is a new instance: cloud-init runs its first boot again.
///
/// # Errors
/// Those of [`configdrive::render`]; `Image` when a ready drive is not there or not the right one.
pub fn of(request: &Request, run: &str, templates: Option<&Path>, http: &Client) -> Result<ConfigDrive> {
    if let Some((uri, digests)) = configdrive::ready_image(request) {
        return ready_drive::fetch(uri, digests, http);
    }
    let instance_id = format!("{}-{run}", request.uid.as_deref().unwrap_or("node"));
    configdrive::render(request, &instance_id, templates)
}

/// Writes the files into `output` where that is a folder, else an image of their file system for sectors of 512 bytes.
///
/// # Errors
/// Those of [`of`] and of [`ConfigDrive::image`]; `Usage` when `output` cannot be written.
pub fn run(document: &[u8], templates: Option<&Path>, output: &Path, http: &Client) -> Result<()> {
    let request = request::parse(document)?.request;
    let drive = of(&request, &clock::run_id(), templates, http)?;
    if output.is_dir() && drive.prebuilt.is_none() {
        return drive.files.iter().try_for_each(|(name, content)| replace_private(&output.join(name), content));
    }
    let form = request.config_drive.form();
    let file_system = match &request.config_drive {
        ConfigDriveSpec::Partition { file_system, .. } => *file_system,
        ConfigDriveSpec::Prebuilt { .. } | ConfigDriveSpec::Seed => DriveFileSystem::Vfat,
    };
    let now = OffsetDateTime::now_utc();
    let volume_id = u32::try_from(now.unix_timestamp()).unwrap_or_default();
    let medium = Medium { size: SIZE, sector_size: SectorSize::B512, file_system, form, volume_id };
    // For its owner alone: it holds password hashes and keys.
    replace_private(output, &drive.image(&medium, now)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::error::Kind;
    use crate::http::Settings;
    use crate::scratch::Scratch;

    #[test]
    fn drive_becomes_a_file_or_a_folder_for_its_owner_alone() {
        let document = include_bytes!("../../tests/fixtures/provision/01-single-disk-lvm.json");
        let http = Client::new(&Settings::default()).unwrap();
        let scratch = Scratch::new();
        let file = scratch.folder().join("drive.img");
        run(document, None, &file, &http).unwrap();
        configdrive::check_prebuilt(&fs::read(&file).unwrap(), SectorSize::B512).unwrap();
        run(document, None, scratch.folder(), &http).unwrap();
        for name in ["drive.img", "meta-data", "network-config", "user-data", "vendor-data"] {
            let mode = fs::metadata(scratch.folder().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn ready_drive_is_taken_as_it_is_once_its_digest_fits() {
        let http = Client::new(&Settings::default()).unwrap();
        let scratch = Scratch::new();
        let (made, taken) = (scratch.folder().join("made.img"), scratch.folder().join("taken.img"));
        let mut document: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../tests/fixtures/provision/01-single-disk-lvm.json")).unwrap();
        run(document.to_string().as_bytes(), None, &made, &http).unwrap();
        let bytes = fs::read(&made).unwrap();
        let digest = crate::image::Digest::of_bytes(crate::image::Algorithm::Sha256, &bytes).to_string();
        let uri = format!("file://{}", made.display());
        document["bedplate"] = serde_json::json!({"config_drive": {"image": uri, "digests": [digest]}});
        run(document.to_string().as_bytes(), None, &taken, &http).unwrap();
        assert_eq!(fs::read(&taken).unwrap(), bytes);

        let wrong = format!("md5:{}", "0".repeat(32));
        document["bedplate"]["config_drive"]["digests"] = serde_json::json!([wrong]);
        let error = run(document.to_string().as_bytes(), None, &taken, &http).unwrap_err();
        assert_eq!(error.kind(), Kind::Image);
        assert!(error.to_string().contains(&format!("expected {wrong}, found md5:")), "{error}");
    }
}
