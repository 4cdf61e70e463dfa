//! The config drive as ISO 9660 with Rock Ridge, made in memory: names arrive as they are, files are for root alone.
//!
//! ECMA-119; RRIP 1.09, whose entries (SP, ER, PX, NM) every Linux reads. By hand, since no kept crate writes it and the
//! bootstrap has no tool for it: what is needed are a volume descriptor, two path tables and some directory records.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::error::{Error, Kind, Result};
use crate::request::iso_date;
use crate::units::Bytes;

use super::ConfigDrive;

/// Bytes of a block.
const BLOCK: usize = 2048;
/// The first block behind the system area.
const FIRST: usize = 16;
/// Where the little endian path table lies; the big endian one follows, then the folders.
const PATH_TABLE: usize = FIRST + 2;
/// Root alone reads: the files hold password hashes and keys.
const FILE_MODE: u32 = 0o10_0600;
const FOLDER_MODE: u32 = 0o4_0700;

/// A folder and what is in it, each child with its block and size.
struct Folder {
    parent: usize,
    name: String,
    /// The files by their ISO names.
    files: BTreeMap<String, File>,
    /// Indices of the folders in it, by their ISO names.
    folders: BTreeMap<String, usize>,
}

struct File {
    name: String,
    block: usize,
    size: usize,
}

/// Makes an ISO 9660 file system with the files of the config drive. Smaller than `room`: what is behind it is not touched.
///
/// `made` becomes the time of every file, `volume_id` the identity of the volume.
///
/// # Errors
/// `Request` when the files do not fit into `room`.
pub fn iso_image(
    drive: &ConfigDrive,
    room: Bytes,
    label: &str,
    volume_id: u32,
    made: OffsetDateTime,
) -> Result<Vec<u8>> {
    let mut folders = tree(drive)?;
    let first_file = PATH_TABLE + 2 + folders.len();
    let mut next = first_file;
    for (at, path) in placed(&folders) {
        let content = &drive.files[&path];
        if let Some(file) = folders[at].files.values_mut().find(|file| path.rsplit('/').next() == Some(&file.name)) {
            file.block = next;
        }
        next += content.len().div_ceil(BLOCK);
    }
    let size = Bytes::new(crate::units::widen(next * BLOCK));
    if size > room {
        let what = format!("making the config drive in {} as iso9660: it needs {}", room.exact(), size.exact());
        return Err(Error::new(Kind::Request, what));
    }
    let mut image = vec![0; next * BLOCK];
    put(&mut image, FIRST, &volume_descriptor(&folders, label, next, volume_id, made)?);
    put(&mut image, FIRST + 1, b"\xffCD001\x01");
    put(&mut image, PATH_TABLE, &path_table(&folders, u16::to_le_bytes, u32::to_le_bytes)?);
    put(&mut image, PATH_TABLE + 1, &path_table(&folders, u16::to_be_bytes, u32::to_be_bytes)?);
    for at in 0..folders.len() {
        let records = records(&folders, at, made)?;
        if records.len() > BLOCK {
            return Err(Error::bug(format!("a folder of the config drive needs {} bytes", records.len())));
        }
        put(&mut image, block_of(at), &records);
    }
    for folder in &folders {
        for file in folder.files.values() {
            let path =
                if folder.name.is_empty() { file.name.clone() } else { format!("{}/{}", folder.name, file.name) };
            put(&mut image, file.block, &drive.files[&path]);
        }
    }
    Ok(image)
}

/// All folders, the root first and parents before their children; `name` is the whole path.
fn tree(drive: &ConfigDrive) -> Result<Vec<Folder>> {
    let folder = |parent, name: String| Folder { parent, name, files: BTreeMap::new(), folders: BTreeMap::new() };
    let mut folders = vec![folder(0, String::new())];
    for (path, content) in &drive.files {
        let mut at = 0;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let file = File { name: part.to_owned(), block: 0, size: content.len() };
                if folders[at].files.insert(iso_name(part, true), file).is_some() {
                    return Err(Error::bug(format!("two files of the config drive have the ISO name of {path}")));
                }
                continue;
            }
            let name = iso_name(part, false);
            at = match folders[at].folders.get(&name) {
                Some(known) => *known,
                None => {
                    let whole = if at == 0 { part.to_owned() } else { format!("{}/{part}", folders[at].name) };
                    folders.push(folder(at, whole));
                    let new = folders.len() - 1;
                    folders[at].folders.insert(name, new);
                    new
                }
            };
        }
    }
    Ok(folders)
}

/// The files in the order of their blocks: their folder and their path.
fn placed(folders: &[Folder]) -> Vec<(usize, String)> {
    let paths = |folder: &Folder| -> Vec<String> {
        let join = |file: &File| {
            if folder.name.is_empty() { file.name.clone() } else { format!("{}/{}", folder.name, file.name) }
        };
        folder.files.values().map(join).collect()
    };
    folders.iter().enumerate().flat_map(|(at, folder)| paths(folder).into_iter().map(move |path| (at, path))).collect()
}

/// What a reader without Rock Ridge shows: capitals, digits and underscores.
fn iso_name(name: &str, is_file: bool) -> String {
    let capital = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
    let stem: String = stem.chars().map(capital).collect();
    let suffix: String = suffix.chars().map(capital).collect();
    if is_file { format!("{stem}.{suffix};1") } else { format!("{stem}{suffix}") }
}

