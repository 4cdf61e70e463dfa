//! Which kernel the installed system starts, and with which command line.

use std::cmp::Ordering;

/// What kernels and initial RAM disks of a distribution are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelNames {
    /// How a kernel's name begins, up to its version.
    pub kernel: &'static str,
    /// How the version begins that is wanted.
    pub version: &'static str,
}

impl KernelNames {
    /// Any kernel.
    pub const ANY: Self = Self { kernel: "vmlinuz-", version: "" };
    /// The kernel of CentOS 6, beside which another one may be installed (`^vmlinuz-2\.6.*` upstream).
    pub const CENTOS_6: Self = Self { kernel: "vmlinuz-", version: "2.6" };

    /// The names that upstream's expression in a layout (`kernel_regexp`) means.
    #[must_use]
    pub fn of_upstream(kernel_regexp: Option<&str>) -> Self {
        match kernel_regexp {
            Some(r"^vmlinuz-2\.6.*") => Self::CENTOS_6,
            _ => Self::ANY,
        }
    }
}

/// A kernel with what belongs to it; file names without folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelChoice {
    /// The kernel: `vmlinuz-6.1.0-18-amd64`.
    pub kernel: String,
    /// Its initial RAM disk, where there is one.
    pub initrd: Option<String>,
    /// Its version: `6.1.0-18-amd64`.
    pub version: String,
}

/// What distributions call the initial RAM disk of a version, before and after the version.
const INITRDS: [(&str, &str); 5] =
    [("initrd.img-", ""), ("initramfs-", ".img"), ("initrd-", ""), ("initrd-", ".img"), ("initramfs-", "")];

/// What is left behind by packages and administrators and is not meant to be started.
const NOT_KERNELS: [&str; 6] = [".old", ".bak", ".dpkg-new", ".dpkg-bak", ".rpmsave", ".efi.signed"];

/// Chooses the newest kernel among the `names` in a /boot folder, with its own initial RAM disk.
///
/// A kernel that has one comes before a newer kernel that has none: without it a root on LVM or md is not found. Rescue
/// kernels come last. Nothing is returned where there is no kernel of these names.
#[must_use]
pub fn choose_kernel(names: &[String], wanted: KernelNames) -> Option<KernelChoice> {
    let initrd_of = |version: &str| {
        INITRDS.iter().map(|(before, after)| format!("{before}{version}{after}")).find(|name| names.contains(name))
    };
    names
        .iter()
        .filter(|name| !NOT_KERNELS.iter().any(|ending| name.ends_with(ending)))
        .filter_map(|name| name.strip_prefix(wanted.kernel).map(|version| (name, version)))
        .filter(|(_, version)| !version.is_empty() && version.starts_with(wanted.version))
        .map(|(name, version)| KernelChoice {
            kernel: name.clone(),
            initrd: initrd_of(version),
            version: version.to_owned(),
        })
        .max_by(|one, other| {
            let is_usual = |choice: &KernelChoice| !choice.version.contains("rescue");
            is_usual(one)
                .cmp(&is_usual(other))
                .then(one.initrd.is_some().cmp(&other.initrd.is_some()))
                .then_with(|| compare_versions(&one.version, &other.version))
        })
}

