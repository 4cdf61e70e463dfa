//! The agent's rounds: what it does next, whatever the master answers.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use sha2::{Digest as _, Sha256};

use super::Released;
use super::master::{Master, Word};
use crate::commands::discover::Nailgun;
use crate::error::{Error, Kind, Result};
use crate::inventory::Inventory;
use crate::inventory::nailgun::Mode;
use crate::report::{Outcome, Report, Reporter};
use crate::sys::signal::{self, pause};

/// How long the last event may take when the process was asked to end.
const WHEN_ASKED_TO_END: Duration = Duration::from_secs(3);

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two questions for a request.
    pub(super) ask: Duration,
    /// Between two discoveries of an unchanged machine.
    pub(super) discover: Duration,
    /// The longest pause between two attempts to reach a master that fails.
    pub(super) longest: Duration,
    /// How long the master may take to acknowledge the last event.
    pub(super) last_event: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ask: Duration::from_secs(3),
            discover: Duration::from_secs(60),
            longest: Duration::from_secs(30),
            last_event: Duration::from_secs(60),
        }
    }
}

/// A request that was released for this node.
pub(super) struct Order {
    pub(super) node: u64,
    pub(super) released: Released,
}

impl Order {
    /// What makes it the same as one before.
    fn identity(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.released.plan_digest.as_deref().unwrap_or_default());
        digest.update([0]);
        digest.update(&self.released.document);
        digest.finalize().into()
    }
}

/// A run that ended, and who was told of it.
pub(super) struct Run {
    pub(super) report: Report,
    pub(super) reporter: Reporter,
}

/// What becomes of the machine after a successful run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The kernel restarts it.
    Restarts,
    /// It stays up, as asked.
    Stays,
}

/// The machine that the agent acts on.
pub(super) trait Machine {
    /// What is there.
    fn inventory(&self) -> Inventory;
    /// Carries out a request.
    fn provision(&self, order: &Order, master: &Master) -> Run;
    /// Restarts the machine.
    fn restart(&self) -> Result<Ended>;
}

/// The agent.
pub(super) struct Agent<'a, M> {
    master: Master,
    machine: M,
    root: &'a Path,
    pace: Pace,
    node: Option<u64>,
    /// When to discover again.
    due: Instant,
    takes_inventory: bool,
    /// The last order that was carried out; it is never carried out a second time.
    done: Option<[u8; 32]>,
    /// A report that did not reach the master yet.
    unsent: Option<(u64, Report)>,
    trouble: Trouble,
}

impl<'a, M: Machine> Agent<'a, M> {
    pub(super) fn new(master: Master, machine: M, root: &'a Path, pace: Pace) -> Self {
        let trouble = Trouble { pause: pace.ask, last: None };
        Self {
            master,
            machine,
            root,
            pace,
            node: None,
            due: Instant::now(),
            takes_inventory: true,
            done: None,
            unsent: None,
            trouble,
        }
    }

