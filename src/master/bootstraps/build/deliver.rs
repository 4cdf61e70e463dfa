//! The files of an image, and the archive that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::command::{Call, Tool};
use crate::sys::job::Job;

use super::check::Ground;
use super::identity::Identity;
use super::journal::Journal;
use super::request::Request;
use super::system::MARKS;
use super::workshop::{self, Workshop};

/// Makes kernel, initrd, squashfs and metadata out of the root directory; the folder that they are in.
///
/// # Errors
/// `Tool` when a step fails.
pub(super) fn files(
    request: &Request,
    ground: &Ground,
    identity: &Identity,
    workshop: &Workshop,
    journal: &mut Journal,
) -> Result<PathBuf> {
    let (root, files) = (workshop.path("root"), workshop.path("files"));
    let repositories = ground.repositories.iter().map(|(repository, _)| {
        json!({ "name": repository.name, "type": repository.kind, "uri": repository.uri, "suite": repository.suite,
            "section": repository.section, "priority": repository.priority })
    });
    let repositories = workshop.write("repos.json", &json!(repositories.collect::<Vec<_>>()).to_string())?;
    let agent = workshop.path("agent");
    let deb = ground
        .debs
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bedplate_")));
    let deb = deb.ok_or_else(|| Error::bug("the agent's package has vanished"))?;
    Call::new(Tool::DpkgDeb, [Path::new("--extract"), deb, &agent]).run()?;
    let settings = &request.settings;
    let arguments = [ground.script("deliver.sh"), root.clone(), workshop.path("base"), files.clone()];
    let mut job = Job::new(Tool::Bash, arguments)
        .env("TMPDIR", workshop.make("tmp")?)
        .env("AGENT", agent.join("usr/bin/bedplate"))
        .env("SOURCE_DATE_EPOCH", identity.epoch.to_string())
        .env("BEDPLATE_PHASES", workshop.path(MARKS))
        .env("BEDPLATE_VARIANT", settings.variant.name())
        .env("BEDPLATE_UUID", identity.uuid.as_str())
        .env("BEDPLATE_LABEL", request.label.as_deref().unwrap_or(identity.uuid.as_str()))
        .env("BEDPLATE_KOPTS", &settings.extend_kopts)
        .env("BEDPLATE_REPOS", repositories);
    if settings.root_ssh_authorized_file.is_some() {
        job = job.env("BEDPLATE_SSH_KEYS", workshop.path("authorized_keys"));
    }
    finish(job, "deliver.sh", journal)?;
    // The archive needs the room.
    workshop::remove(&root)?;
    Ok(files)
}

/// Packs the files and puts the archive, or without compression their folder, into the output folder.
///
/// # Errors
/// `Tool` when a step fails, `Medium` when the folder has no room.
pub(super) fn publish(
    request: &Request,
    identity: &Identity,
    files: &Path,
    workshop: &Workshop,
    journal: &mut Journal,
) -> Result<PathBuf> {
    let output = &request.settings.output_dir;
    let name = if request.no_compress { identity.uuid.to_string() } else { format!("{}.tar.gz", identity.uuid) };
    let made = if request.no_compress {
        files.to_owned()
    } else {
        let archive = workshop.path("image.tar.gz");
        finish(Job::new(Tool::Tar, archiving(files, &archive, identity)), "tar", journal)?;
        archive
    };
    let target = output.join(&name);
    let unfinished = output.join(format!(".{name}.unfinished"));
    let moved = put(&made, &unfinished, &target).context(Kind::Medium, || format!("writing {}", target.display()));
    if moved.is_err() {
        // The first error counts, and the name of what is left says what it is.
        let _left = if request.no_compress { fs::remove_dir_all(&unfinished) } else { fs::remove_file(&unfinished) };
    }
    moved.map(|()| target)
}

/// The files in the order of their names, dated by the build, owned by root.
fn archiving(files: &Path, archive: &Path, identity: &Identity) -> Vec<std::ffi::OsString> {
    let mut arguments = [
        "--create",
        "--format=gnu",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        // Nearly all of it is packed already.
        "--use-compress-program=gzip -n -1",
    ]
    .map(std::ffi::OsString::from)
    .to_vec();
    arguments.push(format!("--mtime=@{}", identity.epoch).into());
    arguments.extend(["--file".into(), archive.into(), "--directory".into(), files.into(), ".".into()]);
    arguments
}

fn finish(job: Job, name: &str, journal: &mut Journal) -> Result<()> {
    match journal.run(job)? {
        0 => Ok(()),
        status => Err(Error::new(Kind::Tool, format!("{name}: exit status {status}: {}", journal.last_words()))),
    }
}

/// Moves a file, or a folder of files, to its place by one rename, after all of it is on disk.
fn put(made: &Path, unfinished: &Path, target: &Path) -> std::io::Result<()> {
    if made.is_dir() {
        if unfinished.exists() {
            fs::remove_dir_all(unfinished)?;
        }
        fs::create_dir(unfinished)?;
        for entry in fs::read_dir(made)? {
            let entry = entry?;
            copy(&entry.path(), &unfinished.join(entry.file_name()))?;
        }
        File::open(unfinished)?.sync_all()?;
    } else {
        match fs::rename(made, unfinished) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => copy(made, unfinished)?,
            outcome => outcome?,
        }
        File::open(unfinished)?.sync_all()?;
    }
    fs::rename(unfinished, target)?;
    // The rename itself is durable only with its folder.
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // In a folder of everybody's the name may be somebody's link.
    let mut file = OpenOptions::new().write(true).create_new(true).open(to)?;
    std::io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}
