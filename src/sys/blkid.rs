//! What libblkid finds on a device, read from the device itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::command::{Call, Tool};
use crate::error::Result;

/// blkid's "nothing was found" and "several things were found" (blkid(8)): what is there has no name then.
const UNNAMED: [i32; 2] = [2, 8];

/// What libblkid finds, by its own names: `TYPE`, `UUID`, `LABEL`. None of them when it knows nothing of what is there, or
/// several things that contradict each other.
///
/// `place` is the device, and before it options that say where on it to look.
///
/// # Errors
/// `Tool` when blkid fails.
pub fn probe<A: AsRef<OsStr>>(place: impl IntoIterator<Item = A>) -> Result<BTreeMap<String, String>> {
    // Of all formats this one alone loses nothing: `export` writes ä as `M-CM-$`, which may be a label as well, and
    // `value` has no names.
    let options = ["--probe", "--output", "udev"].map(|option| OsStr::new(option).to_owned());
    let place = place.into_iter().map(|word| word.as_ref().to_owned());
    Ok(parse(&Call::new(Tool::Blkid, options.into_iter().chain(place)).allow(&UNNAMED).run()?.stdout))
}

/// Reads `ID_FS_KEY=value` lines. A value that may hold anything stands once more as `ID_FS_KEY_ENC`, whole.
fn parse(output: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in output.lines() {
        let Some((key, value)) = line.strip_prefix("ID_FS_").and_then(|property| property.split_once('=')) else {
            continue;
        };
        match key.strip_suffix("_ENC") {
            Some(key) => found.insert(key.to_owned(), decode(value)),
            // The plain value has `_` for blanks; it stands before the whole one, or is all there is.
            None => found.insert(key.to_owned(), value.to_owned()),
        };
    }
    found
}

/// Undoes libblkid's `blkid_encode_string`: bytes outside of ASCII letters, digits, `#+-.:=@_/` and valid UTF-8 are
/// written as `\xHH`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// What is found in a file once `fill` has made something of it.
    fn probed(name: &str, fill: impl Fn(&Path)) -> BTreeMap<String, String> {
        let path = std::env::temp_dir().join(format!("bedplate-blkid-{name}-{}", std::process::id()));
        std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
        fill(&path);
        let found = probe([&path]);
        std::fs::remove_file(&path).unwrap();
        found.unwrap()
    }

    fn made(name: &str, mkfs: &str, options: &[&str]) -> BTreeMap<String, String> {
        probed(name, |path| {
            let output = Command::new(Path::new("/usr/sbin").join(mkfs)).args(options).arg(path).output().unwrap();
            assert!(output.status.success(), "{mkfs} {options:?}");
        })
    }

    #[test]
    fn label_with_blanks_and_letters_beyond_ascii_is_read_as_it_was_written() {
        for label in ["my data", "größe $1", "日本 x", r"a\x41 \ b", "\"'`<a=b>", "M-CM-$", "a_b"] {
            let found = made("label", "mkfs.ext4", &["-F", "-q", "-L", label]);
            assert_eq!((found["TYPE"].as_str(), found["LABEL"].as_str()), ("ext4", label));
        }
    }

    #[test]
    fn identity_and_kind_are_read() {
        let uuid = "11111111-2222-4333-8444-555555555555";
        let found = made("uuid", "mkswap", &["-f", "-U", uuid]);
        assert_eq!((found["TYPE"].as_str(), found["UUID"].as_str(), found.get("LABEL")), ("swap", uuid, None));
        assert_eq!(made("vfat", "mkfs.vfat", &["-i", "1234ABCD"])["UUID"], "1234-ABCD");
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert_eq!(probed("none", |_| ()), BTreeMap::new());
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decode(r"a\x20b\x5cx\xc3\xa4\xZZ\x4"), r"a b\xä\xZZ\x4");
        assert_eq!(decode("ä"), "ä");
    }
}