/// Compares as GRUB and the packagers do: runs of digits as numbers, `~` before everything, release candidates before
/// their release.
fn compare_versions(one: &str, other: &str) -> Ordering {
    let (one, other) = (candidates_first(one), candidates_first(other));
    let (mut one, mut other) = (one.as_str(), other.as_str());
    while !one.is_empty() || !other.is_empty() {
        let (words, rest) = split_at(one, |c| c.is_ascii_digit());
        let (other_words, other_rest) = split_at(other, |c| c.is_ascii_digit());
        let order = compare_words(words, other_words);
        let (number, rest) = split_at(rest, |c| !c.is_ascii_digit());
        let (other_number, other_rest) = split_at(other_rest, |c| !c.is_ascii_digit());
        let order = order.then_with(|| compare_numbers(number, other_number));
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

/// `6.1-rc3` is older than `6.1`: GRUB's own list of such words (grub-mkconfig_lib, version_test_gt).
fn candidates_first(version: &str) -> String {
    let mut text = version.to_owned();
    for word in ["pre", "rc", "test", "git", "old", "trunk"] {
        for separator in [".", "-", "_"] {
            text = text.replace(&format!("{separator}{word}"), &format!("~{word}"));
        }
    }
    text
}

fn split_at(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn compare_words(one: &str, other: &str) -> Ordering {
    let rank = |c: Option<char>| match c {
        Some('~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => 2 + u32::from(c),
        Some(c) => 1000 + u32::from(c),
    };
    let (mut one, mut other) = (one.chars(), other.chars());
    loop {
        let (a, b) = (one.next(), other.next());
        let order = rank(a).cmp(&rank(b));
        if order != Ordering::Equal || a.is_none() {
            return order;
        }
    }
}

/// Numbers of any length, which version strings made of dates may have.
fn compare_numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// The device that the kernel mounts as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootDevice {
    /// By file system UUID: partitions and md arrays, whose names change.
    Uuid(String),
    /// By path: logical volumes. Ubuntu 16.04's initrd does not activate them for a UUID.
    Path(String),
}

/// The kernel's command line: the root device, then the request's parameters, blanks squeezed.
#[must_use]
pub fn kernel_line(root: &RootDevice, params: &str) -> String {
    let root = match root {
        RootDevice::Uuid(uuid) => format!("root=UUID={uuid}"),
        RootDevice::Path(path) => format!("root={path}"),
    };
    let words = [root, "ro".to_owned()].into_iter().chain(super::grub::words(params).map(str::to_owned));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], wanted: KernelNames) -> Option<(String, Option<String>)> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        choose_kernel(&names, wanted).map(|choice| (choice.kernel, choice.initrd))
    }

    fn pair(kernel: &str, initrd: &str) -> Option<(String, Option<String>)> {
        Some((kernel.to_owned(), Some(initrd.to_owned())))
    }

    #[test]
    fn newest_kernel_is_by_version_not_by_name() {
        let names = ["vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64", "vmlinuz-6.1.0-18-amd64"];
        let names =
            [&names[..], &["initrd.img-6.1.0-18-amd64", "vmlinuz-5.10.0-28-amd64", "config-6.1.0-18-amd64"]].concat();
        assert_eq!(chosen(&names, KernelNames::ANY), pair("vmlinuz-6.1.0-18-amd64", "initrd.img-6.1.0-18-amd64"));
    }

    #[test]
    fn initrd_is_the_one_of_the_same_version() {
        let names = [
            "vmlinuz-3.10.0-1160.el7.x86_64",
            "initramfs-3.10.0-1160.el7.x86_64.img",
            "initramfs-3.10.0-1160.el7.x86_64kdump.img",
            "vmlinuz-0-rescue-0123",
            "initramfs-0-rescue-0123.img",
        ];
        let expected = pair("vmlinuz-3.10.0-1160.el7.x86_64", "initramfs-3.10.0-1160.el7.x86_64.img");
        assert_eq!(chosen(&names, KernelNames::ANY), expected);
    }

    #[test]
    fn kernel_without_initrd_is_only_taken_when_none_has_one() {
        let names = ["vmlinuz-6.2", "vmlinuz-6.1", "initrd.img-6.1"];
        assert_eq!(chosen(&names, KernelNames::ANY), pair("vmlinuz-6.1", "initrd.img-6.1"));
        assert_eq!(chosen(&names[..1], KernelNames::ANY), Some(("vmlinuz-6.2".into(), None)));
    }

    #[test]
    fn leftovers_links_and_foreign_files_are_no_kernels() {
        let names = ["vmlinuz", "vmlinuz.old", "vmlinuz-6.1.bak", "vmlinuz-6.1.efi.signed", "System.map-6.1"];
        assert_eq!(chosen(&names, KernelNames::ANY), None);
    }

    #[test]
    fn centos_6_takes_its_own_kernel_beside_a_newer_one() {
        let names =
            ["vmlinuz-2.6.32-431.el6", "initramfs-2.6.32-431.el6.img", "vmlinuz-3.10.5", "initramfs-3.10.5.img"];
        let expected = pair("vmlinuz-2.6.32-431.el6", "initramfs-2.6.32-431.el6.img");
        assert_eq!(chosen(&names, KernelNames::CENTOS_6), expected);
        assert_eq!(chosen(&names, KernelNames::ANY), pair("vmlinuz-3.10.5", "initramfs-3.10.5.img"));
    }

    #[test]
    fn upstreams_expressions_are_understood() {
        assert_eq!(KernelNames::of_upstream(Some("^vmlinuz-2\\.6.*")), KernelNames::CENTOS_6);
        assert_eq!(KernelNames::of_upstream(None), KernelNames::ANY);
    }

    #[test]
    fn versions_are_ordered_as_packagers_do() {
        let ascending =
            ["2.6.32", "4.4.0-21-generic", "4.4.0-116-generic", "6.1-rc9", "6.1", "6.1.1", "6.10~pre", "6.10"];
        for pair in ascending.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare_versions("6.01", "6.1"), Ordering::Equal);
    }

    #[test]
    fn kernel_line_names_root_first_and_squeezes_blanks() {
        let root = RootDevice::Path("/dev/mapper/os-root".into());
        assert_eq!(
            kernel_line(&root, "  console=tty0\n net.ifnames=1 "),
            "root=/dev/mapper/os-root ro console=tty0 net.ifnames=1"
        );
        assert_eq!(kernel_line(&RootDevice::Uuid("a-b".into()), ""), "root=UUID=a-b ro");
    }
}
