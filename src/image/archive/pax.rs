//! Records of extended headers: `LENGTH KEY=VALUE\n`. Pure. POSIX.1-2017, pax, "pax Extended Header".

use std::collections::BTreeMap;

/// What records say, the last of each key.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads all records of a header; repeated ones (the sparse map of GNU's form 0.0) are handed to `repeated` in order.
///
/// # Errors
/// What is wrong with them, in words.
pub(super) fn parse(mut bytes: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<(), String> {
    let fault = || "its extended header is corrupt".to_owned();
    // Some writers fill the rest of the block with zeros and count it in.
    while bytes.first().is_some_and(|&byte| byte != 0) {
        let digits = bytes.iter().position(|&byte| byte == b' ').ok_or_else(fault)?;
        let length: usize =
            std::str::from_utf8(&bytes[..digits]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(fault)?;
        let record = bytes.get(digits + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(fault)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(fault)?;
        each(&record[..equals], &record[equals + 1..]);
        bytes = &bytes[length..];
    }
    Ok(())
}

/// A decimal number.
pub(super) fn number(key: &str, value: &[u8]) -> Result<u64, String> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("its {key} is no number: {:?}", String::from_utf8_lossy(value)))
}

/// Seconds with a fraction, as seconds and nanoseconds after them; what is finer is cut.
pub(super) fn time(key: &str, value: &[u8]) -> Result<(i64, u32), String> {
    let read = || {
        let text = std::str::from_utf8(value).ok()?;
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let nanoseconds: u32 = digits.parse().ok()?;
        match (is_negative, nanoseconds) {
            (false, _) => Some((seconds, nanoseconds)),
            (true, 0) => Some((seconds.checked_neg()?, 0)),
            (true, _) => Some((seconds.checked_neg()?.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        }
    };
    read().ok_or_else(|| format!("its {key} is no time: {:?}", String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive::making::record;

    fn records(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut found = Vec::new();
        parse(bytes, |key, value| found.push((String::from_utf8_lossy(key).into_owned(), value.to_vec())))?;
        Ok(found)
    }

    #[test]
    fn values_may_hold_any_byte() {
        let value = b"a=b\n\0\xff";
        let bytes = [record("SCHILY.xattr.user.x", value), record("path", b"x")].concat();
        let expected = vec![("SCHILY.xattr.user.x".to_owned(), value.to_vec()), ("path".to_owned(), b"x".to_vec())];
        assert_eq!(records(&bytes), Ok(expected));
        assert_eq!(records(&[&bytes[..], &[0; 9]].concat()).unwrap().len(), 2);
    }

    #[test]
    fn records_that_do_not_add_up_are_corrupt() {
        for bytes in [&b"9 path=x"[..], b"x path=x\n", b"99999999999999999999999 a=b\n", b"3 a\n", b"0 a=b\n", b"9"] {
            assert_eq!(records(bytes), Err("its extended header is corrupt".to_owned()), "{bytes:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_lie_before_1970() {
        assert_eq!(time("mtime", b"12.5"), Ok((12, 500_000_000)));
        assert_eq!(time("mtime", b"12.1234567899"), Ok((12, 123_456_789)));
        assert_eq!(time("mtime", b"-1.25"), Ok((-2, 750_000_000)));
        assert_eq!(time("mtime", b"-3"), Ok((-3, 0)));
        assert_eq!(time("mtime", b"1.x"), Err("its mtime is no time: \"1.x\"".to_owned()));
        assert_eq!(number("size", b"+1"), Err("its size is no number: \"+1\"".to_owned()));
    }
}
