//! Gives up nodes that were not heard of in time.

use std::time::Duration;

use log::error;

use super::events;
use super::node::Status;
use super::state::{Live, Master};

/// How often every node is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

impl Master {
    /// Marks nodes as failed that are silent in a run or do not call home after it.
    pub(crate) fn look_for_silence(&self) {
        for slot in self.slots() {
            let mut live = slot.lock();
            let Some(reason) = self.overdue(&live) else { continue };
            if let Err(cause) = self.change(&mut live, |node, now| node.presume_failed(reason, now)) {
                // It stays overdue, and the next look tries again.
                error!("{}: {cause}", live.node.label());
            }
        }
    }

    fn overdue(&self, live: &Live) -> Option<String> {
        match live.node.status {
            Status::Provisioning if live.heard.elapsed() > Duration::from_secs(self.config.silent_after) => {
                let last = events::last(&self.store, live.node.id, 1).ok().and_then(|mut events| events.pop());
                let step = last.and_then(|event| event.step).map(|step| format!(", last heard in step {step}"));
                Some(format!("silent for {} s{}", self.config.silent_after, step.unwrap_or_default()))
            }
            Status::Provisioned if live.status_began.elapsed() > Duration::from_secs(self.config.phone_home_within) => {
                Some(format!("did not call home within {} s after its run", self.config.phone_home_within))
            }
            _ => None,
        }
    }
}
