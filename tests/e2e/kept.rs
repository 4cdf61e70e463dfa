//! Data that must outlive a reinstallation: written once in the bootstrap, compared ever after.

use sha2::{Digest as _, Sha256};

use crate::harness::disk::{Disk, hex};
use crate::harness::ssh::Ssh;

/// Numbers of the partitions as the document's order gives them, after GRUB's and the one for EFI.
const KEPT: u32 = 5;
const MIRROR: u32 = 3;
/// The bare partition beside the mirror's first half: number, place and size.
const BARE: u32 = 5;
const BARE_START: u64 = (1 + 24 + 1 + 200 + 1 + 64 + 1 + 320 + 1) << 20;
const BARE_BYTES: usize = 4 << 20;

/// Where the known files lie, each filled with numbers of its own.
const PLACES: [(&str, u64); 3] = [("partition", 100_000), ("mirror", 300_000), ("volume", 500_000)];
const LINES: u64 = 40_000;

/// The disks that hold something kept.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    pub system: &'a Disk,
    pub data: &'a Disk,
    /// The other half of the mirror.
    pub half: &'a Disk,
}

/// By what array and group are recognised.
#[derive(Debug, PartialEq, Eq)]
pub struct Identities {
    array: String,
    group: String,
}

/// The link of a partition.
pub fn part(disk: &Disk, number: u32) -> String {
    format!("/dev/{}-part{number}", disk.by_id())
}

impl Kept<'_> {
    /// Starts and mounts everything, as nobody but the test does it.
    #[track_caller]
    pub fn open(self, root: &Ssh) {
        let (half, other) = (part(self.data, MIRROR), part(self.half, MIRROR));
        root.ask(&format!(
            "set -e; mdadm --assemble /dev/md0 {half} {other}; lvm vgchange --activate y vm; udevadm settle; cd /run; \
             mkdir -p partition mirror volume; mount -t ext4 {} partition; mount -t ext4 /dev/md0 mirror; \
             mount -t xfs /dev/mapper/vm-nova volume",
            part(self.system, KEPT)
        ));
    }

    /// Ends every use. A new member of the mirror is filled first; mdadm's answer says only whether there was one.
    #[track_caller]
    pub fn close(self, root: &Ssh) {
        root.ask(
            "set -e; cd /run; mdadm --wait /dev/md0 || :; umount partition mirror volume; \
             lvm vgchange --activate n vm; mdadm --stop /dev/md0; udevadm settle; sync",
        );
    }

    /// Writes the known data; everything is open.
    #[track_caller]
    pub fn fill(self, root: &Ssh) {
        let bare = part(self.data, BARE);
        let fill = |(place, first)| format!("seq {first} {} > /run/{place}/known; ", first + LINES);
        root.ask(&PLACES.map(fill).concat());
        root.ask(&format!("seq 1000000 9000000 | head -c {BARE_BYTES} | dd of={bare} bs=1M iflag=fullblock; sync"));
    }

    /// Compares the known files; everything is open.
    #[track_caller]
    pub fn check_files(self, root: &Ssh) {
        check_known(root, &PLACES);
    }

    /// Compares the bare partition, byte for byte; its machine stands still.
    #[track_caller]
    pub fn check_bare(self) {
        let is_known = self.data.bytes(BARE_START, BARE_BYTES) == bare();
        assert!(is_known, "the bare partition on {} has changed", self.data.serial());
    }

    /// By what array and group are recognised; everything is open.
    #[track_caller]
    pub fn identities(self, root: &Ssh) -> Identities {
        Identities {
            array: root.ask("mdadm --detail --export /dev/md0 | sed -n 's/^MD_UUID=//p'"),
            group: root.ask("lvm vgs --noheadings --options vg_uuid vm"),
        }
    }

    /// Reads the mirror's file from one half alone.
    #[track_caller]
    pub fn check_half(self, root: &Ssh, disk: &Disk) {
        root.ask(&format!(
            "set -e; mdadm --assemble --run --readonly /dev/md0 {}; udevadm settle; mount -t ext4 -o ro,noload /dev/md0 /run/mirror",
            part(disk, MIRROR)
        ));
        check_known(root, &PLACES[1..2]);
        root.ask("set -e; umount /run/mirror; mdadm --stop /dev/md0; udevadm settle");
    }
}

/// UUIDs of the file systems that are not kept, on an installed system that holds none of its predecessor's files.
#[track_caller]
pub fn system(root: &Ssh) -> [String; 2] {
    root.ask(
        "set -e; lvm vgchange --activate y os; udevadm settle; mkdir -p /run/root; \
         mount -t ext4 /dev/mapper/os-root /run/root; test -e /run/root/etc/fstab; test ! -e /run/root/old; \
         touch /run/root/old; umount /run/root",
    );
    let uuid = |name: &str| root.ask(&format!("blkid --probe --match-tag UUID --output value /dev/mapper/os-{name}"));
    let uuids = [uuid("root"), uuid("swap")];
    root.ask("lvm vgchange --activate n os; sync");
    uuids
}

#[track_caller]
fn check_known(root: &Ssh, places: &[(&str, u64)]) {
    let files: Vec<_> = places.iter().map(|(place, _)| format!("/run/{place}/known")).collect();
    let found = root.ask(&format!("sha256sum {}", files.join(" ")));
    let text = |first: u64| (first..=first + LINES).map(|number| format!("{number}\n")).collect::<String>();
    let digests = places.iter().map(|(_, first)| hex(&Sha256::digest(text(*first))));
    let expected: Vec<_> = digests.zip(&files).map(|(digest, file)| format!("{digest}  {file}")).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "digests of what is kept");
}

fn bare() -> Vec<u8> {
    let mut bytes: Vec<u8> = (1_000_000..=9_000_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    bytes.truncate(BARE_BYTES);
    bytes
}
