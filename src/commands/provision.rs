//! `provision`: request, inventory, plan, execution, verification, report.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::warn;

use super::netboot::SwitchOff;
use super::{config_drive, plan as plan_command, report_file, side_car, verify as verify_command};
use crate::error::{Context as _, Error, Kind, Result};
use crate::execute::{self, Done, Inputs, Run};
use crate::http::Client;
use crate::inventory;
use crate::netboot::{Backend, State};
use crate::plan::{Plan, Stage};
use crate::report::{DiskState, ErrorReport, LOG_FILE, Outcome, Report, Reporter};
use crate::request;
use crate::sys::health::UnhealthyDisks;
use crate::sys::{memory, mount, random};
use crate::units::MaxWindow;
use crate::verify;

/// Where reports go when nobody says otherwise.
pub const REPORT_FILE: &str = "/var/log/bedplate/report.json";
/// Where this program mounts, and nobody else.
pub(super) const OURS: &str = "/run/bedplate";
/// Where the installed system is mounted while it is worked on.
const TARGET: &str = "/run/bedplate/target";
/// The step that switches network boot off: when it fails, the disks are complete all the same.
const NETBOOT_STEP: &str = "netboot-off";
/// How long the kernel may take to have random numbers: what an idle machine without a source of its own needs for 256 bits.
const RANDOM_DEADLINE: Duration = Duration::from_secs(300);
/// Where the report and the log are kept within the installed system.
const KEPT: &str = "var/log/bedplate";

/// How a request is carried out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Refuse any plan but this.
    pub plan_digest: Option<String>,
    /// Derive UUIDs from this seed.
    pub seed: Option<String>,
    /// Carry out this plan instead of making one.
    pub plan: Option<PathBuf>,
    /// Carry out one stage alone.
    pub stage: Option<Stage>,
    /// Where the report goes.
    pub report: PathBuf,
    /// A folder with a site's own templates for the config drive.
    pub templates: Option<PathBuf>,
    /// How far back a packed image may refer.
    pub max_window: MaxWindow,
    /// Refuse images that nothing proves, whatever the request says.
    pub require_digest: bool,
    /// What to do with disks that are not well.
    pub unhealthy_disks: UnhealthyDisks,
    /// Switch network boot off when all is verified.
    pub netboot_off: Option<SwitchOff>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plan_digest: None,
            seed: None,
            plan: None,
            stage: None,
            report: PathBuf::from(REPORT_FILE),
            templates: None,
            max_window: MaxWindow::default(),
            require_digest: false,
            unhealthy_disks: UnhealthyDisks::default(),
            netboot_off: None,
        }
    }
}

/// Carries out a request and returns what was done. It switches PXE off where that is asked for, and never reboots.
pub fn run(document: &[u8], options: &Options, reporter: &Reporter, http: &Client) -> Report {
    let mut session = Session {
        begun: Instant::now(),
        reporter,
        http,
        options,
        plan: None,
        done: Done::default(),
        late_warnings: Vec::new(),
    };
    // A run that may not begin leaves no trace in the files of the one that goes on.
    let lock = execute::require_root().and_then(|()| execute::lock());
    let has_begun = lock.is_ok();
    if has_begun {
        reporter.run_started(concat!("bedplate ", env!("CARGO_PKG_VERSION")));
        // Whether it can be written is told at the end, when there is something to tell.
        if let Err(error) = report_file::begin(&options.report, reporter.id()) {
            warn!("{error}");
        }
    }
    let result = lock.and_then(|lock| {
        let result = session.attempt(document);
        drop(lock);
        result
    });
    // What failed in a step was told with it.
    if let (true, None, Err(error)) = (has_begun, &session.done.failed_step, &result) {
        reporter.log(format!("error: {error}"));
    }
    let mut report = session.report(&session.done, result.as_ref().err());
    if !has_begun {
        return report;
    }
    if let Err(error) = report_file::save(&report, &options.report) {
        warn!("{error}");
        report.warnings.push(error.to_string());
    }
    let message = if result.is_ok() { "done and verified" } else { "failed" };
    reporter.run_finished(message, result.as_ref().err());
    report
}

