//! An archive becomes an image of the store: unpacked beside the images, proved, and then there in one rename.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufReader, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use log::info;
use md5::Md5;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::{Data, Digest, each_file};
use crate::master::store::sync_folder;
use crate::master::token::{self, hex};
use crate::units::widen;

use super::metadata::{ImageId, METADATA, METADATA_LIMIT, Metadata, Module, Part, hex_of};
use super::store::Store;

/// Begins the name of a folder that is being filled.
const UNFINISHED: &str = ".import-";

/// Bytes that are unpacked at once.
const BUFFER: usize = 1 << 20;

/// Files of a bootstrap are far smaller: a whole server system in a squashfs has 2 GiB.
const LARGEST: u64 = 16 << 30;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Imported {
    /// The image's UUID.
    pub uuid: ImageId,
    /// Its name for people.
    pub label: String,
    /// What its metadata did not say and was computed, for example `modules.rootfs.raw_sha256`.
    pub computed: Vec<String>,
}

impl Imported {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let computed = match self.computed.as_slice() {
            [] => String::new(),
            computed => format!("Computed, since its metadata do not say it: {}\n", computed.join(", ")),
        };
        format!("{computed}Bootstrap image {} has been imported\n", self.uuid)
    }
}

/// What a file turned out to be.
struct Found {
    size: u64,
    md5: Digest,
    sha256: Digest,
}

impl Store {
    /// Imports an archive, as a build makes it or a person: `vmlinuz`, `initrd.img`, `metadata.yaml` and, where the initrd
    /// fetches one, `root.squashfs`, in the root of a tar.gz.
    ///
    /// # Errors
    /// `Usage` when there is no such file; `Image` when it is no such archive, or its files are not what its metadata say;
    /// `Refused` when there is an image of this UUID; `Medium` when it cannot be stored. Nothing is to be seen of it then.
    pub fn import(&self, archive: &Path) -> Result<Imported> {
        let importing = || format!("importing {}", archive.display());
        let found = fs::metadata(archive).context(Kind::Usage, importing)?;
        if found.is_dir() {
            return Err(Error::new(Kind::Usage, format!("{}: it is a folder, expected a tar.gz", importing())).advise(
                "an image that was built with --no-compress cannot be imported: pack it with `tar -czf X --directory FOLDER .`",
            ));
        }
        let file = File::open(archive).context(Kind::Usage, importing)?;
        self.import_stream(file).map_err(|error| error.within(importing()))
    }

    /// Imports an archive out of a stream.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn import_stream(&self, stream: impl Read) -> Result<Imported> {
        let work = {
            let _changing = self.change()?;
            self.sweep(UNFINISHED)?;
            Unfinished::create(self.folder())?
        };
        let (metadata, found) = unpack(stream, &work.path)?;
        let (metadata, computed) = complete(metadata, &found)?;
        // Written anew only where something was added.
        if !computed.is_empty() {
            let text = metadata.to_yaml()?;
            write_whole(&work.path.join(METADATA), text.as_bytes())?;
        }
        let Metadata { uuid, label, .. } = metadata;
        work.publish(self, &uuid)?;
        info!("imported the bootstrap image {uuid} ({label})");
        Ok(Imported { uuid, label, computed })
    }
}

/// A folder that is removed unless it becomes an image.
struct Unfinished {
    path: PathBuf,
    /// Held, so that nobody takes it for a leftover.
    folder: Flock<File>,
}

