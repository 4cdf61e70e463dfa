//! Names of entries. Pure.

/// Cleans the name of an entry: relative to the target, without empty parts and `.`. Nothing is left of the target's own name.
///
/// # Errors
/// In words: it climbs with `..`, or holds a zero byte, which no path can.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, String> {
    let mut clean = Vec::with_capacity(name.len());
    if name.contains(&0) {
        return Err("its name holds a zero byte".to_owned());
    }
    for part in name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err("its name climbs with \"..\"".to_owned());
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    Ok(clean)
}

/// The folder that a cleaned name lies in, and its last part.
pub(super) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (&[], name),
    }
}

/// A name for messages: quoted, what is not text escaped, cut where it is endless.
pub(super) fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = if name.len() > MOST { "..." } else { "" };
    format!("\"{}{cut}\"", name[..name.len().min(MOST)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_relative_and_never_climb() {
        assert_eq!(clean(b"./usr//bin/./sh"), Ok(b"usr/bin/sh".to_vec()));
        assert_eq!(clean(b"/etc/passwd"), Ok(b"etc/passwd".to_vec()));
        assert_eq!(clean(b"./"), Ok(Vec::new()));
        assert_eq!(clean(b"a/../b"), Err("its name climbs with \"..\"".to_owned()));
        assert_eq!(clean(b"a\0b"), Err("its name holds a zero byte".to_owned()));
        assert_eq!(clean(b"...a"), Ok(b"...a".to_vec()));
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        assert_eq!(shown(b"a\xff\n"), "\"a\\xff\\n\"");
    }

    proptest! {
        #[test]
        fn clean_names_are_plain_whatever_comes(name in "[./a\\x00]{0,12}") {
            let Ok(clean) = clean(name.as_bytes()) else { return Ok(()) };
            prop_assert!(clean.is_empty() || clean.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
            prop_assert_eq!(super::clean(&clean), Ok(clean.clone()));
        }
    }
}
