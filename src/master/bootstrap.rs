//! Which mode of the bootstrap network boots start, and what the kernel line says of it.

use serde::Deserialize;

use crate::error::{Context as _, Error, Kind, Result};

use super::config::{self, BootstrapMode};
use super::state::Master;

/// Below the master's folder, and below its address.
const SQUASHFS: &str = "bootstrap/root.squashfs";
const METADATA: &str = "bootstrap/metadata.yaml";

/// What is read of a bootstrap's metadata; there is more in it.
#[derive(Debug, Deserialize)]
struct Metadata {
    modules: Modules,
    /// What the image wants on the kernel line.
    #[serde(default)]
    extend_kopts: String,
}

#[derive(Debug, Deserialize)]
struct Modules {
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    raw_size: u64,
    /// Not in upstream's metadata.
    raw_sha256: Option<String>,
}

impl Master {
    /// The arguments of the kernel that choose the mode.
    ///
    /// The metadata is read each time, so that another image is served from the moment that its folder is in place.
    ///
    /// # Errors
    /// `Image` in the live mode without metadata that name the digest of the squashfs that is there.
    pub(super) fn mode_arguments(&self) -> Result<String> {
        match self.config.bootstrap {
            BootstrapMode::Minimal => Ok("boot=bedplate".to_owned()),
            BootstrapMode::Live => self.live_arguments().map_err(|error| error.within("starting the live bootstrap")),
        }
    }

    fn live_arguments(&self) -> Result<String> {
        let bytes = self.store.read(METADATA)?;
        let bytes = bytes.ok_or_else(|| Error::new(Kind::Image, format!("there is no {METADATA}")))?;
        let size =
            std::fs::metadata(self.store.path(SQUASHFS)).context(Kind::Image, || format!("reading {SQUASHFS}"))?;
        live_arguments(&self.url, &String::from_utf8_lossy(&bytes), size.len())
            .map_err(|error| error.within(format!("reading {METADATA}")))
    }
}

fn live_arguments(url: &str, metadata: &str, size: u64) -> Result<String> {
    let metadata: Metadata = serde_saphyr::from_str(metadata).context(Kind::Image, || "parsing YAML")?;
    let root = metadata.modules.rootfs;
    if root.raw_size != size {
        let expected = root.raw_size;
        return Err(Error::new(Kind::Image, format!("{SQUASHFS} has {size} bytes, expected {expected}")));
    }
    let digest = root.raw_sha256.unwrap_or_default();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::new(Kind::Image, "modules.rootfs.raw_sha256: expected 64 hexadecimal digits"));
    }
    if !config::is_kernel_text(&metadata.extend_kopts) {
        return Err(Error::new(Kind::Image, "extend_kopts: expected one line of printable ASCII without ${"));
    }
    let mut arguments = format!("boot=live fetch={url}/{SQUASHFS} bedplate.squashfs=sha256:{digest}");
    for option in metadata.extend_kopts.split_whitespace() {
        arguments.push(' ');
        arguments.push_str(option);
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://10.20.0.2:8200";

    fn metadata(size: u64, digest: &str, options: &str) -> String {
        format!(
            "all_packages:\n  'bash': '5.2'\nextend_kopts: '{options}'\nmodules:\n  kernel:\n    file: vmlinuz\n    raw_size: 7\n  \
             rootfs:\n    file: root.squashfs\n    raw_md5: 'd41d8cd98f00b204e9800998ecf8427e'\n    {digest}\n    raw_size: {size}\n\
             uuid: 'x'\n"
        )
    }

    fn fault(metadata: &str) -> String {
        live_arguments(URL, metadata, 4096).unwrap_err().to_string()
    }

    #[test]
    fn digest_and_wishes_of_the_image_reach_the_kernel_line() {
        let hex = "0123456789abcdef".repeat(4);
        let metadata = metadata(4096, &format!("raw_sha256: '{hex}'"), "net.ifnames=1  biosdevname=0");
        let expected = format!(
            "boot=live fetch={URL}/bootstrap/root.squashfs bedplate.squashfs=sha256:{hex} net.ifnames=1 biosdevname=0"
        );
        assert_eq!(live_arguments(URL, &metadata, 4096).unwrap(), expected);
    }

    #[test]
    fn squashfs_that_is_not_the_one_of_the_metadata_is_not_served() {
        let hex = format!("raw_sha256: '{}'", "00".repeat(32));
        assert_eq!(fault(&metadata(4097, &hex, "")), "bootstrap/root.squashfs has 4096 bytes, expected 4097");
        let no_digest = "modules.rootfs.raw_sha256: expected 64 hexadecimal digits";
        assert_eq!(fault(&metadata(4096, "raw_sha1: ''", "")), no_digest);
        assert_eq!(fault(&metadata(4096, "raw_sha256: '00 init=/bin/sh'", "")), no_digest);
        let options = "extend_kopts: expected one line of printable ASCII without ${";
        assert_eq!(fault(&metadata(4096, &hex, "${net0/ip}")), options);
        assert!(fault("modules: {}").starts_with("parsing YAML: "), "{}", fault("modules: {}"));
    }
}
