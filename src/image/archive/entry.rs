//! What an entry of an archive is, put together from its header and the extensions before it. Pure.

use std::collections::BTreeSet;

use super::header::{Header, Part};
use super::name;
use super::pax::{self, Records};
use super::sparse::{self, Map};

/// Bytes that an access control list may have: a file system keeps fewer, and those of folders are kept to the end.
const LONGEST_LIST: usize = 16 << 10;

/// Memory that all extensions of one entry may take: one of them may nearly fill it.
const MOST: usize = 4 << 20;

/// What a record takes beside its bytes: two vectors, their allocations, and its part of the map.
const RECORD: usize = 128;

/// An entry, ready to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the target, without `.` and `..`; empty for the target itself.
    pub(super) name: Vec<u8>,
    pub(super) what: What,
    pub(super) attributes: Attributes,
    /// Bytes of data that follow in the archive.
    pub(super) data: u64,
}

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    File(Layout),
    /// Another name for what lies under this one, cleaned.
    HardLink(Vec<u8>),
    /// The words of a symbolic link, as they are.
    Symlink(Vec<u8>),
    Directory,
    CharacterDevice(u64, u64),
    BlockDevice(u64, u64),
    Fifo,
}

/// Where the data of a file go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// One after the other.
    Plain,
    /// To these parts.
    Sparse(Map),
    /// To the parts of a map that stands before the data (form 1.0); the file's size.
    Leading(u64),
}

/// An extended attribute: its name, its value.
pub(super) type Named = (Vec<u8>, Vec<u8>);

/// Everything about an entry but its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Seconds since 1970, and nanoseconds after them.
    pub(super) mtime: (i64, u32),
    /// Extended attributes, by name.
    pub(super) extended: Vec<Named>,
    /// Access control lists as text.
    pub(super) access_list: Vec<u8>,
    pub(super) default_list: Vec<u8>,
}

/// What the extensions before an entry say.
#[derive(Debug, Default, Clone)]
pub(super) struct Extensions {
    /// GNU's long name and long link.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Records,
    /// Offsets and lengths of GNU's form 0.0, in turn.
    numbers: Vec<u64>,
    /// Memory that records and numbers take, about.
    size: usize,
}

impl Extensions {
    /// Adds the records of an extended header.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut added = Ok(());
        pax::parse(bytes, |key, value| {
            if added.is_ok() {
                added = self.add_record(key, value);
            }
        })?;
        added
    }

    fn add_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
            self.numbers.push(pax::number("sparse map", value)?);
            self.size = self.size.saturating_add(size_of::<u64>());
        } else {
            let new = RECORD.saturating_add(key.len()).saturating_add(value.len());
            let old = self.records.insert(key.to_vec(), value.to_vec());
            // The last of a key counts.
            let old = old.map_or(0, |old| RECORD.saturating_add(key.len()).saturating_add(old.len()));
            self.size = self.size.saturating_add(new).saturating_sub(old);
        }
        self.check_size()
    }

    /// Takes GNU's long name for the next entry.
    pub(super) fn set_name(&mut self, name: Vec<u8>) -> Result<(), String> {
        self.long_name = Some(name);
        self.check_size()
    }

    /// Takes GNU's long link for the next entry.
    pub(super) fn set_link(&mut self, link: Vec<u8>) -> Result<(), String> {
        self.long_link = Some(link);
        self.check_size()
    }

    /// Any number of extensions may stand before an entry, and those for all entries are kept to the end.
    fn check_size(&self) -> Result<(), String> {
        let names = [&self.long_name, &self.long_link].into_iter().flatten().map(Vec::len).sum();
        if self.size.saturating_add(names) > MOST {
            return Err(format!("its extensions take more than {MOST} bytes of memory"));
        }
        Ok(())
    }

    /// A record that says something: an empty one says that the header's own value does not count either.
    fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        self.get(key).map(|value| pax::number(key, value)).transpose()
    }

    /// The name as the archive has it, for messages and for the entry.
    pub(super) fn name<'a>(&'a self, header: &'a Header) -> &'a [u8] {
        self.get("GNU.sparse.name").or_else(|| self.get("path")).or(self.long_name.as_deref()).unwrap_or(&header.name)
    }

    /// Bytes of data that follow the header.
    pub(super) fn data(&self, header: &Header) -> Result<u64, String> {
        // Links have none, whatever is said of what they lead to.
        if matches!(header.kind, b'1' | b'2') {
            return Ok(0);
        }
        Ok(self.number("size")?.unwrap_or(header.size))
    }
}

