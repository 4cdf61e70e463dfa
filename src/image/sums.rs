//! Lists of checksums as they lie beside images: `SHA256SUMS` and its like.
//!
//! Lines of coreutils (`HEX  name`, `HEX *name`, names with escapes) and of BSD (`SHA256 (name) = HEX`) are read. Others
//! are passed over, as `sha256sum --check` does: comments, and the armour of a PGP signature around it all.

use super::digest::{Algorithm, Digest, contradiction};

/// The digests that the list has for the file of this name, whatever folder it is listed in.
///
/// # Errors
/// What is wrong: no line is a checksum, none is of this file, or two contradict each other.
pub fn digests(list: &[u8], name: &str) -> Result<Vec<Digest>, String> {
    let text = std::str::from_utf8(list).map_err(|_| "it is not UTF-8, and no list of checksums".to_owned())?;
    let mut found: Vec<Digest> = Vec::new();
    let mut count: u64 = 0;
    for (digest, listed) in text.lines().filter_map(entry) {
        count = count.saturating_add(1);
        if base_name(&listed) == name && !found.contains(&digest) {
            found.push(digest);
        }
    }
    if count == 0 {
        return Err("it has no line with a checksum of md5, sha1, sha256 or sha512".to_owned());
    }
    if found.is_empty() {
        return Err(format!("none of its {count} checksums is of {name}"));
    }
    match contradiction(&found) {
        Some((one, other)) => Err(format!("it has two checksums of {name}: {one} and {other}")),
        None => Ok(found),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Digest and file name of a line.
fn entry(line: &str) -> Option<(Digest, String)> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    // coreutils marks a line whose name has escapes by one in front of it.
    let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |rest| (rest, true));
    let (digest, name) = tagged(line).or_else(|| untagged(line))?;
    if name.is_empty() {
        return None;
    }
    Some((digest, if is_escaped { unescaped(name)? } else { name.to_owned() }))
}

/// `SHA256 (name) = HEX`
fn tagged(line: &str) -> Option<(Digest, &str)> {
    let (front, hex) = line.rsplit_once(" = ").or_else(|| line.rsplit_once("= "))?;
    let (tag, name) = front.split_once(" (").or_else(|| front.split_once('('))?;
    let digest = format!("{}:{}", tag.trim(), hex.trim()).parse().ok()?;
    Some((digest, name.trim_end().strip_suffix(')')?))
}

/// `HEX  name` of text mode, `HEX *name` of binary mode.
fn untagged(line: &str) -> Option<(Digest, &str)> {
    let (hex, rest) = line.split_once(' ')?;
    let name = rest.strip_prefix([' ', '*']).unwrap_or(rest);
    let algorithm = Algorithm::of_digits(hex.len())?;
    Some((Digest::of_hex(algorithm, hex)?, name))
}

/// Undoes coreutils' escapes: a backslash, a newline and a carriage return.
fn unescaped(name: &str) -> Option<String> {
    let mut plain = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
    const SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn of(list: &str, name: &str) -> Result<Vec<String>, String> {
        digests(list.as_bytes(), name).map(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_of_coreutils_and_bsd_are_read() {
        let sha256 = format!("sha256:{SHA256}");
        for line in [
            format!("{SHA256}  a.img"),
            format!("{SHA256} *a.img"),
            format!("{SHA256}  ./sub/a.img\r"),
            format!("{}  a.img", SHA256.to_uppercase()),
            format!("SHA256 (a.img) = {SHA256}"),
            format!("SHA256(a.img)= {SHA256}"),
        ] {
            assert_eq!(of(&line, "a.img"), Ok(vec![sha256.clone()]), "{line}");
        }
        let list = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.img: 3 bytes\nSHA384 (a.img) = 00\n{MD5}  b.img\n\
             {MD5}  a.img\n{SHA1}  a.img\nSHA256 (a.img) = {SHA256}\n{SHA256}  a.img\n"
        );
        assert_eq!(of(&list, "a.img"), Ok(vec![format!("md5:{MD5}"), format!("sha1:{SHA1}"), sha256]));
    }

    #[test]
    fn escaped_names_are_those_of_their_files() {
        // What `sha256sum` of coreutils 9.1 prints for such names.
        let list = format!("\\{SHA256}  new\\nline\n\\{MD5} *back\\\\slash\n{SHA1}  lite\\nral\n");
        assert_eq!(of(&list, "new\nline"), Ok(vec![format!("sha256:{SHA256}")]));
        assert_eq!(of(&list, "back\\slash"), Ok(vec![format!("md5:{MD5}")]));
        assert_eq!(of(&list, "lite\\nral"), Ok(vec![format!("sha1:{SHA1}")]));
        let tagged = format!("\\SHA256 (a (1) = b\\n.img) = {SHA256}");
        assert_eq!(of(&tagged, "a (1) = b\n.img"), Ok(vec![format!("sha256:{SHA256}")]));
    }

    #[test]
    fn what_does_not_help_is_told_apart() {
        let list = format!("{SHA256}  a.img\n{MD5}  aa.img\n");
        assert_eq!(of(&list, "b.img"), Err("none of its 2 checksums is of b.img".to_owned()));
        let none = Err("it has no line with a checksum of md5, sha1, sha256 or sha512".to_owned());
        for list in ["", "<html>404</html>", "abc  a.img", &SHA256[1..], SHA256, &format!("{SHA256}  ")] {
            assert_eq!(of(list, "a.img"), none, "{list}");
        }
        let other = SHA256.replace('a', "b");
        assert_eq!(
            of(&format!("{SHA256}  x/a.img\n{other}  y/a.img\n"), "a.img"),
            Err(format!("it has two checksums of a.img: sha256:{SHA256} and sha256:{other}"))
        );
        assert_eq!(digests(b"\xff\xfe", "a.img"), Err("it is not UTF-8, and no list of checksums".to_owned()));
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(list in proptest::collection::vec(any::<u8>(), 0..300), text in "[\\\\ (=)*a-f0-9\n]{0,300}") {
            let _ = digests(&list, "a");
            let _ = digests(text.as_bytes(), "a");
        }
    }
}
