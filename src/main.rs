//! The agent's entry: arguments, logging, dispatch, exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bedplate::cli::{self, Cli, Command, ProvisionArgs, StageArgs, TellingArgs, UpstreamCli, UpstreamName};
use bedplate::commands;
use bedplate::commands::client::http_settings;
use bedplate::commands::netboot::SwitchOff;
use bedplate::commands::plan::read_request;
use bedplate::commands::provision::{Options, REPORT_FILE};
use bedplate::error::{Error, Kind, Result};
use bedplate::http;
use bedplate::plan::Stage;
use bedplate::report::{BesideBars, ConsoleSink, LOG_FILE, MarkerLogSink, Report, Reporter, Sink, sink_for};
use bedplate::settings::Settings;
use bedplate::sys;
use clap::Parser as _;

/// How long the end of a run waits for slow receivers of events.
const EVENTS_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // Before any look-up of a name and any thread.
    sys::nss::pin();
    sys::memory::return_large_buffers();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let outcome = match UpstreamName::of(&program) {
        Some(name) => upstream(name, UpstreamCli::parse_from(cli::with_hyphens(std::env::args_os()))),
        None => dispatch(Cli::parse()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tell(&error.to_string(), error.advice());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    // An agent has nobody who reads a result: it tells what it does.
    start_logging(if cli.debug {
        "debug"
    } else if matches!(cli.command, Command::Agent(_)) {
        "info"
    } else {
        "warn"
    });
    sys::signal::install()?;
    let mut settings = settings()?;
    if !cli.ca_file.is_empty() {
        settings.ca_file = cli.ca_file;
    }
    if cli.client_cert.is_some() {
        // A configured key is that of the configured certificate.
        settings.client_cert = cli.client_cert;
        settings.client_key = None;
    }
    settings.client_key = cli.client_key.or(settings.client_key);
    let client = || http::Client::new(&http_settings(&settings));
    match cli.command {
        Command::Validate(args) => commands::validate::run(&args)?,
        Command::Plan(mut args) => {
            args.require_digest |= settings.require_digest;
            commands::plan::run(&args, &client()?)?;
        }
        Command::Provision(args) => return provision(args, &settings, &client()?),
        Command::Partition(args) => return stage(args, Stage::Partition, &settings, &client()?),
        Command::Copyimage(args) => return stage(args, Stage::CopyImage, &settings, &client()?),
        Command::Configdrive(args) => match args.output {
            None => return stage(args.stage, Stage::ConfigDrive, &settings, &client()?),
            Some(output) => {
                let document = read_request(&args.stage.file)?;
                let templates = args.stage.telling.templates;
                commands::config_drive::run(&document, templates.as_deref(), &output, &client()?)?;
            }
        },
        Command::Bootloader(args) => return stage(args, Stage::BootLoader, &settings, &client()?),
        Command::Verify(args) => commands::verify::run(&args)?,
        Command::WriteImage(mut options) => {
            options.image.settle(&settings);
            return Ok(exit_code(commands::write_image::run(&options, &image_reporter(), &client()?)));
        }
        Command::UnpackImage(mut options) => {
            options.image.settle(&settings);
            return Ok(exit_code(commands::unpack_image::run(&options, &image_reporter(), &client()?)));
        }
        Command::Inventory(args) => commands::inventory::run(&args)?,
        Command::Discover(args) => commands::discover::run(&args, &settings)?,
        Command::Agent(args) => commands::agent::run(&args, &settings, &|released, reporter, http| {
            let plan_digest = released.plan_digest.clone();
            let max_window = settings.max_window.unwrap_or_default();
            let require_digest = settings.require_digest;
            let netboot_off = Some(SwitchOff::beside_master(&settings));
            let unhealthy_disks = settings.unhealthy_disks;
            let options =
                Options { plan_digest, max_window, require_digest, unhealthy_disks, netboot_off, ..Options::default() };
            commands::provision::run(&released.document, &options, reporter, http)
        })?,
        Command::Erase(args) => return erase(&args, &client()?),
        Command::EraseNode(args) => commands::erase_node::run(&args)?,
        Command::Netboot(args) => commands::netboot::run(&args, &settings)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn provision(args: ProvisionArgs, settings: &Settings, http: &http::Client) -> Result<ExitCode> {
    // Before the request is read, which may be for root alone.
    bedplate::execute::require_root()?;
    let (telling, events) = telling(args.telling, settings);
    let seed = args.seed.or_else(|| settings.seed.clone());
    let is_asked = args.netboot_off || settings.netboot_off;
    let netboot_off = is_asked.then(|| SwitchOff::asked(&args.netboot, settings)).transpose()?;
    let options = Options { plan_digest: args.plan_digest, seed, plan: args.plan, netboot_off, ..telling };
    let code = carry_out(&read_request(&args.file)?, &options, &events, Path::new(LOG_FILE), http)?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    if args.reboot || settings.reboot {
        sys::power::restart()?;
    }
    Ok(code)
}

fn erase(args: &commands::erase::Args, http: &http::Client) -> Result<ExitCode> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(ConsoleSink::stderr())];
    for destination in &args.events {
        sinks.push(sink_for(destination, http)?);
    }
    let reporter = Reporter::new(sys::clock::run_id(), sinks);
    let report = commands::erase::run(args, &reporter, http)?;
    if let Err(error) = reporter.flush(EVENTS_WITHIN) {
        tell(&format!("warning: {error}"), None);
    }
    Ok(report.map_or(ExitCode::SUCCESS, exit_code))
}

/// Tells of one image on the terminal.
fn image_reporter() -> Reporter {
    Reporter::new(sys::clock::run_id(), vec![Box::new(ConsoleSink::stderr())])
}

fn stage(args: StageArgs, stage: Stage, settings: &Settings, http: &http::Client) -> Result<ExitCode> {
    bedplate::execute::require_root()?;
    let (telling, events) = telling(args.telling, settings);
    let options = Options { seed: args.seed.or_else(|| settings.seed.clone()), stage: Some(stage), ..telling };
    carry_out(&read_request(&args.file)?, &options, &events, Path::new(LOG_FILE), http)
}

/// Called by the name of Fuel's agent: the orchestrator switches PXE off and reboots, this never does.
fn upstream(name: UpstreamName, cli: UpstreamCli) -> Result<ExitCode> {
    start_logging(if cli.debug { "debug" } else { "warn" });
    sys::signal::install()?;
    bedplate::execute::require_root()?;
    let settings = settings()?;
    if cli.data_driver != "nailgun" {
        return Err(Error::new(Kind::Usage, format!("--data-driver: expected nailgun, found {}", cli.data_driver)));
    }
    let document =
        if cli.input_data.is_empty() { read_request(&cli.input_data_file)? } else { cli.input_data.into_bytes() };
    let stage = match name {
        UpstreamName::Provision => None,
        UpstreamName::Partition => Some(Stage::Partition),
        UpstreamName::ConfigDrive => Some(Stage::ConfigDrive),
        UpstreamName::CopyImage => Some(Stage::CopyImage),
        UpstreamName::BootLoader => Some(Stage::BootLoader),
    };
    let http = http::Client::new(&http_settings(&settings))?;
    let none = TellingArgs {
        report: None,
        events: Vec::new(),
        templates: None,
        max_window: None,
        require_digest: false,
        unhealthy_disks: None,
    };
    let (telling, events) = telling(none, &settings);
    carry_out(&document, &Options { stage, ..telling }, &events, &cli.log_file, &http)
}

/// The configuration.
fn settings() -> Result<Settings> {
    let (settings, warnings) = Settings::load(Path::new("/"))?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    Ok(settings)
}

/// Where report and events go: the options, else the configuration.
fn telling(args: TellingArgs, settings: &Settings) -> (Options, Vec<String>) {
    let report = args.report.or_else(|| settings.report.clone()).unwrap_or_else(|| REPORT_FILE.into());
    let events = if args.events.is_empty() { settings.events.clone() } else { args.events };
    let max_window = args.max_window.or(settings.max_window).unwrap_or_default();
    let require_digest = args.require_digest || settings.require_digest;
    let unhealthy_disks = args.unhealthy_disks.unwrap_or(settings.unhealthy_disks);
    let templates = args.templates;
    (Options { report, templates, max_window, require_digest, unhealthy_disks, ..Options::default() }, events)
}

fn carry_out(
    document: &[u8],
    options: &Options,
    events: &[String],
    log_file: &Path,
    http: &http::Client,
) -> Result<ExitCode> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(ConsoleSink::stderr()), Box::new(MarkerLogSink::file(log_file)?)];
    for destination in events {
        sinks.push(sink_for(destination, http)?);
    }
    let reporter = Reporter::new(sys::clock::run_id(), sinks);
    let report = commands::provision::run(document, options, &reporter, http);
    if let Err(error) = reporter.flush(EVENTS_WITHIN) {
        tell(&format!("warning: {error}"), None);
    }
    Ok(exit_code(report))
}

/// The exit code of a run, after its error was shown.
fn exit_code(report: Report) -> ExitCode {
    let Some(error) = report.error else { return ExitCode::SUCCESS };
    tell(&error.message, error.what_to_do.as_deref());
    ExitCode::from(error.code)
}

/// Says what went wrong. A terminal that is gone, or a full disk behind it, must not change the exit code.
fn tell(message: &str, advice: Option<&str>) {
    let mut err = std::io::stderr().lock();
    let advice = advice.map(|advice| format!("bedplate: what to do: {advice}\n")).unwrap_or_default();
    let _unheard = write!(err, "bedplate: {message}\n{advice}");
}

/// Logs to standard error from this level on; RUST_LOG says otherwise.
fn start_logging(level: &str) {
    let environment = env_logger::Env::default().default_filter_or(level);
    env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Pipe(Box::new(BesideBars)))
        .format(|out, record| writeln!(out, "bedplate: {}: {}", record.level().as_str().to_lowercase(), record.args()))
        .init();
}
