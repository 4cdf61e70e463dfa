//! A run, step by step, in a form that programs read: one JSON object a line.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::disk;
use super::scenario::Scenario;
use super::vm::Vm;

/// The record, `logs/record.jsonl` of its scenario.
pub struct Record<'a> {
    scenario: &'a Scenario,
    path: PathBuf,
    began: Instant,
    last: (f64, f64),
}

impl<'a> Record<'a> {
    /// Begins it with what took part.
    #[track_caller]
    pub fn begin(scenario: &'a Scenario, parts: &Value) -> Self {
        let path = scenario.logs().join("record.jsonl");
        disk::write(&path, format!("{}\n", json!({"scenario": scenario.name(), "parts": parts})).as_bytes());
        Self { scenario, path, began: Instant::now(), last: (0.0, 0.0) }
    }

    /// A step has ended: what happened since the one before it, in seconds and in CPU seconds of the machine.
    #[track_caller]
    pub fn step(&mut self, name: &str, node: &Vm) {
        let now = (self.began.elapsed().as_secs_f64(), node.cpu_seconds());
        let (seconds, cpu_seconds) = (now.0 - self.last.0, now.1 - self.last.1);
        self.last = now;
        self.scenario.tell(&format!("{name}: {seconds:.1} s, {cpu_seconds:.1} CPU s"));
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let line = json!({
            "step": name, "at_s": tenths(now.0), "seconds": tenths(seconds), "cpu_seconds": tenths(cpu_seconds),
        });
        let file = std::fs::File::options().append(true).open(&self.path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|error| panic!("writing {}: {error}", self.path.display()));
    }
}