    /// Goes round until a request was carried out well.
    ///
    /// # Errors
    /// `Interrupted` or `Terminated` when the process was asked to end; `Refused` when the machine cannot be restarted.
    pub(super) fn run(&mut self) -> Result<()> {
        loop {
            let rest = match self.round() {
                Ok(Some(ended)) => {
                    debug!("the agent is done: {ended:?}");
                    return Ok(());
                }
                Ok(None) => {
                    self.trouble.end(self.pace.ask);
                    self.pace.ask
                }
                Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Terminated | Kind::Refused) => {
                    return Err(error);
                }
                Err(error) => self.trouble.note(&error, self.pace.longest),
            };
            pause(rest)?;
        }
    }

    /// One round: tells what is to be told, asks, and does what is asked.
    fn round(&mut self) -> Result<Option<Ended>> {
        let node = self.discovered()?;
        self.send_report()?;
        match self.master.ask(node)? {
            Word::Nothing => Ok(None),
            Word::Never(reason) => {
                // A master that lost its state knows the token again after the next discovery.
                self.due = self.due.min(Instant::now() + self.pace.longest);
                Err(Error::new(Kind::Master, format!("asking the master for a request: {reason}")))
            }
            Word::Released(released) => self.obey(Order { node, released }),
        }
    }

    /// The node's id at the master; discovers when it is time to.
    fn discovered(&mut self) -> Result<u64> {
        if let Some(node) = self.node.filter(|_| Instant::now() < self.due) {
            return Ok(node);
        }
        let inventory = self.machine.inventory();
        let nailgun = Nailgun {
            client: self.master.client(),
            base: self.master.base(),
            token: self.master.token(),
            root: self.root,
        };
        let node = nailgun.discover(&inventory, Mode::Bootstrap)?;
        if self.node != Some(node) {
            info!("this is node {node} of {}", self.master.shown());
            for warning in &inventory.warnings {
                info!("inventory: {}: {}", warning.source, warning.reason);
            }
        }
        self.node = Some(node);
        if self.takes_inventory && self.master.token().is_some() {
            self.takes_inventory = self.master.put_inventory(node, &inventory)?;
        }
        self.due = Instant::now() + self.pace.discover;
        Ok(node)
    }

    fn obey(&mut self, order: Order) -> Result<Option<Ended>> {
        let identity = order.identity();
        if self.done == Some(identity) {
            let reason =
                "it hands out the request of a run that has failed; not carried out again: release the node anew";
            return Err(Error::new(Kind::Master, format!("asking the master for a request: {reason}")));
        }
        self.done = Some(identity);
        info!("a request of {} bytes is released for this node", order.released.document.len());
        let Run { report, reporter } = self.machine.provision(&order, &self.master);
        let outcome = report.outcome;
        self.unsent = Some((order.node, report));
        // Disks and what is on them are not what they were.
        self.due = Instant::now();
        if outcome == Outcome::Failed {
            self.end(&reporter);
            if let Err(error) = self.send_report() {
                warn!("{error}: it is sent again later");
            }
            return Ok(None);
        }
        self.switch_netboot_off(order.node, &reporter)?;
        self.end(&reporter);
        if let Err(error) = self.send_report() {
            warn!("{error}");
        }
        self.machine.restart().map(Some)
    }

    /// Tries until the master has switched network boot off: restarted before, the machine would come back here.
    fn switch_netboot_off(&mut self, node: u64, reporter: &Reporter) -> Result<()> {
        loop {
            match self.master.netboot_off(node) {
                Ok(()) => {
                    reporter.log("network boot is off");
                    self.trouble.end(self.pace.ask);
                    return Ok(());
                }
                Err(error) => {
                    reporter.log(format!("the system is installed, but the machine is not restarted yet: {error}"));
                    pause(self.trouble.note(&error, self.pace.longest))?;
                }
            }
        }
    }

    /// Waits for the last event to be acknowledged, within the limit.
    fn end(&self, reporter: &Reporter) {
        // Whoever asked this process to end does not wait for a master that is gone.
        let is_asked_to_end = signal::cancel_flag().load(Ordering::SeqCst);
        let within = if is_asked_to_end { self.pace.last_event.min(WHEN_ASKED_TO_END) } else { self.pace.last_event };
        if let Err(error) = reporter.flush(within) {
            warn!("not all events of the run have arrived: {error}");
        }
    }

    fn send_report(&mut self) -> Result<()> {
        if let Some((node, report)) = &self.unsent {
            self.master.post_report(*node, report)?;
            self.unsent = None;
        }
        Ok(())
    }
}

/// Failures in a row: told once each, with growing pauses between the attempts.
struct Trouble {
    pause: Duration,
    last: Option<String>,
}

impl Trouble {
    /// Tells of a failure unless it is the same as before, and says how long to wait.
    fn note(&mut self, error: &Error, longest: Duration) -> Duration {
        let words = error.to_string();
        if self.last.as_ref() == Some(&words) {
            debug!("still: {words}");
        } else {
            warn!("{words}");
            self.last = Some(words);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(longest);
        pause
    }

    fn end(&mut self, first: Duration) {
        if self.last.take().is_some() {
            info!("the master answers again");
        }
        self.pause = first;
    }
}
