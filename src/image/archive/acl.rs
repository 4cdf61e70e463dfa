//! Access control lists: from the text in an archive to what the kernel takes. Pure. acl(5), linux/posix_acl_xattr.h.

/// Undefined id of the entries that have none.
const NOBODY: u32 = u32::MAX;
/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// Entries that one list may have; an ext4 inode with its block has room for far fewer.
const MOST: usize = 8192;

/// Whom an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    User,
    Group,
}

/// Makes the kernel's form; none for an empty list. Names that are no numbers are asked for.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn binary(text: &[u8], resolve: impl Fn(Owner, &str) -> Option<u32>) -> Result<Option<Vec<u8>>, String> {
    let fault = |what: &str| format!("its access control list is corrupt: {what}");
    let text = std::str::from_utf8(text).map_err(|_| fault("it is not UTF-8"))?;
    let mut entries = Vec::new();
    for line in text.split('\n') {
        // What follows is said of the effective rights.
        let line = line.split('#').next().unwrap_or_default();
        for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            entries.push(parse(entry, &resolve).ok_or_else(|| fault(&format!("{entry:?}")))?);
            if entries.len() > MOST {
                return Err(fault("it is too long"));
            }
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    // The kernel wants them in this order.
    entries.sort_by_key(|&(tag, _, id)| (tag, id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Ok(Some(bytes))
}

/// `user:lisa:rwx`, `user:lisa:rwx:1000` (star adds the number), `mask::r--`, and in short `u:1000:rw`.
fn parse(entry: &str, resolve: &impl Fn(Owner, &str) -> Option<u32>) -> Option<(u16, u16, u32)> {
    let mut fields = entry.split(':').map(str::trim);
    let (tag, name, permissions) = (fields.next()?, fields.next()?, fields.next()?);
    let number = fields.next().map(|number| number.parse().ok());
    let id = |owner| match number {
        Some(number) => number,
        None => name.parse().ok().or_else(|| resolve(owner, name)),
    };
    let (tag, id) = match (tag, name) {
        ("user" | "u", "") => (0x01, NOBODY),
        ("user" | "u", _) => (0x02, id(Owner::User)?),
        ("group" | "g", "") => (0x04, NOBODY),
        ("group" | "g", _) => (0x08, id(Owner::Group)?),
        ("mask" | "m", "") => (0x10, NOBODY),
        ("other" | "o", "") => (0x20, NOBODY),
        _ => return None,
    };
    let mut bits = 0;
    for letter in permissions.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some((tag, bits, id))
}

/// The number of a name in the text of a passwd or group file.
pub(super) fn number_in(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Option<Vec<u8>>, String> {
        binary(text.as_bytes(), |owner, name| (owner == Owner::User && name == "lisa").then_some(1000))
    }

    #[test]
    fn text_becomes_what_the_kernel_takes() {
        let expected = [
            &[2, 0, 0, 0][..],
            &[1, 0, 7, 0, 255, 255, 255, 255],
            &[2, 0, 6, 0, 0xe8, 3, 0, 0],
            &[4, 0, 5, 0, 255, 255, 255, 255],
            &[16, 0, 7, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        for text in [
            "user::rwx,user:1000:rw-,group::r-x,mask::rwx,other::---",
            "user::rwx\nuser:lisa:rw-\t#effective:rw-\ngroup::r-x\nmask::rwx\nother::---\n",
            "o::,m::rwx,g::rx,u::rwx,u:someone:rw:1000",
        ] {
            assert_eq!(list(text), Ok(Some(expected.clone())), "{text}");
        }
        assert_eq!(list(""), Ok(None));
    }

    #[test]
    fn lists_that_say_nothing_known_are_refused() {
        let fault = |entry: &str| Err(format!("its access control list is corrupt: {entry:?}"));
        for entry in ["user:nobody-knows:rwx", "user", "user::rwz", "mask:5:rwx", "user:x:rwx:y", "user:4294967296:r"] {
            assert_eq!(list(entry), fault(entry));
        }
    }

    #[test]
    fn numbers_of_names_stand_in_the_third_field() {
        let file = "root:x:0:0:root:/root:/bin/sh\nlisa:x:1000:1000::/:\nbroken\n";
        assert_eq!(number_in(file, "lisa"), Some(1000));
        assert_eq!(number_in(file, "broken"), None);
        assert_eq!(number_in(file, "x"), None);
    }
}