/// Puts an entry together; none for what is nothing to be made (a label).
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn of(header: &Header, extensions: &Extensions, parts: Vec<Part>) -> Result<Option<Entry>, String> {
    let raw = extensions.name(header);
    let link = || extensions.get("linkpath").or(extensions.long_link.as_deref()).unwrap_or(&header.link);
    let data = extensions.data(header)?;
    let what = match header.kind {
        // Before there was a kind for them, folders were told by their name.
        b'0' | 0 if raw.ends_with(b"/") => What::Directory,
        b'0' | 0 | b'7' => What::File(layout(extensions, data)?),
        b'S' => {
            let size = header.sparse.as_ref().map_or(0, |sparse| sparse.real_size);
            What::File(Layout::Sparse(Map::new(parts, size, data)?))
        }
        b'1' => {
            What::HardLink(name::clean(link()).map_err(|_| format!("its target is outside: {}", name::shown(link())))?)
        }
        b'2' if link().is_empty() || link().contains(&0) => return Err("the link says nothing".to_owned()),
        b'2' => What::Symlink(link().to_vec()),
        b'3' => What::CharacterDevice(header.major, header.minor),
        b'4' => What::BlockDevice(header.major, header.minor),
        // D is GNU's folder with a list of its content, from incremental backups.
        b'5' | b'D' => What::Directory,
        b'6' => What::Fifo,
        b'V' => return Ok(None),
        b'M' => return Err("it goes on from another archive".to_owned()),
        other => return Err(format!("its kind {:?} is not known", char::from(other))),
    };
    let name = name::clean(raw)?;
    if name.is_empty() && what != What::Directory {
        return Err("it has no name".to_owned());
    }
    Ok(Some(Entry { name, what, attributes: attributes(header, extensions)?, data }))
}

/// Where the data of a regular file go, by the records of GNU's three forms of sparse files.
fn layout(extensions: &Extensions, data: u64) -> Result<Layout, String> {
    if extensions.number("GNU.sparse.major")? == Some(1) {
        let size = extensions.number("GNU.sparse.realsize")?.ok_or("its sparse map is corrupt: it has no size")?;
        return Ok(Layout::Leading(size));
    }
    let Some(size) = extensions.number("GNU.sparse.size")? else { return Ok(Layout::Plain) };
    let parts = match extensions.records.get(&b"GNU.sparse.map"[..]) {
        Some(map) => sparse::listed(map)?,
        None => sparse::parts(&extensions.numbers)?,
    };
    Map::new(parts, size, data).map(Layout::Sparse)
}

fn attributes(header: &Header, extensions: &Extensions) -> Result<Attributes, String> {
    let id = |key: &str, value: u64| {
        let id = extensions.number(key)?.unwrap_or(value);
        // The last one stands for "leave it as it is" in chown(2).
        u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(|| format!("its {key} {id} is none"))
    };
    let text = |key: &str| match extensions.get(key).unwrap_or_default() {
        list if list.len() > LONGEST_LIST => Err(format!("its access control list has {} bytes", list.len())),
        list => Ok(list.to_vec()),
    };
    let mtime = match extensions.get("mtime") {
        Some(value) => pax::time("mtime", value)?,
        None => (header.mtime, 0),
    };
    Ok(Attributes {
        uid: id("uid", header.uid)?,
        gid: id("gid", header.gid)?,
        mode: header.mode,
        mtime,
        extended: extended(&extensions.records)?,
        access_list: text("SCHILY.acl.access")?,
        default_list: text("SCHILY.acl.default")?,
    })
}

/// Extended attributes in star's records, which GNU tar and bsdtar write too, and the label of SELinux in Red Hat's.
fn extended(records: &Records) -> Result<Vec<Named>, String> {
    const LABEL: &[u8] = b"security.selinux";
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (key, value) in records {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(format!("its attribute {} has no valid name", name::shown(name)));
        }
        seen.insert(name);
        found.push((name.to_vec(), value.clone()));
    }
    if let Some(label) = records.get(&b"RHT.security.selinux"[..]).filter(|_| !seen.contains(LABEL)) {
        // libselinux writes the zero byte behind the label, too.
        let value = [label.as_slice(), if label.ends_with(b"\0") { b"" } else { b"\0" }].concat();
        found.push((LABEL.to_vec(), value));
    }
    Ok(found)
}
