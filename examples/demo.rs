//! The main job, shown: a machine boots over the network, is discovered, released, installed, and runs from its own disk.
//!
//! `make demo` runs it; with `KEEP=1` the machine stays up, and `make demo-stop` ends it. Logs and disks lie in
//! `build/demo`.

#![allow(clippy::panic, reason = "a demonstration that cannot go on says why and ends")]

#[allow(dead_code, reason = "the scenarios and the demo each use a part of it")]
#[path = "../tests/e2e/harness/mod.rs"]
mod harness;

use std::cell::RefCell;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bedplate::report::{Event, EventKind, Report};
use bedplate::units::Bytes;
use harness::disk;
use harness::journey::{Journey, Phase};
use harness::process::cpu_seconds;
use harness::scenario::{self, Scenario};
use harness::wait::Deadline;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Progress of one step is shown this often.
const PROGRESS_SHOWN: Duration = Duration::from_secs(2);

fn main() {
    let folder = harness::artefacts::build().join("demo");
    stop(&folder);
    if std::env::args().nth(1).is_some_and(|word| word == "stop") {
        return;
    }
    let is_kept = std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0");
    let scenario = Scenario::new("demo", &folder);
    let login = RefCell::default();
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| {
        scenario::run_in(&scenario, |scenario| *login.borrow_mut() = show(scenario, is_kept));
    }));
    if told.is_err() {
        // The reason was told where it was found; what would be kept is of no use.
        stop(&folder);
        std::process::exit(1);
    }
    if is_kept {
        println!(
            "The machine stays up until `make demo-stop`; its console, logs and disks are in {}.",
            folder.display()
        );
        println!("Log in with:");
        println!("{}", login.borrow());
    } else {
        println!("The machine is off; its console, logs and disks are in {}.", folder.display());
        println!("`make demo KEEP=1` leaves it up; then one logs in with a line like this:");
        println!("{}", login.borrow());
    }
}

/// The story; returns the command line of a login.
fn show(scenario: &Scenario, is_kept: bool) -> String {
    let mut journey = Journey::begin(scenario, harness::slots::cores().min(2), is_kept, "");
    if is_kept {
        remember(scenario.folder(), &journey);
    }
    scenario.tell(&format!("the master answers at {} for the machine", journey.master.url()));
    scenario.tell(&format!("the machine is on; its console is {}", journey.node.serial().path().display()));
    journey.is_discovered();
    println!("\n{}", journey.master.nodes(&["list"]).ok());
    scenario.tell("an operator releases it and is shown the plan");
    println!("\n{}", journey.release());
    let mut progress = Progress::default();
    journey.is_provisioned(|event| progress.show(scenario, event));
    scenario.tell("the master has switched network boot off; the machine starts from its own disk");
    let account = journey.is_ready();
    println!("\n{}", account.ask("hostname -f; cloud-init status; lsblk -o NAME,SIZE,TYPE,FSTYPE,LABEL,MOUNTPOINT"));
    table(&journey);
    let login = account.line();
    if !is_kept {
        journey.node.power_off(40);
    }
    login
}

/// Shows what happens, without a line for each of five progress events a second.
#[derive(Default)]
struct Progress {
    shown: Option<std::time::Instant>,
}

impl Progress {
    fn show(&mut self, scenario: &Scenario, event: &Event) {
        let step = event.step.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::Progress if self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS_SHOWN) => {}
            EventKind::Progress => {
                self.shown = Some(std::time::Instant::now());
                let done = Bytes::new(event.bytes_done.unwrap_or(0));
                let total = event.bytes_total.map(|total| format!(" of {}", Bytes::new(total))).unwrap_or_default();
                let rate = event.rate.map(|rate| format!(", {}/s", Bytes::new(rate))).unwrap_or_default();
                let left = event.eta_s.map(|left| format!(", {left} s left")).unwrap_or_default();
                scenario.tell(&format!("    {step}: {done}{total}{rate}{left}"));
            }
            EventKind::StepStarted => scenario.tell(&format!("  {}", event.message.as_deref().unwrap_or(step))),
            EventKind::StepFailed => {
                scenario.tell(&format!("  {step} failed: {}", event.error.as_deref().unwrap_or("?")))
            }
            EventKind::RunStarted | EventKind::RunFinished | EventKind::Log => {
                scenario.tell(&format!("  {}", event.message.as_deref().unwrap_or_default()));
            }
            EventKind::StepFinished => {}
        }
    }
}

/// Phases as seen from outside, and between them the steps of the agent's own report.
fn table(journey: &Journey) {
    println!("{:<58} {:>9} {:>9} {:>15}", "phase", "seconds", "CPU s", "bytes");
    let report: Option<Report> = serde_json::from_value(journey.details()["report"].clone()).ok();
    for phase in &journey.phases {
        let is_provisioning = phase.name == "provisioning";
        let read = report.as_ref().map(|report| report.images.iter().map(|image| image.bytes_read).sum());
        row(&Phase { bytes: if is_provisioning { read } else { phase.bytes }, ..phase.clone() }, "");
        let steps = report.iter().filter(|_| is_provisioning).flat_map(|report| &report.steps);
        for step in steps {
            println!("{:<58} {:>9.1} {:>9} {:>15}", format!("  {}", step.step), step.seconds, "", bytes(step.bytes));
        }
    }
    let total = |of: fn(&Phase) -> f64| journey.phases.iter().map(of).sum();
    let sum = Phase {
        name: "total".to_owned(),
        seconds: total(|phase| phase.seconds),
        cpu_seconds: total(|phase| phase.cpu_seconds),
        bytes: None,
    };
    row(&sum, "\n");
}

fn row(phase: &Phase, end: &str) {
    let (name, seconds, cpu) = (&phase.name, phase.seconds, phase.cpu_seconds);
    println!("{name:<58} {seconds:>9.1} {cpu:>9.1} {:>15}{end}", bytes(phase.bytes));
}

fn bytes(count: Option<u64>) -> String {
    count.map(|count| count.to_string()).unwrap_or_default()
}

fn state(folder: &Path) -> PathBuf {
    folder.join("running.json")
}

/// Notes what runs, for the next call.
fn remember(folder: &Path, journey: &Journey) {
    let running = json!([
        {"name": "qemu-system-x86_64", "id": journey.node.id()},
        {"name": "bedplate-master", "id": journey.master.id()}
    ]);
    disk::write(&state(folder), running.to_string().as_bytes());
}

/// Ends what an earlier call left running.
fn stop(folder: &Path) {
    let Ok(text) = fs::read_to_string(state(folder)) else { return };
    let running: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("running.json: {error}"));
    for process in running.as_array().into_iter().flatten() {
        let (name, id) = (process["name"].as_str().unwrap_or_default(), process["id"].as_u64().unwrap_or_default());
        // The number may have gone to another process since.
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let program = command.split(|&byte| byte == 0).next().unwrap_or_default();
        let Ok(id) = i32::try_from(id) else { continue };
        if String::from_utf8_lossy(program).ends_with(name) && killpg(Pid::from_raw(id), Signal::SIGTERM).is_ok() {
            println!("{name} is told to end");
            let deadline = Deadline::cpu(5);
            while cpu_seconds(id.unsigned_abs()).is_some() && !deadline.is_over() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    fs::remove_file(state(folder)).unwrap_or_else(|error| panic!("removing running.json: {error}"));
}
