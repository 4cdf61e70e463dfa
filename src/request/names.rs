//! What may stand where a name goes: names end up in argument vectors, file names and configuration files.

/// A host name or fully qualified domain name: letters, digits, `-`, `_` and `.`, at most 253 characters (RFC 1123).
pub fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
}

/// The name of an LVM group or volume (lvm(8), VALID NAMES).
pub fn is_lvm_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 127
        && !text.starts_with('-')
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-'))
}

/// An absolute path in its shortest spelling and without blanks, which fstab would need escaped.
pub fn is_mount_point(text: &str) -> bool {
    let is_shortest = text == "/"
        || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    is_shortest && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A device name relative to `/dev`: `sda`, `cciss/c0d0`, `disk/by-id/ata-X`.
pub fn is_device_name(text: &str) -> bool {
    !text.is_empty()
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A login name that useradd takes.
pub fn is_login_name(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// The MAC address in lower case with colons, if it is one.
pub fn mac_address(text: &str) -> Option<String> {
    let parts: Vec<_> = text.trim().split([':', '-']).collect();
    let is_mac =
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()));
    is_mac.then(|| parts.join(":").to_ascii_lowercase())
}

/// The GUID in lower case with hyphens, if it is one.
pub fn guid(text: &str) -> Option<String> {
    uuid::Uuid::try_parse(text).ok().map(|guid| guid.hyphenated().to_string())
}

/// A URI for people: without user name, password and query, which may be secrets.
pub fn shown_uri(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => uri.to_owned(),
    }
}

/// The text without the literal double quotes that Cobbler's habits put around it.
pub fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"').trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_absolute_and_cannot_leave_the_target() {
        assert!(is_mount_point("/") && is_mount_point("/var/lib/nova"));
        for refused in ["", "var", "/var/", "//var", "/var/../etc", "/a b", "/a\n", "swap"] {
            assert!(!is_mount_point(refused), "{refused:?}");
        }
    }

    #[test]
    fn names_that_a_tool_would_take_for_an_option_are_refused() {
        assert!(!is_lvm_name("-f") && !is_host_name("-h") && !is_login_name("-r"));
        assert!(is_lvm_name("os") && is_host_name("node-1.example.test") && is_login_name("fueladmin"));
    }

    #[test]
    fn shown_uris_have_no_credentials() {
        assert_eq!(shown_uri("http://user:pass@m:8080/t/a.img.gz?token=x"), "http://m:8080/t/a.img.gz");
        assert_eq!(shown_uri("file:///srv/a.img"), "file:///srv/a.img");
    }

    #[test]
    fn mac_addresses_are_compared_in_one_spelling() {
        assert_eq!(mac_address("52-54-00-AB-00-01").as_deref(), Some("52:54:00:ab:00:01"));
        assert_eq!(mac_address("52:54:00:ab:00"), None);
    }
}
