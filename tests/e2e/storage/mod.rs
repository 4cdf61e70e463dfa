//! Storage on real block devices: layouts over leftovers, faults, interruptions. One machine runs all scenarios; each
//! leaves the disks in a described state, runs the agent, and compares what is there with what is required by other
//! tools than the agent's own.
//!
//! | module | holds |
//! |---|---|
//! | [`rig`] | the machine, and what a scenario asks it to do |
//! | [`layouts`] | layouts as data |
//! | [`required`], [`seen`] | what must be there, what is there, in the same words |
//! | [`dirt`] | what a machine may have been left with, as data |
//! | [`signals`], [`faults`] | runs that are ended, disks that fail |
//! | [`record`] | what came of each scenario |
//! | [`cuts`], [`power`] | every state in which a power cut could have left a disk |

mod cuts;
mod dirt;
mod faults;
mod layouts;
mod power;
mod record;
mod required;
mod rig;
mod seen;
mod signals;

use crate::harness::scenario;
use layouts::{LAYOUTS, Layout};
use rig::Rig;
use signals::Walk;

/// Layouts of the short run; the others stand in the long one.
const OFTEN: &[&str] = &["fixture-10", "fixture-01", "mirrors"];

/// What proves most in a second.
#[test]
#[ignore = "long: make e2e-long"]
fn storage() {
    scenario::run("storage", |scenario| {
        let rig = Rig::start(scenario);
        for layout in LAYOUTS.iter().filter(|layout| OFTEN.contains(&layout.name)) {
            over_the_one_before(&rig, layout);
        }
        signals::two_at_once(&rig);
        power::cuts(&rig, &power::PLAIN);
        rig.finish();
    });
}

/// Everything: `make e2e-long`.
#[test]
#[ignore = "long: make e2e-long"]
fn long_storage() {
    scenario::run("long_storage", |scenario| {
        let rig = Rig::start(scenario);
        for layout in LAYOUTS {
            over_the_one_before(&rig, layout);
        }
        dirt::all(&rig);
        whole(&rig);
        for system in power::ALL {
            power::cuts(&rig, system);
        }
        faults::bad_places(&rig);
        faults::vanishes(&rig);
        faults::exchanged(&rig);
        faults::twins(&rig);
        faults::many(&rig, &[1, 10, 40]);
        signals::two_at_once(&rig);
        for (command, signal) in
            [("partition", "TERM"), ("partition", "KILL"), ("provision", "TERM"), ("provision", "KILL")]
        {
            let signals = if signal == "TERM" { &["TERM"] } else { &["KILL"] };
            signals::walk(&rig, Walk { name: &format!("{command} by SIG{signal}"), command, signals, stride: 1 });
        }
        each_over_each_other(&rig);
        rig.finish();
    });
}

/// Images on volumes over two disks, an array beside them; fstab names what is there.
fn whole(rig: &Rig<'_>) {
    rig.scenario("whole installation", |rig| {
        let spaces = layouts::written(
            "v0: fs /boot 32 ext2, pv os 128, raid /srv 64 ext4 srv
             s0: pv os 128, raid /srv 64 ext4 srv
             vg os: root / 96 ext4 root, pages swap 32 swap, var /var 64 ext4",
            rig.slots(),
        );
        rig.provisions(&spaces);
        let look = "mdadm --assemble --scan >/dev/null 2>&1; lvm vgchange --activate y os >/dev/null; udevadm settle; \
             mkdir -p /run/root; mount -t ext4 -o ro /dev/mapper/os-root /run/root; \
             findmnt --verify --tab-file /run/root/etc/fstab >/run/fstab.log 2>&1 || cat /run/fstab.log; \
             while read -r what place kind rest; do \
                 case $what in UUID=*) what=$(blkid --uuid ${what#UUID=});; esac; \
                 echo \"$place $kind $(blkid --probe --match-tag TYPE --output value $what)\"; \
             done </run/root/etc/fstab; umount /run/root";
        let seen = rig.root().ask(look);
        let mut lines: Vec<_> = seen.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["/ ext4 ext4", "/boot ext2 ext2", "/srv ext4 ext4", "/var ext4 ext4", "swap swap swap"]);
    });
}

fn over_the_one_before(rig: &Rig<'_>, layout: &Layout) {
    rig.scenario(&format!("layout {}", layout.name), |rig| rig.partitions(&layout.spaces(rig.slots())));
}

/// Walks over the layouts so that each comes once over each other one: an Eulerian circuit of all ordered pairs.
fn each_over_each_other(rig: &Rig<'_>) {
    let count = LAYOUTS.len();
    let mut before = 0;
    for after in pairs(count).into_iter().skip(1) {
        let (old, new) = (&LAYOUTS[before], &LAYOUTS[after]);
        rig.scenario(&format!("{} over {}", new.name, old.name), |rig| rig.partitions(&new.spaces(rig.slots())));
        before = after;
    }
}

/// Numbers below `count` in an order in which each stands once behind each other one (Hierholzer's algorithm).
fn pairs(count: usize) -> Vec<usize> {
    let mut next: Vec<Vec<usize>> = (0..count).map(|from| (0..count).filter(|to| *to != from).collect()).collect();
    let (mut path, mut circuit) = (vec![0], Vec::new());
    while let Some(&last) = path.last() {
        match next[last].pop() {
            Some(to) => path.push(to),
            None => circuit.extend(path.pop()),
        }
    }
    circuit.reverse();
    circuit
}

#[test]
fn each_pair_of_layouts_is_walked_once() {
    let walk = pairs(5);
    let mut seen: Vec<_> = walk.windows(2).map(|pair| (pair[0], pair[1])).collect();
    seen.sort_unstable();
    let all: Vec<_> = (0..5).flat_map(|from| (0..5).filter(move |to| *to != from).map(move |to| (from, to))).collect();
    assert_eq!((seen, walk[0]), (all, 0));
}
