//! Nailgun's discovery interface: what a node reports of itself, checked and stored.

use std::net::IpAddr;
use std::time::Instant;

use log::{info, warn};
use serde_json::Value;

use super::ident::{self, Mac};
use super::node::{Boot, DiskSummary, Hardware, Node, Status};
use super::refusal::Refusal;
use super::schema::{self, Report};
use super::state::{Live, Master, document_path};
use super::token::TokenDigest;

/// What a report led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub id: u32,
    /// Whether it was the same as the last one.
    pub is_cached: bool,
}

impl Master {
    /// `POST /api/nodes/`: a node that is not known yet.
    ///
    /// # Errors
    /// 400 for nonsense, 403 unless it says that it is in discovery, 409 when it is known.
    pub(crate) fn create(&self, body: &[u8], token: Option<&TokenDigest>, peer: IpAddr) -> Result<u32, Refusal> {
        let report = schema::parse(body)?;
        if report.status.as_deref() != Some("discover") {
            return Err(Refusal::forbidden("only a node in status discover can be created"));
        }
        let mac = report.mac.ok_or_else(|| Refusal::bad("mac: missing"))?;
        if !report.has_interfaces {
            return Err(Refusal::bad("meta.interfaces: missing"));
        }
        if let Some(known) = self.find(&report) {
            let label = known.lock().node.label();
            return Err(Refusal::conflict(format!("{label} already exists")));
        }
        let stranger = self.stranger_of(&report, token, peer);
        let slot = self.add_node(mac, |node, served| {
            apply(node, &report);
            node.is_proved = stranger.is_some();
            tie(node, stranger.or_else(|| served.cloned()));
        })?;
        let mut live = slot.lock();
        let id = live.node.id;
        self.store.write_json(&document_path(id, "discovery"), &report.payload)?;
        // The checksum is stored after the document, so that a kill between the two never leaves a stale document.
        self.change(&mut live, |node, _| node.agent_checksum.clone_from(&report.checksum))?;
        let proof = if live.node.is_proved { "with its boot's token" } else { "without a token" };
        info!("discovery: {} at {peer} is new, {proof}: {}", live.node.label(), described(&live.node));
        Ok(id)
    }

    /// `PUT /api/nodes/agent/`: a node that is known.
    ///
    /// # Errors
    /// 400 for nonsense and for a MAC address that no node has, 404 for an id that no node has.
    pub(crate) fn update(&self, body: &[u8], token: Option<&TokenDigest>, peer: IpAddr) -> Result<Reported, Refusal> {
        let report = schema::parse(body)?;
        if report.mac.is_none() && report.id.is_none() {
            return Err(Refusal::bad("neither mac nor id is given"));
        }
        let slot = self.find(&report).ok_or_else(|| match report.mac {
            Some(_) => Refusal::bad("Invalid MAC is specified"),
            None => Refusal::absent("no such node"),
        })?;
        let mut live = slot.lock();
        let is_boot = token.zip(live.node.boot.as_ref()).is_some_and(|(token, boot)| boot.is(token, peer));
        if token.is_some() && !is_boot {
            warn!("{}: discovery from {peer} with a token of another boot", live.node.label());
        }
        live.heard = Instant::now();
        let is_cached = report.checksum.is_some() && report.checksum == live.node.agent_checksum;
        if is_boot && !live.node.is_proved {
            self.change(&mut live, |node, _| node.is_proved = true)?;
        }
        let id = live.node.id;
        if is_cached || !may_change(&live.node, is_boot) {
            return Ok(Reported { id, is_cached });
        }
        self.refresh(&mut live, &report)?;
        info!("discovery: {} at {peer} changed: {}", live.node.label(), described(&live.node));
        Ok(Reported { id, is_cached: false })
    }

    fn refresh(&self, live: &mut Live, report: &Report) -> Result<(), Refusal> {
        let mut payload = report.payload.clone();
        if report.disks.is_empty() {
            // An agent that could not list its disks must not make the master forget them.
            let old: Option<Value> = self.store.read_json(&document_path(live.node.id, "discovery"))?;
            let disks = old.as_ref().and_then(|old| old.pointer("/meta/disks")).cloned();
            if let (Some(disks), Some(Value::Object(meta))) = (disks, payload.get_mut("meta")) {
                meta.insert("disks".to_owned(), disks);
            }
        }
        self.store.write_json(&document_path(live.node.id, "discovery"), &payload)?;
        self.change(live, |node, _| {
            apply(node, report);
            node.agent_checksum.clone_from(&report.checksum);
        })?;
        Ok(())
    }

