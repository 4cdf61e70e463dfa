//! What `make` built: the bootstrap, the OS image, the programs.

use std::path::{Path, PathBuf};

use super::ssh::{self, KeyPair};
use super::vm::NO_TIMER_CHECK;

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where runs leave their logs and disks.
pub fn build() -> PathBuf {
    repository().join("build")
}

/// Where `make vm-images` put the bootstrap with the cloud kernel and the small image; `BEDPLATE_VM_IMAGES` names another
/// place.
fn images() -> PathBuf {
    std::env::var_os("BEDPLATE_VM_IMAGES").map_or_else(|| build().join("vm"), PathBuf::from)
}

#[track_caller]
fn require(path: PathBuf, how: &str) -> PathBuf {
    assert!(path.exists(), "{} is absent: {how}", path.display());
    path
}

/// Kernel and initrd of the live system.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    folder: PathBuf,
}

impl Bootstrap {
    /// The one that `make vm-images` made.
    #[track_caller]
    pub fn find() -> Self {
        let folder = images().join("bootstrap");
        require(folder.join("vmlinuz"), "run `make vm-images`");
        require(folder.join("initrd.img"), "run `make vm-images`");
        Self { folder }
    }

    /// The live one, whose folder holds `root.squashfs` and `metadata.yaml` too, that `make live-vm-image` made.
    #[track_caller]
    pub fn find_live() -> Self {
        let folder = images().join("live");
        for name in ["vmlinuz", "initrd.img", "root.squashfs", "metadata.yaml"] {
            require(folder.join(name), "run `make live-vm-image`");
        }
        Self { folder }
    }

    /// The iPXE script that starts it from below `/bootstrap/`, to wait for orders by ssh.
    pub fn script(url: &str, key: &KeyPair) -> String {
        Self::script_with(url, key, "boot=bedplate")
    }

    /// The same with another mode, and what else the kernel line is to say.
    pub fn script_with(url: &str, key: &KeyPair, arguments: &str) -> String {
        let key = ssh::kernel_line_key(key);
        format!(
            "#!ipxe\nkernel {url}/bootstrap/vmlinuz initrd=initrd.img {arguments} console=ttyS0 \
             {NO_TIMER_CHECK} BOOTIF=01-${{netX/mac:hexhyp}} bedplate.ssh-key={key}\ninitrd {url}/bootstrap/initrd.img\nboot\n"
        )
    }

    /// The folder with `vmlinuz` and `initrd.img`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The signed boot loaders, and iPXE, that `make vm-loaders` collected.
#[track_caller]
pub fn loaders() -> PathBuf {
    let folder = images().join("loaders");
    for name in ["shimx64.efi", "grubx64.efi"] {
        require(folder.join(name), "run `make vm-loaders`");
    }
    folder
}

/// A root image, its boot image and its side-car.
#[derive(Debug, Clone)]
pub struct OsImage {
    folder: PathBuf,
    name: String,
}

impl OsImage {
    /// The one that `make vm-images` made; `BEDPLATE_E2E_IMAGE` chooses by name when there are several.
    #[track_caller]
    pub fn find() -> Self {
        Self::find_in("os-image", "run `make vm-images`")
    }

    /// The one with puppet and mcollective that `make conducted-vm-image` made.
    #[track_caller]
    pub fn find_conducted() -> Self {
        Self::find_in("os-image-conducted", "run `make conducted-vm-image`")
    }

    #[track_caller]
    fn find_in(folder: &str, how: &str) -> Self {
        let folder = require(images().join(folder), how);
        let listed = std::fs::read_dir(&folder).expect("the folder can be listed");
        let mut names: Vec<String> = listed
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix("-boot.img.gz").map(str::to_owned))
            .collect();
        names.sort();
        let chosen = std::env::var("BEDPLATE_E2E_IMAGE").ok();
        let name = chosen.or(names.first().cloned());
        let name = name.unwrap_or_else(|| panic!("{} holds no image: {how}", folder.display()));
        for suffix in [".img.gz", "-boot.img.gz", ".yaml"] {
            require(folder.join(format!("{name}{suffix}")), how);
        }
        Self { folder, name }
    }

    /// The folder, to be served as `/targetimages/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image's name without suffixes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The program `name` of this build, next to the one that runs.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own file");
    // target/debug/deps/e2e-HASH and target/debug/examples/demo: two levels down.
    let folder = own.ancestors().nth(2).expect("cargo puts programs below its target folder");
    require(folder.join(name), "run `cargo build --features master`")
}
