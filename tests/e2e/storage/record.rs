//! What came of each scenario: a line of JSON at once, a table at the end.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// One scenario's end.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub seed: String,
    /// Seconds of the whole scenario, and those of the agent within it.
    pub seconds: f64,
    pub agent_seconds: f64,
    pub cpu_seconds: f64,
    /// Runs of the agent, and faults that it was made to survive.
    pub runs: u32,
    pub faults: u32,
    /// What else was measured.
    pub facts: Value,
    pub failure: Option<String>,
}

/// The log of a run.
pub struct Log {
    file: File,
    digest: String,
    entries: Vec<Entry>,
}

impl Log {
    /// A log in a new file.
    #[track_caller]
    pub fn new(path: &Path, digest: &str) -> Self {
        let file = File::create(path).unwrap_or_else(|error| panic!("creating {}: {error}", path.display()));
        Self { file, digest: digest.to_owned(), entries: Vec::new() }
    }

    /// Keeps an entry and tells it.
    #[track_caller]
    pub fn add(&mut self, entry: Entry) {
        let round = |seconds: f64| (seconds * 10.0).round() / 10.0;
        let line = json!({
            "scenario": entry.name, "seed": entry.seed, "agent_sha256": self.digest, "seconds": round(entry.seconds),
            "agent_seconds": round(entry.agent_seconds), "cpu_seconds": round(entry.cpu_seconds), "runs": entry.runs,
            "faults": entry.faults, "facts": entry.facts,
            "result": if entry.failure.is_none() { "passed" } else { "failed" }, "failure": entry.failure
        });
        writeln!(self.file, "{line}").expect("the log can be written to");
        println!("storage {line}");
        self.entries.push(entry);
    }

    /// The table of all in Markdown, and how many failed.
    pub fn finish(self) -> (String, usize) {
        let sum = |of: fn(&Entry) -> u32| self.entries.iter().map(of).sum::<u32>();
        let failed = self.entries.iter().filter(|it| it.failure.is_some()).count();
        let mut table = format!(
            "{} scenarios, {} runs of the agent, {} faults, {failed} failed. Agent: SHA-256 {}.\n\n\
             | scenario | runs | faults | s | agent s | CPU s | measured | result |\n|---|---|---|---|---|---|---|---|\n",
            self.entries.len(),
            sum(|it| it.runs),
            sum(|it| it.faults),
            self.digest
        );
        for it in &self.entries {
            let result = it.failure.as_deref().and_then(|words| words.lines().next()).unwrap_or("passed");
            let facts = if it.facts.as_object().is_some_and(|facts| facts.is_empty()) {
                String::new()
            } else {
                it.facts.to_string()
            };
            table.push_str(&format!(
                "| {} | {} | {} | {:.1} | {:.1} | {:.1} | {facts} | {result} |\n",
                it.name, it.runs, it.faults, it.seconds, it.agent_seconds, it.cpu_seconds
            ));
        }
        (table, failed)
    }
}
