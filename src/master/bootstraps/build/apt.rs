//! A throw-away root directory of apt: what is wrong with repositories and packages is known before anything is unpacked.

use std::fs;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::command::{Call, Tool};
use crate::sys::job::Job;

use super::check::Ground;
use super::journal::Journal;
use super::release;
use super::workshop::Workshop;

/// The configuration that all calls here take, and what mmdebstrap takes as well.
const CONFIGURATION: &str = "apt.conf";

/// Options of apt for a build, proxies among them; in the build's folder.
pub(super) const OPTIONS: &str = "apt-options";

/// A file of preferences, and what is in it.
pub(super) type Pin = (String, String);

/// Fetches the lists of all repositories, and makes the pins of those with a priority.
///
/// # Errors
/// `Refused` when nobody known has signed one, `Request` when it has not the suite or component, `Image` when it does not
/// answer.
pub(super) fn update(ground: &Ground, workshop: &Workshop, journal: &mut Journal) -> Result<Vec<Pin>> {
    let root = workshop.make("apt-root")?;
    for folder in [
        "etc/apt/apt.conf.d",
        "etc/apt/sources.list.d",
        "etc/apt/preferences.d",
        "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ] {
        workshop.make(&format!("apt-root/{folder}"))?;
    }
    workshop.write("apt-root/var/lib/dpkg/status", "")?;
    let options = fs::read_to_string(workshop.path(OPTIONS)).context(Kind::Medium, || "reading the options of apt")?;
    let root = root.display();
    // Folders are made and removed by root alone; the user of apt could not write there.
    let own = format!(
        "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nDir::Etc::main \"/dev/null\";\n\
         APT::Sandbox::User \"root\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n"
    );
    workshop.write(CONFIGURATION, &format!("{own}{options}"))?;
    for (number, line) in lines(ground).iter().enumerate() {
        // apt reads them in the order of their names.
        workshop.write(&format!("apt-root/etc/apt/sources.list.d/{number:03}.list"), &format!("{line}\n"))?;
    }
    let job = Job::new(Tool::AptGet, ["update", "--error-on=any"]).env("APT_CONFIG", workshop.path(CONFIGURATION));
    let status = journal.run(job)?;
    match release::fault_of_update(&journal.lines()) {
        Some(error) => return Err(error),
        None if status != 0 => return Err(Error::new(Kind::Image, format!("apt-get update: exit status {status}"))),
        None => {}
    }
    pins(ground, workshop)
}

/// The lines of apt's sources, with the keys of this machine.
pub(super) fn lines(ground: &Ground) -> Vec<String> {
    ground.repositories.iter().map(|(repository, key)| repository.line(key.as_deref())).collect()
}

fn pins(ground: &Ground, workshop: &Workshop) -> Result<Vec<Pin>> {
    let mut pins = Vec::new();
    for (repository, _) in &ground.repositories {
        let Some(priority) = repository.priority else { continue };
        let lists = workshop.path("apt-root/var/lib/apt/lists");
        let names = release::list_names(repository);
        let texts = names.iter().filter_map(|name| fs::read(lists.join(name)).ok());
        let text = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).next();
        let text = text.and_then(|text| release::preferences(&text, priority)).ok_or_else(|| {
            let name = &repository.name;
            Error::new(
                Kind::Request,
                format!("repository {name}: its Release file says nothing by which it can be pinned"),
            )
        })?;
        let file = format!("fuel-image-{}.pref", repository.name);
        workshop.write(&format!("apt-root/etc/apt/preferences.d/{file}"), &text)?;
        pins.push((file, text));
    }
    Ok(pins)
}

/// Chooses the packages as the build will, without fetching them: name and version of each, in the order of installation.
///
/// # Errors
/// `Request` when one is not there or cannot be installed.
pub(super) fn choose(ground: &Ground, workshop: &Workshop, journal: &mut Journal) -> Result<Vec<String>> {
    let mut arguments: Vec<_> =
        ["install", "--simulate", "--no-install-recommends"].map(std::ffi::OsString::from).into();
    arguments.extend(ground.packages.iter().map(Into::into));
    arguments.extend(ground.debs.iter().map(Into::into));
    let mut heard = Vec::new();
    let call = |arguments: &[std::ffi::OsString]| {
        Call::new(Tool::AptGet, arguments).env("APT_CONFIG", workshop.path(CONFIGURATION)).allow(&[100])
    };
    let output = call(&arguments).run()?;
    for line in output.stdout.lines().chain(output.stderr.lines()) {
        journal.note(line);
        heard.push(line.to_owned());
    }
    if output.status != 0 {
        return Err(release::fault_of_choice(&heard));
    }
    let mut versions: Vec<_> = heard.iter().filter_map(|line| version(line)).collect();
    if ground.has_firmware {
        versions.push(firmware(&workshop.path(CONFIGURATION))?);
    }
    Ok(versions)
}

/// `Inst NAME (VERSION REPOSITORY [ARCHITECTURE])`: name and version.
fn version(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    Some(format!("{name} {}", rest.split_whitespace().next()?))
}

/// make-base.sh takes every firmware package that it knows: their versions are part of what goes in.
fn firmware(configuration: &Path) -> Result<String> {
    let ask = |arguments: &[&str]| Call::new(Tool::AptCache, arguments).env("APT_CONFIG", configuration).run();
    let names = ask(&["pkgnames", "firmware-"])?.stdout;
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    if names.is_empty() {
        return Ok(String::new());
    }
    let policy = ask(&[&["policy"][..], &names].concat())?.stdout;
    let lines = policy.lines().filter(|line| !line.starts_with("  ") || line.starts_with("  Candidate:"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_a_simulation() {
        assert_eq!(version("Inst zstd (1.5.4+dfsg2-5 Debian:12.11/stable [amd64])").unwrap(), "zstd 1.5.4+dfsg2-5");
        assert_eq!(version("Conf zstd (1.5.4+dfsg2-5 Debian:12.11/stable [amd64])"), None);
    }
}
