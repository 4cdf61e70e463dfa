//! The embedded master.

use std::io::Write as _;
use std::process::ExitCode;

use bedplate::master::cli::Cli;
use bedplate::sys::clock;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .parse_default_env()
        .format(|line, record| writeln!(line, "{} {:5} {}", clock::now_rfc3339(), record.level(), record.args()))
        .init();
    match cli.run() {
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
