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

/// The name of an LVM group or volume, as far as its characters go (lvm(8), VALID NAMES).
pub fn is_lvm_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 127
        && !text.starts_with('-')
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-'))
}

/// Starts of names that LVM keeps for itself (lvm2, `_lvname_has_reserved_prefix`).
const RESERVED_PREFIXES: [&str; 2] = ["pvmove", "snapshot"];

/// Parts of names that LVM gives to the hidden volumes of which others are made (lvm(8), VALID NAMES).
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_imeta", "_mimage", "_mlog", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];

/// What every Linux has in /dev, where a volume group gets a folder of its name.
const IN_DEV: [&str; 43] = [
    "block",
    "bsg",
    "btrfs-control",
    "bus",
    "char",
    "console",
    "core",
    "cpu",
    "cpu_dma_latency",
    "disk",
    "dma_heap",
    "dri",
    "fb0",
    "fd",
    "full",
    "fuse",
    "hpet",
    "hugepages",
    "initctl",
    "input",
    "kmsg",
    "kvm",
    "log",
    "loop-control",
    "mapper",
    "md",
    "mem",
    "mqueue",
    "net",
    "null",
    "nvram",
    "port",
    "ptmx",
    "pts",
    "random",
    "shm",
    "snd",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
];

/// Whether LVM would not make a volume group of this name.
pub fn is_reserved_for_groups(text: &str) -> bool {
    IN_DEV.contains(&text)
}

/// Whether LVM would not make a logical volume of this name.
pub fn is_reserved_for_volumes(text: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        || RESERVED_PARTS.iter().any(|part| text.contains(part))
}

/// An absolute path in its shortest spelling and without blanks, which fstab would need escaped. PATH_MAX is 4096.
pub fn is_mount_point(text: &str) -> bool {
    let is_shortest = text == "/"
        || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    is_shortest && text.len() <= 1024 && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// The place of one of the kernel's own file systems that would hide what is mounted on this path before it.
pub fn hidden_at_boot(path: &str) -> Option<&'static str> {
    let hides = |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/proc", "/sys", "/dev", "/run"].into_iter().find(|place| hides(place))
}

/// A device name relative to `/dev`: `sda`, `cciss/c0d0`, `disk/by-id/ata-X`.
pub fn is_device_name(text: &str) -> bool {
    text.len() <= 255
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A login name that useradd takes.
pub fn is_login_name(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// A network interface's name: at most 15 bytes, no `/`, no blanks (the kernel's `dev_valid_name`).
pub fn is_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '"' | '\\'))
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
    fn names_that_lvm_keeps_for_itself_are_known() {
        for name in ["snapshot", "snapshot1", "pvmove0", "root_mlog", "data_rimage_0", "pool_tmeta", "a_vorigin"] {
            assert!(is_reserved_for_volumes(name), "{name}");
        }
        assert!(is_reserved_for_groups("mapper") && is_reserved_for_groups("disk") && !is_reserved_for_groups("os"));
        assert!(!is_reserved_for_volumes("mapper"), "a volume has no folder of its own in /dev");
        assert!(!is_reserved_for_groups("snapshot"), "reserved for volumes alone");
    }

    #[test]
    fn what_the_kernel_mounts_hides_what_lies_below() {
        assert_eq!(hidden_at_boot("/run"), Some("/run"));
        assert_eq!(hidden_at_boot("/dev/data"), Some("/dev"));
        assert_eq!(hidden_at_boot("/devel"), None);
        assert_eq!(hidden_at_boot("/srv/run"), None);
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
