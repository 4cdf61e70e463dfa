//! Builds a bootstrap on a master where Bedplate is installed.
//!
//! What an image contains is said by the scripts below the setting `scripts`, which `make live-bootstrap` calls as well. Here
//! stands what surrounds them: settings, repositories and their keys, one build at a time, words about what went wrong, and
//! that nothing half made is left.
//!
//! | file | holds |
//! |---|---|
//! | `request` | what is to be built |
//! | `check` | what can be said before anything is fetched |
//! | `release`, `apt` | repositories: signatures, pins, whether all packages are there |
//! | `identity` | the UUID of equal inputs |
//! | `system`, `deliver` | the root directory; the files and their archive |
//! | `workshop`, `journal` | the folder of a build; its log and phases |

mod apt;
mod check;
mod deliver;
mod identity;
mod journal;
mod release;
mod request;
mod system;
mod workshop;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use log::info;

use crate::error::Result;
use crate::image::Cancel;
use crate::master::bootstraps::metadata::ImageId;

use journal::Journal;
use workshop::Workshop;

pub use request::{Options, Request};

/// What a build is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Looking at settings, files and tools.
    Check,
    /// Fetching the lists of the repositories, and checking who signed them.
    Repositories,
    /// Choosing the packages.
    Packages,
    /// Installing them.
    System,
    /// Configuring the live system.
    Customize,
    /// Installing the agent.
    Agent,
    /// Laying certificates and extra folders over it.
    ExtraFiles,
    /// Running the post script.
    PostScript,
    /// Making the initrd.
    Initrd,
    /// Cleaning the root directory.
    Clean,
    /// Packing the squashfs.
    Squashfs,
    /// Putting the files together, with their metadata.
    Files,
    /// Packing the archive.
    Archive,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::Check,
        Self::Repositories,
        Self::Packages,
        Self::System,
        Self::Customize,
        Self::Agent,
        Self::ExtraFiles,
        Self::PostScript,
        Self::Initrd,
        Self::Clean,
        Self::Squashfs,
        Self::Files,
        Self::Archive,
    ];

    /// Its name in logs and interfaces; the scripts write those of their phases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Repositories => "repositories",
            Self::Packages => "packages",
            Self::System => "system",
            Self::Customize => "customize",
            Self::Agent => "agent",
            Self::ExtraFiles => "extra-files",
            Self::PostScript => "post-script",
            Self::Initrd => "initrd",
            Self::Clean => "clean",
            Self::Squashfs => "squashfs",
            Self::Files => "files",
            Self::Archive => "archive",
        }
    }

    /// What it does, for people.
    #[must_use]
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Check => "checking settings and tools",
            Self::Repositories => "reading the repositories",
            Self::Packages => "choosing the packages",
            Self::System => "installing the packages",
            Self::Customize => "configuring the live system",
            Self::Agent => "installing the agent",
            Self::ExtraFiles => "laying certificates and extra folders over it",
            Self::PostScript => "running the post script",
            Self::Initrd => "making the initrd",
            Self::Clean => "cleaning the root directory",
            Self::Squashfs => "packing the squashfs",
            Self::Files => "putting the files together",
            Self::Archive => "packing the archive",
        }
    }

    /// The phase of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Told how a build goes on, in its own thread.
pub trait Progress {
    /// Where every line of the log is written, before the first of them.
    fn log(&mut self, path: &Path);

    /// A phase begins.
    fn phase(&mut self, phase: Phase);

    /// A line of the log.
    fn line(&mut self, line: &str);
}

/// A bootstrap that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its name.
    pub uuid: ImageId,
    /// The archive; without compression the folder.
    pub path: PathBuf,
}

/// Builds a bootstrap. Nothing is visible in the output folder before all of it is on disk; whatever ends a build, its
/// processes and mounts end with it, and what it leaves in the build folder is removed, if not by itself then by the next.
///
/// # Errors
/// `Usage`: settings, or files that they name. `Refused`: not root, another build, a repository that nobody known has signed.
/// `Request`: suites, components or packages that the repositories do not have. `Image`: a repository that does not answer.
/// `Medium`: no space. `Tool`: a tool is missing or failed, the post script among them. `Interrupted`, `Terminated`: cancelled.
pub fn build(request: &Request, progress: &mut dyn Progress, cancel: &Cancel) -> Result<Built> {
    check::root()?;
    let started = Instant::now();
    let settings = &request.settings;
    let workshop = Workshop::open(&settings.build_dir)?;
    let mut journal = Journal::open(workshop.log(request.log_file.as_deref()), progress, cancel.clone())?;
    let outcome = carry_out(request, &workshop, &mut journal);
    let outcome = journal.end(outcome, &settings.build_dir, request.log_file.is_some());
    workshop.close();
    if let Ok(built) = &outcome {
        info!("bootstrap {} was built in {} s", built.uuid, started.elapsed().as_secs());
    }
    outcome
}

fn carry_out(request: &Request, workshop: &Workshop, journal: &mut Journal) -> Result<Built> {
    journal.enter(Phase::Check);
    let ground = check::ground(request, workshop)?;
    system::write_options(request, workshop)?;
    journal.enter(Phase::Repositories);
    let pins = apt::update(&ground, workshop, journal)?;
    journal.enter(Phase::Packages);
    let versions = apt::choose(&ground, workshop, journal)?;
    let identity = identity::of(request, &ground, &pins, &versions)?;
    journal.note(&format!("the image's UUID is {}", identity.uuid));
    journal.enter(Phase::System);
    system::make(request, &ground, &pins, &identity, workshop, journal)?;
    journal.enter(Phase::Squashfs);
    let files = deliver::files(request, &ground, &identity, workshop, journal)?;
    journal.enter(Phase::Archive);
    let path = deliver::publish(request, &identity, &files, workshop, journal)?;
    Ok(Built { uuid: identity.uuid, path })
}
