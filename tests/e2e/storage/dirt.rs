//! What a machine may have been left with before the agent comes.

use super::layouts;
use super::rig::{REFUSED, Rig};

/// What is done to the disks, and what is to become of it.
struct Dirt {
    name: &'static str,
    /// Finds the devices of the slots in `$v0` and so on.
    script: &'static str,
    outcome: Outcome,
    /// Undoes what the agent must not undo.
    after: &'static str,
}

enum Outcome {
    /// The layout stands.
    Ready,
    /// The agent refuses with this code and these words, and writes nothing.
    Refused(i32, &'static [&'static str]),
}

/// The layout that comes over it: an array and a group where something else was.
const LAYOUT: &str = "leftovers-go";

const ALL: &[Dirt] = &[
    Dirt {
        name: "raid5 over whole disks, running",
        script: "mdadm --create /dev/md7 --run --level=5 --raid-devices=3 --assume-clean $s0 $s1 $a0 2>&1",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "raid6, raid10 and raid0 with metadata 1.0, 0.90 and 1.1, stopped or degraded",
        script: "for disk in $v0 $s0 $s1 $a0; do
                wipefs --all --quiet $disk
                echo 'label: gpt
                    size=256M
                    size=256M
                    size=256M' | sfdisk --quiet --wipe always $disk; done; udevadm settle
            mdadm --create /dev/md20 --run --level=6 --metadata=1.0 --raid-devices=4 --assume-clean ${v0}1 ${s0}1 ${s1}1 ${a0}1 2>&1
            mdadm --create /dev/md21 --run --level=10 --metadata=0.90 --raid-devices=4 --assume-clean ${v0}2 ${s0}2 ${s1}2 ${a0}2 2>&1
            mdadm --create /dev/md22 --run --level=0 --metadata=1.1 --raid-devices=4 ${v0}3 ${s0}3 ${s1}3 ${a0}3 2>&1
            mdadm --manage /dev/md20 --fail ${a0}1; mdadm --stop /dev/md22",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "volumes on an array on partitions, active",
        script: "mdadm --create /dev/md8 --run --level=1 --raid-devices=2 --assume-clean $s0 $s1 2>&1
            lvm pvcreate --yes /dev/md8; lvm vgcreate stacked /dev/md8; lvm lvcreate --yes --name one --size 64M stacked
            mkfs.ext4 -q /dev/stacked/one",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "group that misses a disk",
        script: "lvm pvcreate --yes --force --force $a0 $a1; lvm vgcreate halved $a0 $a1; lvm lvcreate --yes --name two --size 64M --stripes 2 halved
            lvm vgchange --activate n halved; wipefs --all --quiet $a1",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "btrfs over two disks, table of DOS, boot sector without code",
        script: "mkfs.btrfs --quiet --force $s0 $s1; echo 'label: dos
                size=64M, type=83, bootable
                size=64M, type=5
                size=32M' | sfdisk --quiet --wipe always $v1",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "superblocks of former file systems where partitions will begin and end",
        script: "modprobe loop; for disk in $v0 $s0; do
                wipefs --all --quiet $disk
                for mib in 26 227 292 600; do losetup --offset ${mib}M --sizelimit 60M /dev/loop0 $disk
                    mkfs.xfs -f -q /dev/loop0 >/dev/null 2>&1 || mkfs.ext4 -q -F /dev/loop0; losetup --detach /dev/loop0; done; done",
        outcome: Outcome::Ready,
        after: "",
    },
    Dirt {
        name: "mounted partition",
        script: "wipefs --all --quiet $s1; mkfs.ext4 -q -F $s1; mkdir -p /run/used; mount -t ext4 $s1 /run/used; touch /run/used/file",
        outcome: Outcome::Refused(REFUSED, &["is mounted on /run/used"]),
        after: "test -e /run/used/file; umount /run/used",
    },
    Dirt {
        name: "active swap on a volume",
        script: "wipefs --all --quiet $s1; lvm pvcreate --yes $s1; lvm vgcreate pages $s1; lvm lvcreate --yes --name swap --size 64M pages
            mkswap --quiet /dev/pages/swap; swapon /dev/pages/swap",
        outcome: Outcome::Refused(REFUSED, &["swap"]),
        after: "swapoff /dev/pages/swap; lvm vgchange --activate n pages",
    },
    Dirt {
        name: "device mapper's linear device",
        script: "lvm vgremove --yes pages >/dev/null 2>&1 || :; wipefs --all --quiet --force $s1; echo 0 4096 linear $s1 2048 | dmsetup create foreign",
        outcome: Outcome::Refused(REFUSED, &["foreign"]),
        after: "dmsetup remove foreign",
    },
];

/// All of them.
pub fn all(rig: &Rig<'_>) {
    ALL.iter().for_each(|dirt| over(rig, dirt));
}

fn over(rig: &Rig<'_>, dirt: &Dirt) {
    let spaces = layouts::find(LAYOUT).spaces(rig.slots());
    rig.scenario(&format!("leftover: {}", dirt.name), |rig| {
        rig.shell(dirt.script);
        match dirt.outcome {
            Outcome::Ready => rig.partitions(&spaces),
            Outcome::Refused(code, culprits) => {
                let slots: Vec<String> = rig.named(&spaces).into_iter().collect();
                let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
                rig.refuses("partition", &spaces, code, culprits, &slots);
            }
        }
        if !dirt.after.is_empty() {
            rig.shell(dirt.after);
        }
    });
}
