//! What a network boot gets: the bootstrap, or the node's own disk.

use std::net::IpAddr;

use log::{info, warn};

use crate::error::Result;
use crate::request::Secret;
use crate::sys::clock;

use super::config::LocalBoot;
use super::ident::Mac;
use super::node::{Boot, NextBoot, Status};
use super::state::{Master, stranger_path};
use super::token::{self, TokenDigest};

/// Who asks for a boot script.
pub(crate) struct Caller {
    pub mac: Mac,
    pub uuid: Option<String>,
    pub serial: Option<String>,
    pub peer: IpAddr,
}

impl Master {
    /// The script for a machine that says who it is.
    ///
    /// # Errors
    /// When the state cannot be stored, or the bootstrap to be served is not whole; then no token was handed out.
    pub(crate) fn boot_script(&self, caller: Caller) -> Result<String> {
        let (mac, peer) = (caller.mac, caller.peer);
        let (token, boot) = fresh_boot(caller)?;
        let Some(slot) = self.slot_of(mac) else { return self.boot_stranger(&token, boot) };
        let mut live = slot.lock();
        let label = live.node.label();
        match (live.node.next_boot, live.node.status) {
            (NextBoot::Provision, Status::Released) => {
                let mode = self.mode_arguments()?;
                self.change(&mut live, |node, _| node.boot = Some(boot))?;
                info!("boot.ipxe: {label} at {peer}: bootstrap, released");
                Ok(self.bootstrap(mac, &token, &mode))
            }
            (NextBoot::Discovery, _) => {
                let mode = self.mode_arguments()?;
                self.change(&mut live, |node, _| {
                    node.boot = Some(boot);
                    node.next_boot = NextBoot::LocalDisk;
                })?;
                info!("boot.ipxe: {label} at {peer}: bootstrap, discovery only");
                Ok(self.bootstrap(mac, &token, &mode))
            }
            (_, status) => {
                let is_same_machine = live.node.boot.as_ref().is_some_and(|boot| boot.peer == peer);
                if status == Status::Provisioning && is_same_machine {
                    let reason = "it started again before its run ended".to_owned();
                    self.change(&mut live, |node, now| node.presume_failed(reason, now))?;
                }
                info!("boot.ipxe: {label} at {peer}: own disk ({})", live.node.status.as_str());
                Ok(self.local_disk())
            }
        }
    }

    fn boot_stranger(&self, token: &Secret, boot: Boot) -> Result<String> {
        let (mac, peer) = (boot.mac, boot.peer);
        let mut index = self.index();
        if index.strangers.contains_key(&mac) {
            info!("boot.ipxe: {mac} at {peer}: own disk (was served the bootstrap and never reported)");
            return Ok(self.local_disk());
        }
        if index.strangers.len() >= self.config.max_strangers {
            warn!("boot.ipxe: {mac} at {peer}: own disk (max_strangers = {} reached)", self.config.max_strangers);
            return Ok(self.local_disk());
        }
        let mode = self.mode_arguments()?;
        self.store.write_json(&stranger_path(mac), &boot)?;
        index.strangers.insert(mac, boot);
        info!("boot.ipxe: {mac} at {peer}: bootstrap, unknown machine, discovery only");
        Ok(self.bootstrap(mac, token, &mode))
    }

    /// The script that asks again with the machine's identities.
    pub(crate) fn first_script(&self) -> String {
        format!(
            "#!ipxe\n\
             chain --replace {}/boot.ipxe?mac=${{netX/mac}}&uuid=${{uuid}}&serial=${{serial:uristring}} || exit\n",
            self.url
        )
    }

    /// Everything in it is made or parsed here: no text of a node.
    fn bootstrap(&self, mac: Mac, token: &Secret, mode: &str) -> String {
        let (url, bootif) = (&self.url, mac.bootif());
        let arguments = if self.config.kernel_args.trim().is_empty() {
            String::new()
        } else {
            format!(" {}", self.config.kernel_args.trim())
        };
        // A UEFI kernel finds the initrd by name; a failed fetch lets the firmware go on with its next device.
        format!(
            "#!ipxe\n\
             echo bedplate: {mac} starts the bootstrap\n\
             kernel {url}/bootstrap/vmlinuz initrd=initrd.img {mode} bedplate.master={url} \
             bedplate.token={} BOOTIF={bootif}{arguments} || goto failed\n\
             initrd --name initrd.img {url}/bootstrap/initrd.img || goto failed\n\
             boot || goto failed\n\
             :failed\n\
             echo bedplate: the bootstrap cannot be fetched\n\
             exit\n",
            token.reveal()
        )
    }

    fn local_disk(&self) -> String {
        let start = match self.config.local_boot {
            LocalBoot::Exit => "exit",
            LocalBoot::Sanboot => "sanboot --no-describe --drive 0x80 || exit",
        };
        format!("#!ipxe\necho bedplate: own disk\n{start}\n")
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
