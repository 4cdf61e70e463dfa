//! What a network boot gets: the bootstrap, or the node's own disk.

use std::net::IpAddr;

use log::{info, warn};

use crate::error::Result;
use crate::request::Secret;
use crate::sys::clock;

use super::ident::Mac;
use super::node::{Boot, NextBoot, Status};
use super::scripts::{self, Bootstrap, Loader, Start};
use super::state::{Master, stranger_path};
use super::token::{self, TokenDigest};

/// Who asks for a boot script.
pub(crate) struct Caller {
    pub loader: Loader,
    pub mac: Mac,
    pub uuid: Option<String>,
    pub serial: Option<String>,
    pub peer: IpAddr,
}

impl Master {
    /// The script for a machine that says who it is.
    ///
    /// # Errors
    /// When the state cannot be stored, the bootstrap to be served is not whole, or the kernel line cannot go through the
    /// boot loader; then no token was handed out.
    pub(crate) fn boot_script(&self, caller: Caller) -> Result<String> {
        let (loader, mac, peer) = (caller.loader, caller.mac, caller.peer);
        let how = loader.name();
        let (token, boot) = fresh_boot(caller)?;
        let Some(slot) = self.slot_of(mac) else { return self.boot_stranger(loader, &token, boot) };
        let mut live = slot.lock();
        let label = live.node.label();
        match (live.node.next_boot, live.node.status) {
            (NextBoot::Provision, Status::Released) => {
                let script = self.bootstrap(loader, mac, &token)?;
                self.change(&mut live, |node, _| node.boot = Some(boot))?;
                info!("{how}: {label} at {peer}: bootstrap, released");
                Ok(script)
            }
            (NextBoot::Discovery, _) => {
                let script = self.bootstrap(loader, mac, &token)?;
                self.change(&mut live, |node, _| {
                    node.boot = Some(boot);
                    node.next_boot = NextBoot::LocalDisk;
                })?;
                info!("{how}: {label} at {peer}: bootstrap, discovery only");
                Ok(script)
            }
            (_, status) => {
                let is_same_machine = live.node.boot.as_ref().is_some_and(|boot| boot.peer == peer);
                if status == Status::Provisioning && is_same_machine {
                    let reason = "it started again before its run ended".to_owned();
                    self.change(&mut live, |node, now| node.presume_failed(reason, now))?;
                }
                info!("{how}: {label} at {peer}: own disk ({})", live.node.status.as_str());
                self.script(loader, &Start::LocalDisk)
            }
        }
    }

    fn boot_stranger(&self, loader: Loader, token: &Secret, boot: Boot) -> Result<String> {
        let (mac, peer, how) = (boot.mac, boot.peer, loader.name());
        let mut index = self.index();
        if index.strangers.contains_key(&mac) {
            info!("{how}: {mac} at {peer}: own disk (was served the bootstrap and never reported)");
            return self.script(loader, &Start::LocalDisk);
        }
        if index.strangers.len() >= self.config.max_strangers {
            warn!("{how}: {mac} at {peer}: own disk (max_strangers = {} reached)", self.config.max_strangers);
            return self.script(loader, &Start::LocalDisk);
        }
        let script = self.bootstrap(loader, mac, token)?;
        self.store.write_json(&stranger_path(mac), &boot)?;
        index.strangers.insert(mac, boot);
        info!("{how}: {mac} at {peer}: bootstrap, unknown machine, discovery only");
        Ok(script)
    }

    fn bootstrap(&self, loader: Loader, mac: Mac, token: &Secret) -> Result<String> {
        let (url, served, bootif) = (&self.url, self.served()?, mac.bootif());
        let mode = &served.arguments;
        let mut arguments = format!("{mode} bedplate.master={url} bedplate.token={} BOOTIF={bootif}", token.reveal());
        if !self.config.kernel_args.trim().is_empty() {
            arguments.push(' ');
            arguments.push_str(self.config.kernel_args.trim());
        }
        let [kernel, initrd] = ["vmlinuz", "initrd.img"].map(|name| format!("{}/{name}", served.folder));
        self.script(loader, &Start::Bootstrap(Bootstrap { mac, kernel, initrd, arguments }))
    }

    fn script(&self, loader: Loader, start: &Start) -> Result<String> {
        match loader {
            Loader::Ipxe => Ok(scripts::ipxe(start, self.config.local_boot)),
            Loader::Grub => scripts::grub(start),
        }
    }
}

fn fresh_boot(caller: Caller) -> Result<(Secret, Boot)> {
    let token = token::fresh()?;
    let boot = Boot {
        token: TokenDigest::of(token.reveal()),
        peer: caller.peer,
        mac: caller.mac,
        at: clock::now_rfc3339(),
        uuid: caller.uuid,
        serial: caller.serial,
    };
    Ok((token, boot))
}