fn block_of(folder: usize) -> usize {
    PATH_TABLE + 2 + folder
}

fn put(image: &mut [u8], block: usize, bytes: &[u8]) {
    let start = block * BLOCK;
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

fn number(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::bug(format!("{value} is too large for an ISO 9660 file system")))
}

/// A number in both byte orders.
fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both_short(value: u16) -> [u8; 4] {
    let [low, high] = value.to_le_bytes();
    [low, high, high, low]
}

fn volume_descriptor(
    folders: &[Folder],
    label: &str,
    blocks: usize,
    volume_id: u32,
    made: OffsetDateTime,
) -> Result<Vec<u8>> {
    let mut text = b"\x01CD001\x01\0".to_vec();
    text.extend([b' '; 32]);
    text.extend(format!("{label:<32}").bytes());
    text.extend([0; 8]);
    text.extend(both(number(blocks)?));
    text.extend([0; 32]);
    text.extend(both_short(1));
    text.extend(both_short(1));
    text.extend(both_short(2048));
    let table = path_table(folders, u16::to_le_bytes, u32::to_le_bytes)?;
    text.extend(both(number(table.len())?));
    text.extend(number(PATH_TABLE)?.to_le_bytes());
    text.extend([0; 4]);
    text.extend(number(PATH_TABLE + 1)?.to_be_bytes());
    text.extend([0; 4]);
    text.extend(record(block_of(0), BLOCK, made, true, b"\0", &[])?);
    text.extend([b' '; 128 * 4 + 37 * 3]);
    let date = iso_date(volume_id);
    for date in [date.as_str(), &date, "0000000000000000", "0000000000000000"] {
        text.extend(date.bytes());
        text.push(0);
    }
    text.push(1);
    Ok(text)
}

fn path_table(folders: &[Folder], short: fn(u16) -> [u8; 2], long: fn(u32) -> [u8; 4]) -> Result<Vec<u8>> {
    let mut table = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let own = folder.name.rsplit('/').next().unwrap_or_default();
        let name = if at == 0 { "\0".to_owned() } else { iso_name(own, false) };
        table.push(byte(name.len())?);
        table.push(0);
        table.extend(long(number(block_of(at))?));
        let parent =
            u16::try_from(folder.parent + 1).map_err(|_| Error::bug("too many folders on the config drive"))?;
        table.extend(short(parent));
        table.extend(name.bytes());
        if name.len() % 2 == 1 {
            table.push(0);
        }
    }
    Ok(table)
}

/// The records of a folder: itself, its parent, and its children by their ISO names.
fn records(folders: &[Folder], at: usize, made: OffsetDateTime) -> Result<Vec<u8>> {
    let folder = &folders[at];
    let mut own = attributes(FOLDER_MODE, 2);
    if at == 0 {
        // Where Rock Ridge begins, and that it is this.
        own.splice(0..0, *b"SP\x07\x01\xbe\xef\0");
        own.extend(b"ER\x12\x01\x0a\0\0\x01RRIP_1991A");
    }
    let mut records = record(block_of(at), BLOCK, made, true, b"\0", &own)?;
    records.extend(record(block_of(folder.parent), BLOCK, made, true, b"\x01", &attributes(FOLDER_MODE, 2))?);
    let files = folder.files.iter().map(|(name, file)| (name, file.block, file.size, false, file.name.as_str()));
    let below = folder.folders.iter().map(|(name, &child)| {
        let own = folders[child].name.rsplit('/').next().unwrap_or_default();
        (name, block_of(child), BLOCK, true, own)
    });
    let mut children: Vec<_> = files.chain(below).collect();
    children.sort_by_key(|child| child.0);
    for (name, block, size, is_folder, real) in children {
        let mut uses = if is_folder { attributes(FOLDER_MODE, 2) } else { attributes(FILE_MODE, 1) };
        uses.extend(b"NM");
        uses.extend([byte(real.len() + 5)?, 1, 0]);
        uses.extend(real.bytes());
        records.extend(record(block, size, made, is_folder, name.as_bytes(), &uses)?);
    }
    Ok(records)
}

/// PX: mode, links, and root as owner and group.
fn attributes(mode: u32, links: u32) -> Vec<u8> {
    let mut entry = b"PX\x24\x01".to_vec();
    for value in [mode, links, 0, 0] {
        entry.extend(both(value));
    }
    entry
}

fn record(
    block: usize,
    size: usize,
    made: OffsetDateTime,
    is_folder: bool,
    name: &[u8],
    uses: &[u8],
) -> Result<Vec<u8>> {
    let mut record = vec![0, 0];
    record.extend(both(number(block)?));
    record.extend(both(number(size)?));
    let year = u8::try_from(made.year() - 1900).unwrap_or(0);
    record.extend([year, u8::from(made.month()), made.day(), made.hour(), made.minute(), made.second(), 0]);
    record.extend([if is_folder { 2 } else { 0 }, 0, 0]);
    record.extend(both_short(1));
    record.push(byte(name.len())?);
    record.extend(name);
    if name.len().is_multiple_of(2) {
        record.push(0);
    }
    record.extend(uses);
    if record.len() % 2 == 1 {
        record.push(0);
    }
    record[0] = byte(record.len())?;
    Ok(record)
}

fn byte(value: usize) -> Result<u8> {
    u8::try_from(value).map_err(|_| Error::bug(format!("{value} is too long for a record of ISO 9660")))
}
