//! Where bootstrap images are kept: a folder each, and links beside them that name the active one and the one before it.
//!
//! What is being made or removed has a name that begins with a dot, so that nobody ever sees half an image. Changes are
//! made under a lock, since the command line and a running master make them alike.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use log::{info, warn};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::error::{Context as _, Error, Kind, Result};
use crate::master::store::sync_folder;

use super::metadata::{ImageId, METADATA, METADATA_LIMIT, Metadata, Part};

/// The link that names the active image, upstream's name.
pub const ACTIVE: &str = "active_bootstrap";

/// The link that names the image that was active before.
pub const PREVIOUS: &str = "previous_bootstrap";

/// Held while something is changed.
const LOCK: &str = ".lock";

/// Begins the name of an image that is being removed.
const REMOVED: &str = ".removed-";

/// The images of a master.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    link: PathBuf,
}

/// An image that is whole: its metadata are right, and its files have the sizes that those say.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it says of itself.
    pub metadata: Metadata,
    /// The folder of its files.
    pub folder: PathBuf,
}

impl Image {
    /// Where a file of it lies.
    #[must_use]
    pub fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.file())
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ImageId {
        &self.metadata.uuid
    }
}

/// What an image is to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nodes start it.
    Active,
    /// It was active before; a roll-back makes it active again.
    Previous,
    /// It is there.
    Inactive,
}

/// An image in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// The name of its folder, which is its UUID.
    pub uuid: String,
    /// Its name for people; empty where it cannot be read.
    pub label: String,
    /// What it is to the nodes.
    pub status: Status,
    /// The sum of its files' sizes in bytes, where it can be used.
    pub bytes: Option<u64>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// All images: what `bedplate-master bootstrap list --json` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct List {
    /// By the names of their folders.
    pub images: Vec<Listed>,
}

impl List {
    /// The table for people, with upstream's columns.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.images.iter().map(|image| {
            let mut status = match image.status {
                Status::Active => "active".to_owned(),
                Status::Previous => "previous".to_owned(),
                Status::Inactive => String::new(),
            };
            if let Some(problem) = &image.problem {
                let apart = if status.is_empty() { "" } else { ", " };
                status = format!("{status}{apart}broken: {problem}");
            }
            [image.uuid.clone(), image.label.clone(), status]
        });
        let rows: Vec<_> = std::iter::once(["uuid", "label", "status"].map(str::to_owned)).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        let line = |row: &[String; 3]| format!("{:first$}  {:second$}  {}", row[0], row[1], row[2]);
        rows.iter().map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }
}

/// The right to change the store; it ends when dropped.
#[derive(Debug)]
pub struct Changing {
    _lock: Flock<File>,
}

