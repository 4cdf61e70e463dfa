//! What a bootstrap is started from, and what the kernel line says of its mode.

use crate::error::{Error, Kind, Result};

use super::bootstraps::metadata::{METADATA, Metadata, Part};
use super::config::BootstrapMode;
use super::state::Master;

/// Below the master's folder and below its address: the files of the minimal bootstrap, and of a live one that was put there
/// by hand.
const FOLDER: &str = "bootstrap";

/// Below the master's address: all images, each by its UUID.
pub(super) const IMAGES: &str = "bootstraps";

/// A bootstrap to be started: everything that it fetches comes from one place, whatever is activated meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The address below which its files are.
    pub(super) folder: String,
    /// The arguments of the kernel that choose the mode.
    pub(super) arguments: String,
}

impl Master {
    /// What a node starts now.
    ///
    /// # Errors
    /// `Image` in the live mode when no image is active, or the active one is broken.
    pub(super) fn served(&self) -> Result<Served> {
        let folder = format!("{}/{FOLDER}", self.url);
        match self.config.bootstrap {
            BootstrapMode::Minimal => Ok(Served { folder, arguments: "boot=bedplate".to_owned() }),
            BootstrapMode::Live => self.live().map_err(|error| error.within("starting the live bootstrap")),
        }
    }

    fn live(&self) -> Result<Served> {
        if let Some(id) = self.images.active()? {
            let image = self.images.image(&id)?;
            let folder = format!("{}/{IMAGES}/{id}", self.url);
            return Ok(Served { arguments: arguments(&folder, &image.metadata)?, folder });
        }
        let folder = format!("{}/{FOLDER}", self.url);
        let Some(bytes) = self.store.read(&format!("{FOLDER}/{METADATA}"))? else {
            let message = format!("no bootstrap image is active, and there is no {FOLDER}/{METADATA}");
            return Err(Error::new(Kind::Image, message)
                .advise("`bedplate-master bootstrap import ARCHIVE --activate` makes one active"));
        };
        let metadata = Metadata::parse(&bytes)?;
        let file = format!("{FOLDER}/{}", Part::Root.file());
        let size = match std::fs::metadata(self.store.path(&file)) {
            Ok(found) => found.len(),
            Err(cause) => return Err(Error::caused(Kind::Image, format!("reading {file}"), cause)),
        };
        let expected = metadata.module(Part::Root).and_then(|module| module.raw_size);
        if expected != Some(size) {
            let expected = expected.map_or_else(|| "a size in its metadata".to_owned(), |size| size.to_string());
            return Err(Error::new(Kind::Image, format!("{file} has {size} bytes, expected {expected}")));
        }
        Ok(Served { arguments: arguments(&folder, &metadata)?, folder })
    }
}

fn arguments(folder: &str, metadata: &Metadata) -> Result<String> {
    let mut words = Vec::new();
    // Without a squashfs an image is its initrd, which says itself how it is started.
    if let Some(module) = metadata.module(Part::Root) {
        let digest = module.raw_sha256.as_ref().ok_or_else(|| {
            let words = "expected 64 hexadecimal digits, found nothing";
            Error::new(Kind::Image, format!("{METADATA}: modules.{}.raw_sha256: {words}", Part::Root.key()))
        })?;
        words.push("boot=live".to_owned());
        words.push(format!("fetch={folder}/{}", Part::Root.file()));
        words.push(format!("bedplate.squashfs={digest}"));
    }
    words.extend(metadata.extend_kopts.split_whitespace().map(str::to_owned));
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "http://10.20.0.2:8200/bootstraps/x";

    fn line(modules: &str, options: &str) -> Result<String> {
        let text = format!("uuid: x\nextend_kopts: '{options}'\nmodules: {{{modules}}}\n");
        arguments(FOLDER, &Metadata::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn digest_and_wishes_of_the_image_reach_the_kernel_line() {
        let hex = "0123456789abcdef".repeat(4);
        let expected = format!(
            "boot=live fetch={FOLDER}/root.squashfs bedplate.squashfs=sha256:{hex} net.ifnames=1 biosdevname=0"
        );
        let modules = format!("rootfs: {{raw_sha256: '{hex}'}}");
        assert_eq!(line(&modules, "net.ifnames=1  biosdevname=0").unwrap(), expected);
        assert_eq!(line("", "boot=bedplate").unwrap(), "boot=bedplate", "without a squashfs");
    }

    #[test]
    fn squashfs_without_a_digest_is_not_served() {
        assert_eq!(
            line("rootfs: {raw_size: 1}", "").unwrap_err().to_string(),
            "metadata.yaml: modules.rootfs.raw_sha256: expected 64 hexadecimal digits, found nothing"
        );
    }
}
