//! First boot: what cloud-init of the installed system is told, rendered from templates and put into a file system image.

mod context;
mod fat;
mod multipart;
pub mod password;
mod templates;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::request::Request;

use context::Context;
use multipart::Part;
use templates::Templates;

pub use fat::{LABEL, fat_image};

/// The files of a config drive in cloud-init's NoCloud form, by name.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigDrive {
    /// `meta-data`, `network-config`, `user-data`, `vendor-data`. They hold password hashes: mode 0600 wherever they are
    /// written.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Names and lengths; the contents hold password hashes and keys.
impl std::fmt::Debug for ConfigDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.files.iter().map(|(name, content)| (name, content.len()))).finish()
    }
}

/// Renders the config drive of a node.
///
/// A new `instance_id` makes cloud-init do its first boot again; it also salts the password hashes, so that the same
/// arguments give the same bytes. Templates in `templates_dir` come before ours, by upstream's names.
///
/// # Errors
/// `Request` when the request's netmask is none or its key for the network is no object; `Usage` when a template of the site
/// cannot be read or rendered, or its result is not YAML; `Bug` when one of ours does.
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
    let files = [
        ("meta-data", templates.render_yaml("meta_data", &context)?.into_bytes()),
        ("network-config", network.into_bytes()),
        ("user-data", multipart::multipart(&parts).into_bytes()),
        // There must be one, or older versions of cloud-init look for it elsewhere.
        ("vendor-data", Vec::new()),
    ];
    Ok(ConfigDrive { files: files.map(|(name, content)| (name.to_owned(), content)).into() })
}

#[cfg(test)]
mod tests;
