//! The embedded master.

use std::io::Write as _;
use std::process::ExitCode;

use bedplate::error::Result;
use bedplate::master::bootstraps::cli::FuelBootstrap;
use bedplate::master::cli::Cli;
use bedplate::sys::clock;
use clap::Parser as _;
use log::LevelFilter;

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    let outcome =
        if FuelBootstrap::is_named(&program) { upstream(FuelBootstrap::parse()) } else { master(Cli::parse()) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bedplate-master: {error}");
            if let Some(advice) = error.advice() {
                eprintln!("  {advice}");
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn master(cli: Cli) -> Result<()> {
    start_logging(LevelFilter::Info);
    cli.run()
}

fn upstream(cli: FuelBootstrap) -> Result<()> {
    start_logging(cli.level());
    cli.run()
}

fn start_logging(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .format(|line, record| writeln!(line, "{} {:5} {}", clock::now_rfc3339(), record.level(), record.args()))
        .init();
}