/// A run and what is known of it so far.
struct Session<'a> {
    begun: Instant,
    reporter: &'a Reporter,
    http: &'a Client,
    options: &'a Options,
    plan: Option<Plan>,
    done: Done,
    late_warnings: Vec<String>,
}

impl Session<'_> {
    fn attempt(&mut self, document: &[u8]) -> Result<()> {
        for point in mount::unmount_leftovers(Path::new(OURS))? {
            self.reporter.log(format!("unmounted {}, which an earlier run had left", point.display()));
        }
        let mut parsed = request::parse(document)?;
        parsed.request.requires_digest |= self.options.require_digest;
        // Tables, file systems, salts and TLS draw from them, and would wait without a word.
        random::wait(RANDOM_DEADLINE, |words| self.reporter.log(words))?;
        let plan = self.plan(&parsed)?;
        self.plan = Some(plan.clone());
        for warning in &plan.warnings {
            self.reporter.log(format!("warning: {warning}"));
        }
        for loss in &plan.destroys {
            self.reporter.log(format!("will be lost: {}: {}", loss.device, loss.what));
        }
        self.reporter.log(format!("plan {}", plan.digest));
        let templates = self.options.templates.as_deref();
        let config_drive = config_drive::of(&parsed.request, &self.reporter.id(), templates, self.http)?;
        execute::check_config_drive(&plan, &config_drive)?;
        let max_window = self.options.max_window;
        for complaint in execute::check_health(&plan, self.options.unhealthy_disks)? {
            self.reporter.log(format!("warning: {complaint}"));
            self.late_warnings.push(complaint);
        }
        execute::prepare(&plan, self.http, max_window)?;
        for remnant in execute::remnants(&plan)? {
            self.reporter.log(format!("will be lost: {remnant}"));
        }
        // A wrong password or an unknown node shows before anything is overwritten.
        let netboot = self.netboot(&parsed.request)?;
        let inputs = Inputs {
            http: self.http,
            config_drive: &config_drive,
            reporter: self.reporter,
            target: Path::new(TARGET),
            max_window,
        };
        let mut run = Run::new(inputs);
        let result = run.carry_out(&plan).and_then(|()| self.prove(&plan, &mut run));
        if result.is_err() {
            run.withdraw_boot_code(&plan);
        }
        let result = result.and_then(|()| self.switch_netboot_off(netboot.as_ref(), &mut run));
        // Whoever works stage by stage finds the volumes active in the next one.
        let keeps_open = result.is_ok() && self.options.stage.is_some();
        let (done, closed) = run.close(keeps_open);
        self.done = done;
        if let (Ok(()), Err(error)) = (&result, closed) {
            // The machine is as planned; what stays open ends with this system.
            self.reporter.log(format!("warning: {error}"));
            self.late_warnings.push(error.to_string());
        }
        result
    }

    fn plan(&self, parsed: &request::Parsed) -> Result<Plan> {
        let saved = match &self.options.plan {
            Some(path) => Some(Plan::parse(&plan_command::read(path, Kind::Request)?)?),
            None => None,
        };
        let seed = saved.as_ref().map(|plan| plan.seed.as_str()).or(self.options.seed.as_deref());
        let machine = inventory::collect(Path::new("/"));
        let meta = side_car::fetch(&parsed.request, self.http)?;
        let plan = plan_command::make(parsed, &machine, meta.as_ref(), seed)?;
        // A saved plan is carried out when it is still the plan of this request on this machine: what it was checked
        // against when it was made may have changed.
        if let Some(saved) = saved {
            plan.require_digest(&saved.digest)?;
        }
        if let Some(digest) = &self.options.plan_digest {
            plan.require_digest(digest)?;
        }
        match self.options.stage {
            Some(stage) => plan.stage(stage),
            None => Ok(plan),
        }
    }

    fn prove(&self, plan: &Plan, run: &mut Run<'_>) -> Result<()> {
        run.extra_step("verify", "compare the medium with the plan", || {
            verify::verify(plan, Path::new(verify_command::SCRATCH))
        })?;
        if self.options.stage.is_none() {
            let report = self.report(run.done(), None);
            run.extra_step("keep-report", "leave report and log with the installed system", || {
                keep_with_system(plan, &report)
            })?;
        }
        Ok(())
    }

    /// Who is to switch network boot off, where that is asked for.
    fn netboot(&self, request: &request::Request) -> Result<Option<Backend>> {
        let Some(off) = &self.options.netboot_off else { return Ok(None) };
        let backend = off.backend(request)?;
        if let Some(backend) = &backend {
            backend.check(self.http)?;
        }
        Ok(backend)
    }

    fn switch_netboot_off(&self, backend: Option<&Backend>, run: &mut Run<'_>) -> Result<()> {
        let Some(backend) = backend else { return Ok(()) };
        let message = format!("switch network boot off: {}", backend.name());
        let switched = run.extra_step(NETBOOT_STEP, &message, || backend.switch(self.http, State::Off));
        if switched.is_err() {
            self.reporter.log("the system is installed and verified, but network boot is not switched off");
        }
        switched
    }

    fn report(&self, done: &Done, error: Option<&Error>) -> Report {
        let plan = self.plan.as_ref();
        let is_good = error.is_none() || done.failed_step.as_deref() == Some(NETBOOT_STEP);
        Report {
            run: self.reporter.id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: if error.is_none() { Outcome::Done } else { Outcome::Failed },
            error: error.map(|error| ErrorReport::of(error, done.failed_step.as_deref())),
            plan_digest: plan.map(|plan| plan.digest.clone()),
            disks: plan.map(|plan| disk_states(plan, done, is_good)).unwrap_or_default(),
            steps: done.steps.clone(),
            images: done.images.clone(),
            warnings: plan.iter().flat_map(|plan| &plan.warnings).chain(&self.late_warnings).cloned().collect(),
            seconds: self.begun.elapsed().as_secs_f64(),
            peak_memory: memory::peak(),
        }
    }
}

