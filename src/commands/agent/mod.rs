//! `agent`: the loop in a bootstrap: discover, wait for a released request, provision, report, restart.

mod master;
mod round;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use log::{info, warn};

use super::answer;
use super::client::http_settings;
use crate::error::{Error, Kind, Result};
use crate::http::{self, Client, Url};
use crate::inventory;
use crate::report::{ConsoleSink, HttpSink, LOG_FILE, MarkerLogSink, Report, Reporter, Sink};
use crate::settings::Settings;
use crate::sys::power;
use master::Master;
use round::{Agent, Ended, Machine, Order, Pace, Run};

/// Waits for a released request of the master and carries it out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The master's address, as in http://10.20.0.2:8200 (default: bedplate.master= of the kernel command line).
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Stays up after a successful run instead of restarting the machine.
    #[arg(long)]
    pub no_reboot: bool,
}

/// A request that was released for this node.
pub struct Released {
    /// The document.
    pub document: Vec<u8>,
    /// Digest of the plan that the person who released it saw.
    pub plan_digest: Option<String>,
}

/// Carries out a request; the reporter tells the console, upstream's log and the master.
pub type CarryOut<'a> = dyn Fn(&Released, &Reporter, &Client) -> Report + 'a;

/// Runs until a request was carried out, or until the process is asked to end.
///
/// It survives a master that is absent, slow, restarting, or answers nonsense.
///
/// # Errors
/// `Usage` when no master is known or its address is not valid; `Interrupted` or `Terminated` when it was asked to end.
pub fn run(args: &Args, settings: &Settings, carry_out: &CarryOut) -> Result<()> {
    let base = args.master.as_ref().or(settings.master.as_ref());
    let base = base.ok_or_else(|| Error::new(Kind::Usage, "no master is known").advise("give --master URL"))?;
    base.parse::<Url>().map_err(|error| Error::caused(Kind::Usage, "reading the master's address", error))?;
    answer::raise_clock();
    let patient = http_settings(settings);
    let client = Client::new(&patient)?;
    // A call to the master ends soon, so that a signal is noticed; images have the longer limits.
    let brief = http::Settings { response_timeout: answer::WITHIN, read_timeout: answer::WITHIN, ..patient };
    let master = Master::new(Client::new(&brief)?, base, settings.token.clone());
    info!("the master of this node is {}", master.shown());
    let machine = Bootstrap { client, restarts: !(args.no_reboot || settings.no_reboot), carry_out };
    Agent::new(master, machine, Path::new("/"), Pace::default()).run()
}

/// The machine that the agent runs on.
struct Bootstrap<'a> {
    client: Client,
    restarts: bool,
    carry_out: &'a CarryOut<'a>,
}

impl Machine for Bootstrap<'_> {
    fn inventory(&self) -> inventory::Inventory {
        inventory::collect(Path::new("/"))
    }

    fn provision(&self, order: &Order, master: &Master) -> Run {
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(ConsoleSink::stderr())];
        match MarkerLogSink::file(Path::new(LOG_FILE)) {
            Ok(sink) => sinks.push(Box::new(sink)),
            Err(error) => warn!("{error}"),
        }
        match HttpSink::start(master.client(), &master.url(order.node, "events"), master.token().cloned()) {
            Ok(sink) => sinks.push(Box::new(sink)),
            Err(error) => warn!("the master is not told of the run's events: {error}"),
        }
        let reporter = Reporter::new(run_id(order.node), sinks);
        let report = (self.carry_out)(&order.released, &reporter, &self.client);
        Run { report, reporter }
    }

    fn restart(&self) -> Result<Ended> {
        if !self.restarts {
            info!("the machine is not restarted, as asked");
            return Ok(Ended::Stays);
        }
        info!("restarting the machine");
        // The console is slower than the kernel's restart.
        std::thread::sleep(Duration::from_millis(500));
        power::restart().map(|()| Ended::Restarts)
    }
}

/// Names a run so that no two of a node are the same, also when the clock is wrong.
fn run_id(node: u64) -> String {
    format!("{node}-{}-{}", crate::sys::clock::now_epoch(), crate::sys::clock::since_boot_ms())
}