impl Unfinished {
    fn create(store: &Path) -> Result<Self> {
        let path = store.join(format!("{UNFINISHED}{}", token::fresh()?.reveal()));
        let creating = || format!("creating {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).context(Kind::Medium, creating)?;
        let folder = File::open(&path).context(Kind::Medium, creating)?;
        let folder = Flock::lock(folder, FlockArg::LockExclusiveNonblock);
        let folder = folder.map_err(|(_, errno)| Error::caused(Kind::Medium, creating(), errno))?;
        Ok(Self { path, folder })
    }

    fn publish(self, store: &Store, id: &ImageId) -> Result<()> {
        let _changing = store.change()?;
        let target = store.folder().join(id.as_str());
        let publishing = || format!("storing {}", target.display());
        // Nodes' servers run as nobody in particular.
        self.folder.set_permissions(Permissions::from_mode(0o755)).context(Kind::Medium, publishing)?;
        self.folder.sync_all().context(Kind::Medium, publishing)?;
        match renameat2(AT_FDCWD, &self.path, AT_FDCWD, &target, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => sync_folder(&target),
            Err(Errno::EEXIST) => Err(Error::new(Kind::Refused, format!("there is a bootstrap image {id} already"))
                .advise("`bedplate-master bootstrap delete` removes it")),
            Err(errno) => Err(Error::caused(Kind::Medium, publishing(), errno)),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing of this name any more; else the next import sweeps what is left.
        let _swept_later = fs::remove_dir_all(&self.path);
    }
}

/// Unpacks the files of an image.
fn unpack(stream: impl Read, folder: &Path) -> Result<(Metadata, BTreeMap<Part, Found>)> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut metadata = None;
    let mut found = BTreeMap::new();
    require_gzip(&mut stream)?;
    each_file(MultiGzDecoder::new(stream), |name, size, data| {
        let twice = || Error::new(Kind::Image, format!("{name} is in the archive twice"));
        if name == METADATA {
            if metadata.is_some() {
                return Err(twice());
            }
            metadata = Some(read_metadata(size, data, &folder.join(METADATA))?);
            return Ok(());
        }
        let Some(part) = Part::of_file(name) else {
            let expected = "vmlinuz, initrd.img, root.squashfs and metadata.yaml";
            return Err(Error::new(Kind::Image, format!("expected {expected} in the archive, found {name:?}")));
        };
        if found.contains_key(&part) {
            return Err(twice());
        }
        let written = unpack_file(size, data, &folder.join(name));
        found.insert(part, written.map_err(|error| error.within(format!("unpacking {name}")))?);
        Ok(())
    })?;
    let metadata = metadata.ok_or_else(|| Error::new(Kind::Image, format!("there is no {METADATA} in the archive")))?;
    Ok((metadata, found))
}

fn require_gzip(stream: &mut BufReader<impl Read>) -> Result<()> {
    use std::io::BufRead as _;
    let head = stream.fill_buf().context(Kind::Image, || "reading the archive")?;
    if head.is_empty() || head.starts_with(&[0x1f, 0x8b]) || head == [0x1f] {
        return Ok(());
    }
    Err(Error::new(Kind::Image, "expected a tar archive that is packed with gzip, found something else"))
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let file = options.open(path).context(Kind::Medium, || format!("creating {}", path.display()))?;
    file.set_permissions(Permissions::from_mode(0o644))
        .context(Kind::Medium, || format!("creating {}", path.display()))?;
    Ok(file)
}

fn unpack_file(size: u64, data: Data<'_>, path: &Path) -> Result<Found> {
    if size > LARGEST {
        return Err(Error::new(Kind::Image, format!("expected at most {LARGEST} bytes, found {size}")));
    }
    let writing = || format!("writing {}", path.display());
    let mut file = create(path)?;
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut buffer = vec![0; BUFFER];
    let mut written: u64 = 0;
    loop {
        let count = data(&mut buffer)?;
        if count == 0 {
            break;
        }
        let bytes = &buffer[..count];
        md5.update(bytes);
        sha256.update(bytes);
        file.write_all(bytes).context(Kind::Medium, writing)?;
        written = written.saturating_add(widen(count));
    }
    file.sync_all().context(Kind::Medium, writing)?;
    let digest = |text: String| text.parse().map_err(|words: String| Error::bug(words));
    let md5 = digest(format!("md5:{}", hex(&md5.finalize())))?;
    let sha256 = digest(format!("sha256:{}", hex(&sha256.finalize())))?;
    Ok(Found { size: written, md5, sha256 })
}

/// Reads metadata, and keeps them as they are.
fn read_metadata(size: u64, data: Data<'_>, path: &Path) -> Result<Metadata> {
    if size > METADATA_LIMIT {
        let message = format!("{METADATA}: expected at most {METADATA_LIMIT} bytes, found {size}");
        return Err(Error::new(Kind::Image, message));
    }
    let mut bytes = vec![0; usize::try_from(size).context(Kind::Bug, || "reading metadata")?];
    let count = data(&mut bytes)?;
    bytes.truncate(count);
    let metadata = Metadata::parse(&bytes)?;
    write_whole(path, &bytes)?;
    Ok(metadata)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    // Those of the archive are there when ours replace them; nobody sees either yet.
    if path.exists() {
        fs::remove_file(path).context(Kind::Medium, writing)?;
    }
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).context(Kind::Medium, writing)
}

/// Compares the files with the metadata, and fills in what those do not say.
fn complete(mut metadata: Metadata, found: &BTreeMap<Part, Found>) -> Result<(Metadata, Vec<String>)> {
    let mut computed = Vec::new();
    for part in Part::ALL {
        let said = metadata.modules.get(&part);
        let Some(found) = found.get(&part) else {
            if part == Part::Root && said.is_none() {
                continue;
            }
            return Err(Error::new(Kind::Image, format!("there is no {} in the archive", part.file())));
        };
        let mut module = said.cloned().unwrap_or_else(Module::default);
        let file = part.file();
        let differs = |what: &str, expected: &str, found: &str| {
            Error::new(Kind::Image, format!("{file}: its {what} is {found}, its metadata say {expected}"))
        };
        if let Some(size) = module.raw_size.filter(|size| *size != found.size) {
            return Err(differs("size", &size.to_string(), &found.size.to_string()));
        }
        for (said, found, what) in
            [(&module.raw_md5, &found.md5, "MD5"), (&module.raw_sha256, &found.sha256, "SHA-256")]
        {
            if let Some(said) = said.as_ref().filter(|said| *said != found) {
                return Err(differs(what, &hex_of(said), &hex_of(found)));
            }
        }
        let mut tell = |is_said: bool, key: &str| {
            if !is_said {
                computed.push(format!("modules.{}.{key}", part.key()));
            }
        };
        tell(module.raw_size.is_some(), "raw_size");
        tell(module.raw_md5.is_some(), "raw_md5");
        tell(module.raw_sha256.is_some(), "raw_sha256");
        module.raw_size = Some(found.size);
        module.raw_md5 = Some(found.md5.clone());
        module.raw_sha256 = Some(found.sha256.clone());
        metadata.modules.insert(part, module);
    }
    Ok((metadata, computed))
}