fn disk_states(plan: &Plan, done: &Done, is_good: bool) -> BTreeMap<String, DiskState> {
    let state = |device: &str| {
        let is_erased = plan.steps.iter().any(|step| step.id() == format!("erase {device}"));
        let is_touched = if is_erased { done.begun.contains(&format!("erase {device}")) } else { done.is_destructive };
        match (is_good, is_touched) {
            (true, _) => DiskState::Complete,
            (false, true) => DiskState::NotBootable,
            (false, false) => DiskState::Untouched,
        }
    };
    plan.layout.disks.iter().map(|disk| (disk.device.clone(), state(&disk.device))).collect()
}

/// Leaves the report and the log with the installed system, for whoever asks later how it came to be.
fn keep_with_system(plan: &Plan, report: &Report) -> Result<()> {
    let report = serde_json::to_string_pretty(report).context(Kind::Bug, || "writing the report as JSON")?;
    let log = match fs::read_to_string(LOG_FILE) {
        Ok(log) => Some(log),
        Err(cause) if cause.kind() == ErrorKind::NotFound => None,
        Err(cause) => return Err(Error::caused(Kind::Medium, format!("reading {LOG_FILE}"), cause)),
    };
    let files = [("report.json", Some(report)), ("provision.log", log)];
    let files = files.into_iter().filter_map(|(name, text)| text.map(|text| (format!("{KEPT}/{name}"), text)));
    execute::leave(plan, Path::new(TARGET), &files.collect::<Vec<_>>())
}
