//! A person's orders that destroy nothing: cancel, local boot, discover again.

use log::info;

use super::ident::Mac;
use super::node::{NextBoot, Status};
use super::refusal::Refusal;
use super::state::{Master, stranger_path};
use super::view::Summary;

impl Master {
    /// Takes a release back. A run that goes on is given up, not stopped: the agent does not ask again.
    ///
    /// # Errors
    /// 404 and 409 for the name, 409 when nothing is released.
    pub(crate) fn cancel(&self, key: &str) -> Result<Summary, Refusal> {
        let slot = self.named(key)?;
        let mut live = slot.lock();
        if !self.change(&mut live, |node, now| node.cancel(now))? {
            let label = live.node.label();
            return Err(Refusal::conflict(format!("{label} is {}: nothing to cancel", live.node.status.as_str())));
        }
        info!("cancel: {}", live.node.label());
        Ok(Summary::of(&live.node))
    }

    /// The next network boot starts from the disk; a release that waits is taken back.
    ///
    /// # Errors
    /// 404 and 409 for the name.
    pub(crate) fn local_boot(&self, key: &str) -> Result<Summary, Refusal> {
        let slot = self.named(key)?;
        let mut live = slot.lock();
        self.change(&mut live, |node, now| {
            if node.status == Status::Released {
                node.cancel(now);
            }
            node.next_boot = NextBoot::LocalDisk;
        })?;
        info!("local-boot: {}", live.node.label());
        Ok(Summary::of(&live.node))
    }

    /// The next network boot gets the bootstrap once more, for discovery only. A machine that never reported is
    /// forgotten, which comes to the same.
    ///
    /// # Errors
    /// 404 and 409 for the name, 409 while a release or a run goes on.
    pub(crate) fn discover_again(&self, key: &str) -> Result<Summary, Refusal> {
        if let Ok(mac) = key.parse::<Mac>() {
            let mut index = self.index();
            if let Some(boot) = index.strangers.remove(&mac) {
                self.store.remove(&stranger_path(mac))?;
                info!("discover: {mac}, which never reported");
                return Ok(Summary::of(&super::node::Node::new(0, mac, &boot.at)));
            }
        }
        let slot = self.named(key)?;
        let mut live = slot.lock();
        if matches!(live.node.status, Status::Released | Status::Provisioning) {
            let label = live.node.label();
            return Err(Refusal::conflict(format!("{label} is {}: cancel that first", live.node.status.as_str())));
        }
        self.change(&mut live, |node, _| node.next_boot = NextBoot::Discovery)?;
        info!("discover: {}", live.node.label());
        Ok(Summary::of(&live.node))
    }
}
