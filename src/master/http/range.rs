//! Which part of a file a request asks for (RFC 9110, sections 13 and 14). Pure.

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// 200: all of it.
    Whole,
    /// 206: these bytes, first and last included.
    Bytes { first: u64, last: u64 },
    /// 416: nothing of it.
    Nothing,
}

/// Reads a `Range` header against a file of `length` bytes.
///
/// Several ranges, another unit and a malformed header are answered with the whole file, as the RFC allows.
pub(super) fn part(range: Option<&str>, length: u64) -> Part {
    let Some((unit, set)) = range.and_then(|range| range.split_once('=')) else { return Part::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Part::Whole;
    }
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than any file has bytes: beyond its end.
        true => Some(text.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    let Some(end) = length.checked_sub(1) else { return if first.is_empty() { Part::Whole } else { Part::Nothing } };
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Part::Whole,
        (true, false) => match number(last) {
            Some(0) => Part::Nothing,
            Some(count) => Part::Bytes { first: length.saturating_sub(count), last: end },
            None => Part::Whole,
        },
        (false, is_open) => match (number(first), if is_open { Some(end) } else { number(last) }) {
            (Some(first), _) if first > end => Part::Nothing,
            (Some(first), Some(last)) if last < first => Part::Whole,
            (Some(first), Some(last)) => Part::Bytes { first, last: last.min(end) },
            _ => Part::Whole,
        },
    }
}

/// Whether `If-None-Match` names the tag; the weak comparison is the right one for it.
pub(super) fn names_tag(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (header, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=90-", bytes(90, 99)),
            ("bytes=90-1000", bytes(90, 99)),
            ("bytes=-10", bytes(90, 99)),
            ("bytes=-1000", bytes(0, 99)),
            ("BYTES= 5-6", bytes(5, 6)),
            ("bytes=100-", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=6-5", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=-", Part::Whole),
        ] {
            assert_eq!(part(Some(header), 100), expected, "{header}");
        }
        assert_eq!(part(None, 100), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Nothing);
    }

    #[test]
    fn tags_are_compared_weakly() {
        assert!(names_tag("\"a\", W/\"b\"", "\"b\""));
        assert!(names_tag("*", "\"b\""));
        assert!(!names_tag("\"a\"", "\"b\""));
    }
}
