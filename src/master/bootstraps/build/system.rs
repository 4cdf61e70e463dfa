//! The root directory: mmdebstrap, and the hook that makes a live system in it.

use std::ffi::OsString;
use std::fs;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::command::Tool;
use crate::sys::job::Job;

use super::apt::{self, Pin};
use super::check::{Ground, firmware_word};
use super::identity::Identity;
use super::journal::Journal;
use super::request::Request;
use super::workshop::Workshop;
use super::{Phase, release};

/// Where keys lie in an image.
const KEYRINGS: &str = "/etc/apt/keyrings";

/// Gives the root directory its pins before anything is installed.
const SETUP_HOOK: &str = "mkdir -p \"$1/etc/apt/preferences.d\" && cp -r \"$BEDPLATE_WORK/apt/preferences.d/.\" \"$1/etc/apt/preferences.d/\"";

/// Where scripts tell their phases.
pub(super) const MARKS: &str = "phases";

/// Writes what apt, here and in the image, goes by.
///
/// # Errors
/// `Medium`.
pub(super) fn write_options(request: &Request, workshop: &Workshop) -> Result<()> {
    workshop.write(apt::OPTIONS, &release::configuration(&request.settings)).map(drop)
}

/// Makes the root directory `root` and the folder `base` in the workshop.
///
/// # Errors
/// `Tool` when a step fails, `Image` when packages cannot be fetched.
pub(super) fn make(
    request: &Request,
    ground: &Ground,
    pins: &[Pin],
    identity: &Identity,
    workshop: &Workshop,
    journal: &mut Journal,
) -> Result<()> {
    write_apt(ground, pins, workshop)?;
    if let Some(hash) = &identity.root_hash {
        workshop.write("root-password", &format!("{hash}\n"))?;
    }
    let debs = workshop.make("debs")?;
    for deb in &ground.debs {
        let target = debs.join(deb.file_name().unwrap_or_default());
        fs::copy(deb, target).context(Kind::Medium, || format!("copying {}", deb.display()))?;
    }
    journal.follow(workshop.path(MARKS));
    let job = Job::new(Tool::Mmdebstrap, arguments(ground, workshop))
        .env("TMPDIR", workshop.make("tmp")?)
        // The kernel's package would make an initrd for this root, which is not the one wanted.
        .env("INITRD", "No")
        .env("SOURCE_DATE_EPOCH", identity.epoch.to_string())
        .env("BEDPLATE_WORK", workshop.path(""))
        .env("BEDPLATE_INITRAMFS", ground.scripts.join("initramfs"))
        .env("BEDPLATE_VARIANT", request.settings.variant.name())
        .env("BEDPLATE_FIRMWARE", firmware_word(ground.has_firmware))
        .env("BEDPLATE_DEBS", debs)
        .env("BEDPLATE_UUID", identity.uuid.as_str())
        .input(apt::lines(ground).join("\n") + "\n");
    let status = journal.run(job)?;
    if status != 0 {
        return Err(fault(request, status, journal));
    }
    Ok(())
}

/// The command line of mmdebstrap.
fn arguments(ground: &Ground, workshop: &Workshop) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--mode=root", "--variant=apt", "--format=directory", "--architectures=amd64"].map(OsString::from).into();
    let option = |name: &str, value: OsString| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    arguments.push(option("--include=", ground.packages.join(",").into()));
    arguments.push(option("--aptopt=", workshop.path(apt::OPTIONS).into()));
    arguments.extend(ground.dpkg_options.iter().map(|line| option("--dpkgopt=", line.into())));
    arguments.push(option("--setup-hook=", SETUP_HOOK.into()));
    arguments.push(option("--customize-hook=", ground.script("image.sh").into()));
    arguments.extend([ground.suite.clone().into(), workshop.path("root").into(), "-".into()]);
    arguments
}

/// What apt reads in the image: upstream's file names, keys that lie there, pins.
fn write_apt(ground: &Ground, pins: &[Pin], workshop: &Workshop) -> Result<()> {
    for folder in ["sources.list.d", "preferences.d", "keyrings"] {
        workshop.make(&format!("apt/{folder}"))?;
    }
    for (repository, key) in &ground.repositories {
        let name = &repository.name;
        let inside = match key {
            None => None,
            Some(key) => {
                // What apt takes as binary and what as text it tells by the ending.
                let bytes = fs::read(key).context(Kind::Usage, || format!("reading {}", key.display()))?;
                let ending = if bytes.starts_with(b"-----BEGIN PGP") { "asc" } else { "gpg" };
                let file = format!("fuel-image-{name}.{ending}");
                let target = workshop.path("apt/keyrings").join(&file);
                fs::write(&target, bytes).context(Kind::Medium, || format!("writing {}", target.display()))?;
                Some(format!("{KEYRINGS}/{file}"))
            }
        };
        let line = repository.line(inside.as_deref().map(std::path::Path::new));
        workshop.write(&format!("apt/sources.list.d/fuel-image-{name}.list"), &format!("{line}\n"))?;
    }
    for (file, text) in pins {
        workshop.write(&format!("apt/preferences.d/{file}"), text)?;
    }
    Ok(())
}

fn fault(request: &Request, status: i32, journal: &Journal) -> Error {
    let lines = journal.lines();
    let words = journal.last_words();
    match journal.phase() {
        Phase::System
            if lines.iter().any(|line| line.contains("Failed to fetch") || line.contains("Unable to fetch")) =>
        {
            release::fault_of_update(&lines).unwrap_or_else(|| Error::new(Kind::Image, words))
        }
        Phase::PostScript => {
            let script = request.settings.post_script_file.as_deref().map(|path| path.display().to_string());
            let script = script.unwrap_or_default();
            let status = lines.iter().rev().find_map(|line| line.strip_prefix("bedplate: exit status "));
            Error::new(Kind::Tool, format!("{script}: exit status {}: {words}", status.unwrap_or("unknown")))
        }
        _ => Error::new(Kind::Tool, format!("mmdebstrap: exit status {status}: {words}")),
    }
}
