//! Installations that are recorded write by write, for [`super::cuts`].

use std::path::Path;

use serde_json::json;

use super::cuts::{self, Replay, Verdict};
use super::layouts;
use super::rig::Rig;
use crate::harness::disk::Disk;
use crate::harness::write_log::WriteLog;

/// The only disk of these stories, which comes and goes.
const SLOT: &str = "v9";

/// A system whose installation is recorded.
pub struct System {
    name: &'static str,
    text: &'static str,
    mib: u64,
}

/// A system on partitions.
pub const PLAIN: System = System { name: "partitions", text: "v9: fs /boot 32 ext2, fs / 96 ext4 root", mib: 448 };

/// All that are recorded in the long run.
pub const ALL: &[System] = &[
    PLAIN,
    System {
        name: "volumes beside partitions",
        text: "v9: fs /boot 32 ext2, fs / 96 ext4 root, pv vm 64
           vg vm: nova /nova 60 ext4",
        mib: 640,
    },
];

/// A first installation on an empty disk and a second one over it, both recorded.
pub fn cuts(rig: &Rig<'_>, system: &System) {
    rig.scenario(&format!("power cuts: {}", system.name), |rig| {
        let disk = rig.scenario_frame().disk("V9", system.mib);
        let folder = rig.scenario_frame().folder();
        let slots = [(SLOT, disk.clone())].into();
        let spaces = layouts::written(system.text, &slots);
        let mut faults = Vec::new();
        for (round, what) in ["first", "second"].into_iter().enumerate() {
            let base = cuts::copy(disk.path(), &folder.join("base.raw"));
            let log = folder.join("writes.log");
            recorded(rig, &disk, &log, || {
                rig.upload(&rig.whole_document(&spaces));
                let output = rig.agent(&format!("provision --seed cuts-{round}"));
                assert_eq!(output.code, 0, "exit code: {}", super::rig::last_words(&output));
            });
            let verdict = judged(&log, &base, disk.path(), folder);
            tell(rig, what, &verdict);
            faults.extend(verdict.faults.iter().map(|fault| format!("{what} installation, {fault}")));
        }
        assert!(
            faults.is_empty(),
            "{} states of {what}: {}",
            faults.len(),
            faults[..faults.len().min(6)].join("\n"),
            what = SLOT
        );
    });
}

/// Plugs the disk in with a recorder before it, does something, and takes it out.
#[track_caller]
fn recorded(rig: &Rig<'_>, disk: &Disk, log: &Path, act: impl FnOnce()) {
    std::fs::File::create(log).expect("the scenario's folder can be written to");
    let file =
        |path: &Path| json!({"driver": "file", "filename": path, "cache": {"no-flush": true}, "discard": "unmap"});
    let recorder = json!({"driver": "blklogwrites", "file": file(disk.path()), "log": file(log), "discard": "unmap"});
    rig.plug_in(disk, recorder);
    rig.waits_for(disk);
    act();
    rig.pull_out(disk.serial());
}

fn judged(log: &Path, base: &Path, end: &Path, folder: &Path) -> Verdict {
    let log = WriteLog::read(log);
    let copies = folder.join("states");
    std::fs::create_dir_all(&copies).expect("the scenario's folder can be written to");
    Replay::new(&log, base, end, &copies).judge(base, 1)
}

fn tell(rig: &Rig<'_>, what: &str, verdict: &Verdict) {
    rig.fault(u32::try_from(verdict.states).unwrap_or(u32::MAX));
    rig.fact(
        what,
        json!({
            "writes": verdict.writes, "flushes": verdict.flushes, "states": verdict.states, "passed_by": verdict.passed_by,
            "handed_back": verdict.handed_back, "complete": verdict.complete, "faults": verdict.faults.len()
        }),
    );
}
