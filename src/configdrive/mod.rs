//! First boot: what cloud-init of the installed system is told, rendered from templates and put into a file system image.

mod context;
mod fat;
mod iso;
mod multipart;
mod network_data;
pub mod password;
mod prebuilt;
mod templates;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::error::{Error, Kind, Result};
use crate::request::{ConfigDriveSpec, DriveFileSystem, DriveForm, Request};
use crate::units::{Bytes, SectorSize};

use context::Context;
use multipart::Part;
use templates::Templates;

pub use fat::fat_image;
pub use iso::iso_image;
pub use prebuilt::check as check_prebuilt;

/// Where cloud-init's NoCloud source looks in the root file system.
pub const SEED_FOLDER: &str = "var/lib/cloud/seed/nocloud";

/// What a node's first boot is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigDrive {
    /// The files by their paths: `meta-data`, `network-config`, `user-data` and `vendor-data`, or those below
    /// `openstack/latest`. They hold password hashes: mode 0600 wherever they are written.
    pub files: BTreeMap<String, Vec<u8>>,
    /// A ready image instead of them.
    pub prebuilt: Option<Vec<u8>>,
}

/// Names and lengths; the contents hold password hashes and keys.
impl std::fmt::Debug for ConfigDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.files.iter().map(|(name, content)| (name, content.len()))).finish()
    }
}

/// How a config drive becomes the bytes of a partition or file.
#[derive(Debug, Clone, Copy)]
pub struct Medium {
    /// Room for it.
    pub size: Bytes,
    /// Bytes per logical sector.
    pub sector_size: SectorSize,
    /// The file system.
    pub file_system: DriveFileSystem,
    /// Which label it gets.
    pub form: DriveForm,
    /// Identity of the file system.
    pub volume_id: u32,
}

impl ConfigDrive {
    /// A drive that somebody else made.
    #[must_use]
    pub fn ready(image: Vec<u8>) -> Self {
        Self { prebuilt: Some(image), ..Self::default() }
    }

    /// The bytes of the file system, read back before they are handed out. `made` becomes the time of every file.
    ///
    /// # Errors
    /// `Request` when they do not fit; `Image` when a ready image does not, or is none that cloud-init finds.
    pub fn image(&self, medium: &Medium, made: OffsetDateTime) -> Result<Vec<u8>> {
        let Medium { size, sector_size, file_system, form, volume_id } = *medium;
        if let Some(ready) = &self.prebuilt {
            let what = "the ready image of the config drive";
            prebuilt::check(ready, sector_size).map_err(|error| error.within(what))?;
            if crate::units::widen(ready.len()) > size.get() {
                let message = format!("{what} has {} bytes, its partition {}", ready.len(), size.exact());
                return Err(Error::new(Kind::Image, message));
            }
            return Ok(ready.clone());
        }
        match file_system {
            DriveFileSystem::Vfat => fat_image(self, size, sector_size, form.label(), volume_id, made),
            DriveFileSystem::Iso9660 => iso_image(self, size, form.label(), volume_id, made),
        }
    }
}

/// Renders the config drive of a node.
///
/// A new `instance_id` makes cloud-init do its first boot again; it also salts the password hashes, so that the same
/// arguments give the same bytes. Templates in `templates_dir` come before ours, by upstream's names.
///
/// # Errors
/// `Request` when the request's netmask is none, or its network cannot be said in the form asked for; `Usage` when a template
/// of the site cannot be read or rendered, or its result is not YAML; `Bug` when one of ours does.
pub fn render(request: &Request, instance_id: &str, templates_dir: Option<&Path>) -> Result<ConfigDrive> {
    let context = Context::of(request, instance_id)?;
    let templates = Templates::new(request, templates_dir)?;
    let mut parts = Vec::new();
    if let Some(text) = templates.render_of_site("boothook", &context)? {
        parts.push(Part { content_type: "text/cloud-boothook", filename: "boothook.txt", text });
    }
    let text = templates.render_yaml("cloud_config", &context)?;
    parts.push(Part { content_type: "text/cloud-config", filename: "cloud_config.txt", text });
    let text = templates.render_text("first_boot", &context)?;
    // A site's empty template stands for: none.
    if !text.trim().is_empty() {
        parts.push(Part { content_type: "text/x-shellscript", filename: "first_boot.sh", text });
    }
    let network = match &request.network {
        Some(network) if network.is_object() => format!("{}\n", templates::yaml(network)?),
        Some(_) => {
            return Err(Error::new(Kind::Request, "bedplate.network is not an object: expected network-config v2"));
        }
        None => templates.render_yaml("network_config", &context)?,
    };
    let user_data = multipart::multipart(&parts).into_bytes();
    let files = match request.config_drive.form() {
        DriveForm::NoCloud => vec![
            ("meta-data", templates.render_yaml("meta_data", &context)?.into_bytes()),
            ("network-config", network.into_bytes()),
            ("user-data", user_data),
            // There must be one, or older versions of cloud-init look for it elsewhere.
            ("vendor-data", Vec::new()),
        ],
        DriveForm::OpenStack => {
            let network: Value = serde_saphyr::from_str(&network)
                .map_err(|_| Error::new(Kind::Usage, "the result of template network_config is not YAML"))?;
            let name = request.hostname.as_str();
            let meta = json!({"uuid": instance_id, "hostname": name, "name": name});
            vec![
                ("openstack/latest/meta_data.json", format!("{meta}\n").into_bytes()),
                (
                    "openstack/latest/network_data.json",
                    format!("{}\n", network_data::network_data(&network)?).into_bytes(),
                ),
                ("openstack/latest/user_data", user_data),
                ("openstack/latest/vendor_data.json", b"{}\n".to_vec()),
            ]
        }
    };
    let files = files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    Ok(ConfigDrive { files, prebuilt: None })
}

/// Whether the request brings a ready image, and where it is from and what proves it.
#[must_use]
pub fn ready_image(request: &Request) -> Option<(&str, &[String])> {
    match &request.config_drive {
        ConfigDriveSpec::Prebuilt { uri, digests } => Some((uri, digests)),
        ConfigDriveSpec::Partition { .. } | ConfigDriveSpec::Seed => None,
    }
}

#[cfg(test)]
mod tests;
