//! Images: streamed to their device and proved, then made the device's own file system.

use std::path::Path;

use super::{Inputs, adoption, require_device, target};
use crate::error::{Error, Kind, Result};
use crate::image::{self, Cancel, Digest, Job, Location, MinisignKey, Signed};
use crate::plan::{Step, TargetMount};
use crate::report::ImageReport;
use crate::request::file_systems::ARCHIVE;
use crate::request::{Container, shown_uri};
use crate::sys::mount::{Access, Mounts};
use crate::sys::signal;
use crate::units::MaxWindow;

/// Carries out a `WriteImage` step.
pub fn write(id: &str, step: &Step, inputs: &Inputs<'_>) -> Result<ImageReport> {
    let Step::WriteImage { target: device, format, label, uuid, mounts, .. } = step else {
        return Err(Error::bug(format!("{id} is no image")));
    };
    require_device(device)?;
    let job = job(id, step, inputs.max_window)?;
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

/// The same as a job, whose target need not be there yet.
///
/// # Errors
/// `Request` with what in the step is not what it should be.
pub fn job(id: &str, step: &Step, max_window: MaxWindow) -> Result<Job> {
    let Step::WriteImage {
        source,
        target,
        container,
        size,
        digests,
        container_size,
        container_digests,
        mirrors,
        minisign_key,
        signature,
        bmap,
        ..
    } = step
    else {
        return Err(Error::bug(format!("{id} is no image")));
    };
    let source = location(source)?;
    let mut job = Job::new(id, source.clone(), target);
    job.mirrors = mirrors.iter().map(|address| location(address)).collect::<Result<_>>()?;
    job.bmap = bmap.as_deref().map(location).transpose()?;
    if let Some(key) = minisign_key {
        let key: MinisignKey = key.parse().map_err(|reason: String| Error::new(Kind::Request, reason))?;
        let signature = signature.as_deref().map(location).transpose()?;
        job.signed = Some(Signed::new(key, signature.unwrap_or_else(|| source.with_suffix(".minisig"))));
    }
    job.container = Some(self::container(container).map_err(|error| error.within(format!("image {source}")))?);
    job.max_window = max_window;
    job.size = *size;
    job.container_size = *container_size;
    job.digests = parse(digests)?;
    job.container_digests = parse(container_digests)?;
    job.cancel = Cancel::with_flag(signal::cancel_flag());
    Ok(job)
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
    mounts.unmount_after(unpacked)
}

/// Where a step's image, or what belongs to it, comes from. An address that is none is told without its secrets.
fn location(source: &str) -> Result<Location> {
    let told = |reason: String| Error::new(Kind::Request, format!("image {}: {reason}", shown_uri(source)));
    source.parse().map_err(told)
}

/// How a step's image is packed.
fn container(word: &str) -> Result<Container> {
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
    use std::process::Command;

    use super::*;
    use crate::configdrive::ConfigDrive;
    use crate::http::{Client, Proxies, Settings};
    use crate::report::Reporter;
    use crate::scratch::Scratch;

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

    fn step(source: &str, container: &str) -> Step {
        Step::WriteImage {
            source: source.to_owned(),
            target: "/dev/os/root".to_owned(),
            container: container.to_owned(),
            format: "ext4".to_owned(),
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
            mounts: Vec::new(),
        }
    }

    #[test]
    fn what_is_wrong_in_a_step_is_told_without_the_secrets_of_its_addresses() {
        const KEY: &str = "RWS08tODgJzXwbsLGKqVGlfRXAYBb9b9LiKZ3929Lx6uKjB5bjhRxyig";
        let bad = "http://user:hunter2@h/<a>.img?sig=s3cret";
        let told = |adjust: &dyn Fn(&mut Step)| {
            let mut step = step("http://h/a.img", "raw");
            adjust(&mut step);
            let error = job("write-image", &step, MaxWindow::default()).unwrap_err();
            let everything = format!("{error:?} {:?}", error.advice());
            assert!(!everything.contains("hunter2") && !everything.contains("s3cret"), "{everything}");
            assert_eq!(error.kind(), Kind::Request);
            error.to_string()
        };
        let refused = "image http://h/<a>.img: address http://h/<a>.img?***: invalid uri character";
        for place in ["source", "mirrors", "signature", "bmap"] {
            let words = told(&|step| {
                let Step::WriteImage { source, mirrors, minisign_key, signature, bmap, .. } = step else { return };
                match place {
                    "source" => *source = bad.to_owned(),
                    "mirrors" => mirrors.push(bad.to_owned()),
                    "signature" => (*minisign_key, *signature) = (Some(KEY.to_owned()), Some(bad.to_owned())),
                    _ => *bmap = Some(bad.to_owned()),
                }
            });
            assert_eq!(words, refused, "{place}");
        }
        let words = told(&|step| *step = self::step("http://user:hunter2@h/a.img?sig=s3cret", "zip"));
        assert_eq!(words, "image http://h/a.img?***: \"zip\" is no packing of images that this program knows");
    }

    fn unpacked(folder: &Path, archive: &Path, mounts: &[TargetMount]) -> Result<ImageReport> {
        let mut step = step(&archive.display().to_string(), "gzip");
        let Step::WriteImage { target, format, mounts: to, .. } = &mut step else { unreachable!("it is one") };
        (*target, *format, *to) = (mounts[0].device.clone(), "tar".to_owned(), mounts.to_vec());
        let http = Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap();
        let reporter = Reporter::new("r", Vec::new());
        let config_drive = ConfigDrive::default();
        let target = folder.join("target");
        let max_window = MaxWindow::default();
        let inputs =
            Inputs { http: &http, config_drive: &config_drive, reporter: &reporter, target: &target, max_window };
        write("unpack", &step, &inputs)
    }

    #[test]
    fn needs_root_archive_fills_each_file_system_with_its_own_files_and_leaves_nothing_mounted() {
        let scratch = Scratch::new();
        let folder = scratch.folder().to_owned();
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
    }
}
