//! Runs that are ended at each of their steps, and two runs at once.

use serde_json::Value;

use super::cuts::{self, Start};
use super::layouts;
use super::required;
use super::rig::Rig;
use crate::harness::process::Output;

/// Exit code after SIGTERM, and what a shell says of a process that SIGKILL ended.
const TERMINATED: i32 = 143;
const KILLED: i32 = 137;

/// Steps of every family on two disks.
const SPACES: &str = "v0: fs /boot 32 ext2, fs / 64 ext4, raid /srv 64 ext4 srv, pv vm 64
     s0: raid /srv 64 ext4 srv, pv vm 64
     vg vm: nova /nova 100 ext4";

/// Runs the agent, and sends it a signal when step `$K` begins, which is told through a pipe: the agent waits until the
/// event is read.
const RUN: &str = r#"
cd /run; rm -f events; mkfifo events
bedplate $COMMAND --seed $SEED --events /run/events /tmp/provision.json >words 2>&1 & agent=$!
n=0; at=
while read -r line; do
    case $line in *'"kind":"step_started"'*)
        n=$((n + 1))
        if [ $n = $K ]; then at=${line#*\"step\":\"}; at=${at%%\"*}; eval "$ACT"; fi;;
    esac
done <events
wait $agent; code=$?
echo "$at"; cat words; exit $code"#;

/// Counts mounts of the target, arrays and mapped devices.
const OPEN: &str = "grep -c /run/bedplate/target /proc/mounts; grep -sc ' active ' /proc/mdstat || [ -e /proc/mdstat ] || echo 0; \
     dmsetup ls 2>/dev/null | grep -vc '^No devices' || :";

/// What is open now: mounts of the target, arrays, mapped devices.
#[track_caller]
pub fn open(rig: &Rig<'_>) -> Vec<u32> {
    let words = rig.root().run(OPEN, 20).stdout;
    words.split_whitespace().map(|count| count.parse().expect("grep counts")).collect()
}

/// How a walk over the steps goes.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    pub name: &'a str,
    pub command: &'a str,
    pub signals: &'a [&'a str],
    /// Every so many steps; 1: each.
    pub stride: u32,
}

/// Ends a run at each step; the next run comes over what that left, and the last one is let through.
pub fn walk(rig: &Rig<'_>, walk: Walk<'_>) {
    rig.scenario(&format!("ended at each step: {}", walk.name), |rig| {
        let spaces = layouts::written(SPACES, rig.slots());
        let is_whole = walk.command == "provision";
        rig.upload(&if is_whole { rig.whole_document(&spaces) } else { rig.document(&spaces) });
        let mut step = 1;
        let mut places = Vec::new();
        loop {
            let signal = walk.signals[places.len() % walk.signals.len()];
            let before = open(rig);
            let output = ended_at(rig, walk.command, step, &format!("kill -{signal} $agent"));
            let place = output.stdout.lines().next().unwrap_or("").to_owned();
            if place.is_empty() {
                assert_eq!(output.code, 0, "exit code of a run that nobody ended: {}", super::rig::last_words(&output));
                break;
            }
            rig.fault(1);
            let context = format!("{signal} at step {step} ({place})");
            let expected = if signal == "TERM" { TERMINATED } else { KILLED };
            assert_eq!(output.code, expected, "exit code after {context}: {}", super::rig::last_words(&output));
            if signal == "TERM" {
                // What a killed run left open is not this one's to close, unless it took it over.
                let left = open(rig);
                let is_closed = left.iter().zip(&before).all(|(after, before)| after <= before);
                assert!(is_closed, "mounts, arrays, volumes after {context}: {left:?}, before {before:?}");
            }
            starts_nowhere(rig, &spaces, &context);
            places.push(place);
            step += walk.stride;
        }
        rig.is_as_required(&spaces, is_whole);
        rig.fact("ended at", places);
    });
}

/// Runs the agent and does something when a step begins.
#[track_caller]
pub fn ended_at(rig: &Rig<'_>, command: &str, step: u32, act: &str) -> Output {
    let began = std::time::Instant::now();
    let seed = rig.seed();
    let script = format!("COMMAND='{command}' SEED={seed} K={step} ACT='{act}'\n{RUN}");
    let output = rig.root().run(&script, 300);
    rig.ran(began.elapsed().as_secs_f64());
    output
}

/// No disk of the request starts anything, and none hangs a BIOS.
#[track_caller]
fn starts_nowhere(rig: &Rig<'_>, spaces: &Value, context: &str) {
    rig.root().ask("sync");
    let named = rig.named(spaces);
    let starts: Vec<(String, Start)> = rig.vm().while_stopped(|| {
        let start = |slot: &String| cuts::start_of(&cuts::first_sector(rig.slots()[slot.as_str()].path()));
        named.iter().map(|slot| (slot.clone(), start(slot))).collect()
    });
    for (slot, start) in starts {
        assert!(matches!(start, Start::Nothing | Start::HandsBack), "{slot} after {context}: {start:?}");
    }
}

/// The second of two agents is refused, and the first one goes on.
pub fn two_at_once(rig: &Rig<'_>) {
    rig.scenario("two agents at once", |rig| {
        let spaces = layouts::written("v0: fs / 64 ext4, bare 8", rig.slots());
        rig.upload(&rig.document(&spaces));
        let second = "bedplate partition /tmp/provision.json >second 2>&1; echo $? >code";
        let output = ended_at(rig, "partition", 2, second);
        assert_eq!(output.code, 0, "exit code of the first: {}", super::rig::last_words(&output));
        let words = rig.root().ask("cat /run/code /run/second");
        assert!(words.starts_with("12\n") && words.contains("another run"), "the second says {words}");
        rig.is_as_required(&spaces, false);
        assert!(!required::required(&spaces, rig.slots()).state.is_empty(), "something was asked for");
    });
}
