use super::super::netboot::Options as NetbootOptions;
use super::*;
use crate::configdrive::{self, ConfigDrive};
use crate::http;
use crate::scratch::Scratch;
use crate::settings::Settings;

const NAME: &str = "10-plain-partitions-labels-raw-image";

fn fixture(kind: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/fixtures/{kind}/{NAME}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A run whose machine is installed and verified, up to the switch.
struct Installed {
    request: request::Request,
    plan: Plan,
    config_drive: ConfigDrive,
    http: Client,
    options: Options,
}

impl Installed {
    fn new(tftp_root: &Path) -> Self {
        let request = request::parse(&fixture("provision")).unwrap().request;
        let mut machine = inventory::from_json(&fixture("hardware")).unwrap();
        machine.disks.iter_mut().for_each(|disk| disk.has_data = Some(false));
        let plan = crate::plan::make(&request, &machine, None, None).unwrap();
        let config_drive = configdrive::render(&request, "i", None).unwrap();
        let root = tftp_root.to_str().map(str::to_owned);
        let netboot = NetbootOptions { tftp_root: root, ..NetbootOptions::default() };
        let netboot_off = Some(SwitchOff::asked(&netboot, &Settings::default()).unwrap());
        let options = Options { netboot_off, ..Options::default() };
        Self { request, plan, config_drive, http: Client::new(&http::Settings::default()).unwrap(), options }
    }

    fn session<'a>(&'a self, reporter: &'a Reporter) -> Session<'a> {
        Session {
            begun: Instant::now(),
            reporter,
            http: &self.http,
            options: &self.options,
            plan: Some(self.plan.clone()),
            done: Done::default(),
            late_warnings: Vec::new(),
        }
    }

    fn run<'a>(&'a self, reporter: &'a Reporter) -> Run<'a> {
        let target = Path::new("/nonexistent");
        let max_window = MaxWindow::default();
        Run::new(Inputs { http: &self.http, config_drive: &self.config_drive, reporter, target, max_window })
    }
}

#[test]
fn who_cannot_switch_ends_the_run_before_it_begins() {
    let scratch = Scratch::new();
    let installed = Installed::new(scratch.folder());
    let reporter = Reporter::silent();
    let error = installed.session(&reporter).netboot(&installed.request).unwrap_err();
    assert_eq!(error.kind(), Kind::Master);
    assert!(error.to_string().ends_with(": expected the folder pxelinux.cfg or grub, found none"), "{error}");
}

#[test]
fn a_switch_that_fails_ends_the_run_with_code_16_and_complete_disks() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("grub")).unwrap();
    let installed = Installed::new(scratch.folder());
    let reporter = Reporter::silent();
    let session = installed.session(&reporter);
    let backend = session.netboot(&installed.request).unwrap();
    // The tree is unmounted while the images are written.
    fs::remove_dir(scratch.path("grub")).unwrap();
    let mut run = installed.run(&reporter);
    let error = session.switch_netboot_off(backend.as_ref(), &mut run).unwrap_err();
    let report = session.report(run.done(), Some(&error));
    let told = report.error.unwrap();
    assert_eq!((told.code, told.step.as_deref()), (16, Some("netboot-off")));
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(!report.disks.is_empty() && report.disks.values().all(|state| *state == DiskState::Complete));
}

#[test]
fn a_switch_that_succeeds_is_a_step_of_the_report() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("grub")).unwrap();
    let installed = Installed::new(scratch.folder());
    let reporter = Reporter::silent();
    let session = installed.session(&reporter);
    let backend = session.netboot(&installed.request).unwrap();
    let mut run = installed.run(&reporter);
    session.switch_netboot_off(backend.as_ref(), &mut run).unwrap();
    let report = session.report(run.done(), None);
    let steps: Vec<_> = report.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!((report.outcome, steps), (Outcome::Done, vec!["netboot-off"]));
    let mac = installed.request.admin.mac.replace(':', "-");
    assert!(scratch.path(&format!("grub/grub.cfg-01-{mac}")).is_file());
}
