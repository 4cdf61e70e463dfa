//! Images: streamed to their device and proved, then made the device's own file system.

use std::path::Path;

use super::{Inputs, adoption, require_device, target};
use crate::error::{Error, Kind, Result};
use crate::image::{self, Cancel, Digest, Job, Location, MinisignKey, Signed};
use crate::plan::{Step, TargetMount};
use crate::report::ImageReport;
use crate::request::Container;
use crate::request::file_systems::ARCHIVE;
use crate::sys::mount::{Access, Mounts};
use crate::sys::signal;

/// Carries out a `WriteImage` step.
pub fn write(id: &str, step: &Step, inputs: &Inputs<'_>) -> Result<ImageReport> {
    let Step::WriteImage {
        source,
        target: device,
        container,
        format,
        label,
        uuid,
        size,
        digests,
        container_size,
        container_digests,
        mirrors,
        minisign_key,
        signature,
        bmap,
        mounts,
    } = step
    else {
        return Err(Error::bug(format!("{id} is no image")));
    };
    let node = require_device(device)?;
    let source = location(source)?;
    let mut job = Job::new(id, source.clone(), node);
    job.mirrors = self::mirrors(mirrors)?;
    job.bmap = bmap.as_deref().map(location).transpose()?;
    if let Some(key) = minisign_key {
        let key: MinisignKey = key.parse().map_err(|reason: String| Error::new(Kind::Request, reason))?;
        let signature = signature.as_deref().map(location).transpose()?;
        job.signed = Some(Signed::new(key, signature.unwrap_or_else(|| source.with_suffix(".minisig"))));
    }
    job.container = Some(self::container(container)?);
    job.max_window = inputs.max_window;
    job.size = *size;
    job.container_size = *container_size;
    job.digests = parse(digests)?;
    job.container_digests = parse(container_digests)?;
    job.cancel = Cancel::with_flag(signal::cancel_flag());
    if format == ARCHIVE {
        return unpack(job, mounts, inputs);
    }
    let mut reports = image::write(&job, inputs.http, inputs.reporter).outcome?;
    let report = reports.pop().ok_or_else(|| Error::bug(format!("{id} has no report")))?;
    let scratch = Path::new("/run/bedplate/grow");
    adoption::adopt(device, format, label.as_deref(), uuid, scratch)
        .map_err(|error| error.within(format!("making the file system on {device} its own")))?;
    Ok(report)
}

/// Unpacks an archive to file systems that are mounted for that alone: nothing of this system is in the tree, and what is
/// written is flushed by the end.
fn unpack(mut job: Job, file_systems: &[TargetMount], inputs: &Inputs<'_>) -> Result<ImageReport> {
    let base = file_systems.first().ok_or_else(|| Error::bug("an archive without a file system"))?;
    let base = base.path.trim_end_matches('/');
    job.targets = vec![inputs.target.to_owned()];
    let mut mounts = Mounts::default();
    let mounted = file_systems.iter().try_for_each(|it| {
        let at = target::inside(inputs.target, it.path.strip_prefix(base).unwrap_or_default())?;
        mounts.mount(Path::new(&it.device), &at, &it.kind, Access::ReadWrite)
    });
    let unpacked = mounted.and_then(|()| image::unpack(&job, inputs.http, inputs.reporter));
    let unmounted = mounts.unmount_all();
    let report = unpacked?;
    unmounted?;
    Ok(report)
}

/// Where a step's image comes from.
pub fn location(source: &str) -> Result<Location> {
    source.parse().map_err(|reason: String| Error::new(Kind::Request, format!("image {source}: {reason}")))
}

/// Where else it comes from.
pub fn mirrors(addresses: &[String]) -> Result<Vec<Location>> {
    addresses.iter().map(|address| location(address)).collect()
}

/// How a step's image is packed.
pub fn container(word: &str) -> Result<Container> {
    Container::of_word(word)
        .ok_or_else(|| Error::new(Kind::Request, format!("{word:?} is no packing of images that this program knows")))
}