    /// By `mac`, then `id`, then any interface's address.
    fn find(&self, report: &Report) -> Option<std::sync::Arc<super::state::Slot>> {
        let by_mac = report.mac.and_then(|mac| self.slot_of(mac));
        let by_id = || report.id.and_then(|id| self.slot(id));
        let by_interface = || report.interface_macs.iter().find_map(|&mac| self.slot_of(mac));
        by_mac.or_else(by_id).or_else(by_interface)
    }

    /// The boot of a machine that was unknown when it was served, if this is it.
    fn stranger_of(&self, report: &Report, token: Option<&TokenDigest>, peer: IpAddr) -> Option<Boot> {
        let token = token?;
        let index = self.index();
        let mut macs = report.mac.iter().chain(&report.interface_macs);
        macs.find_map(|mac| index.strangers.get(mac).filter(|boot| boot.is(token, peer))).cloned()
    }
}

/// Whether a report may change what is known: never while a run goes on, and once a node has proved itself by the
/// token of a boot, only with that.
fn may_change(node: &Node, is_boot: bool) -> bool {
    let is_open = matches!(node.status, Status::Discovered | Status::Released | Status::Failed);
    if node.is_proved { is_boot && node.status != Status::Provisioning } else { is_open }
}

fn tie(node: &mut Node, boot: Option<Boot>) {
    let Some(boot) = boot else { return };
    node.uuid = node.uuid.take().or_else(|| boot.uuid.clone());
    node.serial = node.serial.take().or_else(|| boot.serial.clone());
    node.boot = Some(boot);
}

fn apply(node: &mut Node, report: &Report) {
    let text = |pointer: &str| report.payload.pointer(pointer).and_then(Value::as_str).map(ident::shortened);
    let number = |pointer: &str| report.payload.pointer(pointer).and_then(Value::as_u64);
    node.macs = report.interface_macs.iter().copied().chain([node.mac]).collect();
    node.ip = report.ip.or(node.ip);
    let uuid = report.payload.pointer("/meta/system/uuid").and_then(Value::as_str).and_then(ident::smbios_uuid);
    let serial = report.payload.pointer("/meta/system/serial").and_then(Value::as_str).and_then(ident::serial);
    node.uuid = uuid.or_else(|| node.uuid.take());
    node.serial = serial.or_else(|| node.serial.take());
    let disks = match report.disks.is_empty() {
        true => std::mem::take(&mut node.hardware.disks),
        false => report.disks.iter().map(|(name, size)| DiskSummary { name: name.clone(), size: *size }).collect(),
    };
    node.hardware = Hardware {
        manufacturer: text("/meta/system/manufacturer").or_else(|| text("/manufacturer")),
        product: text("/meta/system/product").or_else(|| text("/platform_name")),
        cpus: number("/meta/cpu/total"),
        memory: number("/meta/memory/total"),
        disks,
    };
}

fn described(node: &Node) -> String {
    use crate::units::Bytes;
    let disks = node.hardware.disks.iter().map(|disk| format!("{} {}", disk.name, Bytes::new(disk.size)));
    let disks = disks.collect::<Vec<_>>().join(", ");
    let product = node.hardware.product.as_deref().unwrap_or("unknown product");
    let memory = Bytes::new(node.hardware.memory.unwrap_or(0));
    format!("{product}, {} CPUs, {memory}, disks: {disks}", node.hardware.cpus.unwrap_or(0))
}

/// The interface addresses of a payload, those that are addresses.
pub(crate) fn interface_macs(payload: &Value) -> Vec<Mac> {
    let interfaces = payload.pointer("/meta/interfaces").and_then(Value::as_array);
    let macs = interfaces.into_iter().flatten().filter_map(|interface| interface.get("mac")?.as_str());
    macs.filter_map(Mac::from_nailgun).collect()
}