impl Store {
    /// The store in a folder; the active image's link may lie elsewhere.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, link: Option<PathBuf>) -> Self {
        let folder = folder.into();
        let link = link.unwrap_or_else(|| folder.join(ACTIVE));
        Self { folder, link }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder where it is missing, and waits for whoever changes something in it.
    ///
    /// # Errors
    /// `Usage` when the folder cannot be made or written to.
    pub fn change(&self) -> Result<Changing> {
        self.make_folder()?;
        let path = self.folder.join(LOCK);
        let locking = || format!("locking {}", path.display());
        let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = options.context(Kind::Usage, locking)?;
        let refused = |errno: Errno| Error::caused(Kind::Usage, locking(), errno);
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                info!("waiting for who changes {}", self.folder.display());
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| refused(errno))?
            }
            Err((_, errno)) => return Err(refused(errno)),
        };
        self.sweep(REMOVED)?;
        Ok(Changing { _lock: lock })
    }

    fn make_folder(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755).create(&self.folder).context(Kind::Usage, || self.doing("creating"))
    }

    fn doing(&self, doing: &str) -> String {
        format!("{doing} {}", self.folder.display())
    }

    /// Removes what begins with this and nobody holds.
    pub(super) fn sweep(&self, start: &str) -> Result<()> {
        for entry in fs::read_dir(&self.folder).context(Kind::Medium, || self.doing("listing"))? {
            let path = entry.context(Kind::Medium, || self.doing("listing"))?.path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)) {
                continue;
            }
            // Whoever fills a folder holds it; what nobody holds was left by one who was killed.
            let is_free =
                File::open(&path).is_ok_and(|folder| Flock::lock(folder, FlockArg::LockExclusiveNonblock).is_ok());
            if is_free && let Err(cause) = fs::remove_dir_all(&path) {
                warn!("removing {}: {cause}", path.display());
            }
        }
        Ok(())
    }

    /// The name that a link says; nothing when there is no such link.
    fn named_by(&self, link: &Path) -> Result<Option<ImageId>> {
        let reading = || format!("reading the link {}", link.display());
        let target = match fs::read_link(link) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(Error::new(Kind::Refused, format!("{}: it is no symbolic link", reading())));
            }
            Err(error) => return Err(Error::caused(Kind::Medium, reading(), error)),
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Upstream's link is absolute.
        let folder = target.parent().filter(|folder| folder.is_absolute());
        if folder.is_some_and(|folder| folder != self.folder) {
            let message = format!("{}: it leads to {}, out of the store", reading(), target.display());
            return Err(Error::new(Kind::Refused, message));
        }
        name.parse().map(Some).map_err(|words: String| Error::new(Kind::Image, format!("{}: {words}", reading())))
    }

    /// The image that nodes start.
    ///
    /// # Errors
    /// `Medium` when the link cannot be read, `Refused` when it is none or leads elsewhere.
    pub fn active(&self) -> Result<Option<ImageId>> {
        self.named_by(&self.link)
    }

    /// The image that was active before.
    ///
    /// # Errors
    /// As [`Self::active`].
    pub fn previous(&self) -> Result<Option<ImageId>> {
        self.named_by(&self.folder.join(PREVIOUS))
    }

    /// Makes a link name an image, in one rename; without an image the link is removed.
    fn point(&self, link: &Path, id: Option<&ImageId>) -> Result<()> {
        let linking = || format!("writing the link {}", link.display());
        let Some(id) = id else {
            return match fs::remove_file(link) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::caused(Kind::Medium, linking(), error)),
                _ => sync_folder(link),
            };
        };
        // A relative link outlives a move of the whole folder.
        let is_inside = link.parent() == Some(self.folder.as_path());
        let target = if is_inside { PathBuf::from(id.as_str()) } else { self.folder.join(id.as_str()) };
        let name = link.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = link.with_file_name(format!(".{name}.unfinished"));
        if let Err(error) = fs::remove_file(&unfinished)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(Error::caused(Kind::Medium, linking(), error));
        }
        symlink(target, &unfinished).and_then(|()| fs::rename(&unfinished, link)).context(Kind::Medium, linking)?;
        sync_folder(link)
    }

    /// Has nodes start this image from now on, in one rename, and remembers which one they started before.
    ///
    /// # Errors
    /// `Medium` when the file system refuses; then the active image is the one that it was.
    pub fn set_active(&self, _changing: &Changing, id: Option<&ImageId>) -> Result<()> {
        // Also one that is broken is replaced.
        let before = self.active().unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        if before.as_ref() == id {
            return Ok(());
        }
        // Whoever is killed between the two has an active image that is its own predecessor: nothing is lost by it.
        self.point(&self.folder.join(PREVIOUS), before.as_ref())?;
        self.point(&self.link, id)
    }

    /// An image, checked: metadata that are right and of that very image, files of the sizes that they say.
    ///
    /// # Errors
    /// `Usage` when there is none of this name, `Image` with what is wrong with it.
    pub fn image(&self, id: &ImageId) -> Result<Image> {
        let folder = self.folder.join(id.as_str());
        if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            return Err(Error::new(Kind::Usage, format!("there is no bootstrap image {id}"))
                .advise("`bedplate-master bootstrap list` tells which there are"));
        }
        self.checked(id, folder).map_err(|error| error.within(format!("checking the bootstrap image {id}")))
    }

    fn checked(&self, id: &ImageId, folder: PathBuf) -> Result<Image> {
        let metadata = Metadata::parse(&read_bounded(&folder.join(METADATA))?)?;
        if metadata.uuid != *id {
            return Err(Error::new(Kind::Image, format!("{METADATA}: uuid: expected {id}, found {}", metadata.uuid)));
        }
        for part in Part::ALL {
            let file = part.file();
            let found = match fs::symlink_metadata(folder.join(file)) {
                Ok(found) if found.is_file() => found.len(),
                Ok(_) => return Err(Error::new(Kind::Image, format!("{file} is no plain file"))),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if part == Part::Root && metadata.module(part).is_none() {
                        continue;
                    }
                    return Err(Error::new(Kind::Image, format!("there is no {file}")));
                }
                Err(error) => return Err(Error::caused(Kind::Medium, format!("reading {file}"), error)),
            };
            let Some(module) = metadata.module(part).filter(|module| module.is_complete()) else {
                let fields = "raw_size, raw_md5 and raw_sha256";
                let message = format!("{METADATA}: modules.{}: expected {fields}", part.key());
                return Err(Error::new(Kind::Image, message)
                    .advise("importing an archive of it computes what its metadata do not say"));
            };
            if module.raw_size != Some(found) {
                let expected = module.raw_size.unwrap_or_default();
                return Err(Error::new(Kind::Image, format!("{file} has {found} bytes, expected {expected}")));
            }
        }
        Ok(Image { metadata, folder })
    }

    /// All images; what is wrong with one is told with it.
    ///
    /// # Errors
    /// `Medium` when the folder cannot be listed, or the links cannot be read.
    pub fn list(&self) -> Result<List> {
        let (active, previous) = (self.active()?, self.previous()?);
        let mut names = match fs::read_dir(&self.folder) {
            Ok(entries) => folders(entries).context(Kind::Medium, || self.doing("listing"))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::caused(Kind::Medium, self.doing("listing"), error)),
        };
        // What nodes are to start and is not there must be seen above all.
        let missing = [&active, &previous].into_iter().flatten().map(|id| id.as_str().to_owned());
        let missing: Vec<_> = missing.filter(|name| !names.contains(name)).collect();
        names.extend(missing);
        names.sort_unstable();
        names.dedup();
        let images = names.into_iter().map(|uuid| {
            let is = |id: &Option<ImageId>| id.as_ref().is_some_and(|id| id.as_str() == uuid);
            let status = match (is(&active), is(&previous)) {
                (true, _) => Status::Active,
                (false, true) => Status::Previous,
                (false, false) => Status::Inactive,
            };
            let read = uuid.parse::<ImageId>().map_err(|words| Error::new(Kind::Image, words));
            let (label, bytes, problem) = match read.and_then(|id| self.image(&id)) {
                Ok(image) => {
                    let sizes = image.metadata.modules.values().filter_map(|module| module.raw_size);
                    (image.metadata.label, Some(sizes.fold(0, u64::saturating_add)), None)
                }
                Err(error) => (String::new(), None, Some(problem(&error))),
            };
            Listed { uuid, label, status, bytes, problem }
        });
        Ok(List { images: images.collect() })
    }

    /// Removes an image. One that is broken may be removed as well.
    ///
    /// # Errors
    /// `Usage` when there is none of this name; `Refused` for the active one, and, unless `is_forced`, for the one that a
    /// roll-back would make active.
    pub fn delete(&self, name: &str, is_forced: bool) -> Result<()> {
        let _changing = self.change()?;
        let is_named = |id: Option<ImageId>| id.is_some_and(|id| id.as_str() == name);
        let refused = |words: &str| Error::new(Kind::Refused, format!("deleting the bootstrap image {name}: {words}"));
        if is_named(self.active()?) {
            return Err(refused("it is the active one").advise("activate another one first"));
        }
        let is_previous = is_named(self.previous()?);
        if is_previous && !is_forced {
            return Err(refused("a roll-back would need it").advise("--force removes it all the same"));
        }
        let folder = self.folder.join(name);
        let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if !is_name || !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            return Err(Error::new(Kind::Usage, format!("there is no bootstrap image {name:?}"))
                .advise("`bedplate-master bootstrap list` tells which there are"));
        }
        let deleting = || format!("deleting the bootstrap image {name}");
        if is_previous {
            self.point(&self.folder.join(PREVIOUS), None)?;
        }
        // Gone at once for all who look; whoever reads a file of it reads on.
        let removed = self.folder.join(format!("{REMOVED}{name}"));
        fs::rename(&folder, &removed).context(Kind::Medium, deleting)?;
        sync_folder(&folder)?;
        fs::remove_dir_all(&removed).context(Kind::Medium, deleting)?;
        info!("deleted the bootstrap image {name}");
        Ok(())
    }
}

/// Names of the folders that are not hidden.
fn folders(entries: fs::ReadDir) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Why an image cannot be used, without its name, which stands beside it.
fn problem(error: &Error) -> String {
    let chain = error.chain();
    match chain.as_slice() {
        [first, rest @ ..] if !rest.is_empty() && first.starts_with("checking the bootstrap image ") => rest.join(": "),
        _ if error.kind() == Kind::Usage => "its folder is not there".to_owned(),
        _ => error.to_string(),
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let name = METADATA;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::new(Kind::Image, format!("there is no {name}")));
        }
        Err(error) => return Err(Error::caused(Kind::Medium, format!("opening {name}"), error)),
    };
    let mut bytes = Vec::new();
    // One more than is taken, so that the excess shows.
    file.take(METADATA_LIMIT + 1).read_to_end(&mut bytes).context(Kind::Medium, || format!("reading {name}"))?;
    Ok(bytes)
}