fn parse(digests: &[String]) -> Result<Vec<Digest>> {
    let parse =
        |digest: &String| digest.parse().map_err(|reason: String| Error::bug(format!("digest {digest}: {reason}")));
    digests.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::configdrive::ConfigDrive;
    use crate::http::{Client, Proxies, Settings};
    use crate::report::Reporter;
    use crate::units::MaxWindow;

    fn run(tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(arguments).output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A loop device with an empty ext4; it is detached when dropped.
    struct Disk(String);

    impl Disk {
        fn new(file: &Path) -> Self {
            fs::File::create(file).unwrap().set_len(64 << 20).unwrap();
            let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
            run("mkfs.ext4", &["-q", &device]);
            Self(device)
        }

        fn mount(&self, path: &str) -> TargetMount {
            TargetMount { device: self.0.clone(), path: path.to_owned(), kind: "ext4".to_owned() }
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _detached = Command::new("losetup").args(["--detach", &self.0]).status();
        }
    }

    fn unpacked(folder: &Path, archive: &Path, mounts: &[TargetMount]) -> Result<ImageReport> {
        let step = Step::WriteImage {
            source: archive.display().to_string(),
            target: mounts[0].device.clone(),
            container: "gzip".to_owned(),
            format: "tar".to_owned(),
            label: None,
            uuid: String::new(),
            size: None,
            digests: Vec::new(),
            container_size: None,
            container_digests: Vec::new(),
            mirrors: Vec::new(),
            minisign_key: None,
            signature: None,
            bmap: None,
            mounts: mounts.to_vec(),
        };
        let http = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
        let reporter = Reporter::new("r", Vec::new());
        let config_drive = ConfigDrive { files: std::collections::BTreeMap::new() };
        let target = folder.join("target");
        let max_window = MaxWindow::default();
        let inputs =
            Inputs { http: &http, config_drive: &config_drive, reporter: &reporter, target: &target, max_window };
        write("unpack", &step, &inputs)
    }

    #[test]
    fn needs_root_archive_fills_each_file_system_with_its_own_files_and_leaves_nothing_mounted() {
        let folder: PathBuf = std::env::temp_dir().join(format!("bedplate-unpack-{}", std::process::id()));
        fs::create_dir_all(folder.join("source/srv/boot/grub")).unwrap();
        fs::write(folder.join("source/etc"), "etc").unwrap();
        fs::write(folder.join("source/boot"), "not the mount point").unwrap();
        fs::write(folder.join("source/srv/boot/grub/cfg"), "grub").unwrap();
        let (archive, tree) = (folder.join("root.tar.gz"), folder.join("source"));
        run(
            "tar",
            &["--create", "--gzip", "--directory", tree.to_str().unwrap(), "--file", archive.to_str().unwrap(), "."],
        );
        let (root, boot) = (Disk::new(&folder.join("root")), Disk::new(&folder.join("boot")));

        let report = unpacked(&folder, &archive, &[root.mount("/"), boot.mount("/srv/boot")]).unwrap();
        assert_eq!(report.bytes_written, 26);
        let mounted = |disk: &Disk, look: &dyn Fn(&Path)| {
            let (at, mut mounts) = (folder.join("look"), Mounts::default());
            mounts.mount(Path::new(&disk.0), &at, "ext4", Access::ReadOnly).unwrap();
            look(&at);
            mounts.unmount_all().unwrap();
        };
        mounted(&root, &|at| {
            assert_eq!(fs::read_to_string(at.join("etc")).unwrap(), "etc");
            assert_eq!(fs::read_dir(at.join("srv/boot")).unwrap().count(), 0, "it is the mount point");
        });
        mounted(&boot, &|at| assert_eq!(fs::read_to_string(at.join("grub/cfg")).unwrap(), "grub"));

        // The archive's file stands where a file system is mounted.
        run("mkfs.ext4", &["-q", "-F", &root.0]);
        let error = unpacked(&folder, &archive, &[root.mount("/srv"), boot.mount("/srv/boot")]).unwrap_err();
        assert!(error.to_string().ends_with(": making \"boot\": a file system is mounted there"), "{error}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
        drop((root, boot));
        fs::remove_dir_all(&folder).unwrap();
    }
}
