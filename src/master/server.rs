//! The listener and the watchdog.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use log::{error, info};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context as _, Error, Kind, Result};

use super::http;
use super::state::Master;
use super::watchdog;

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state folder.
    pub dir: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where nodes reach this master; the address it listens on when absent.
    pub url: Option<String>,
}

/// Tells the command line where the master of a folder listens.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Endpoint {
    /// For callers on the same machine.
    pub(super) url: String,
    /// For nodes.
    pub(super) nodes_url: String,
}

/// A master that listens.
pub struct Server {
    listener: TcpListener,
    master: Arc<Master>,
}

impl Server {
    /// Reads the state, locks it, and listens.
    ///
    /// # Errors
    /// `Refused` when another master serves the folder; `Usage` when the folder, the address or the URL is no good.
    pub async fn bind(settings: &Settings) -> Result<Self> {
        let listen = settings.listen;
        let listener = TcpListener::bind(listen).await.context(Kind::Usage, || format!("listening on {listen}"))?;
        let address = listener.local_addr().context(Kind::Usage, || format!("listening on {listen}"))?;
        let url = match &settings.url {
            Some(url) => checked_url(url)?,
            None if address.ip().is_unspecified() => {
                return Err(Error::new(Kind::Usage, format!("nodes cannot reach {address}"))
                    .advise("give --url with the address that nodes use"));
            }
            None => format!("http://{address}"),
        };
        let dir = settings.dir.clone();
        let master = tokio::task::spawn_blocking(move || Master::open(&dir, &url))
            .await
            .context(Kind::Bug, || "opening the state folder")??;
        let endpoint = Endpoint { url: format!("http://{}", reachable(address)), nodes_url: master.url.clone() };
        master.store.write_json("endpoint.json", &endpoint)?;
        info!("listening on {address}, nodes use {}", master.url);
        Ok(Self { listener, master: Arc::new(master) })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// When the socket has none.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context(Kind::Bug, || "asking the socket for its address")
    }

    /// Serves until SIGTERM or SIGINT. What was answered is on disk: it simply stops.
    ///
    /// # Errors
    /// When the listener fails or signals cannot be waited for.
    pub async fn run(self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context(Kind::Bug, || "waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context(Kind::Bug, || "waiting for SIGINT")?;
        let watchdog = tokio::spawn(watch(Arc::clone(&self.master)));
        let routes = http::routes(self.master).into_make_service_with_connect_info::<SocketAddr>();
        let served = tokio::select! {
            served = async { axum::serve(self.listener, routes).await } => served.context(Kind::Bug, || "serving"),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        watchdog.abort();
        info!("stopped");
        served
    }
}

async fn watch(master: Arc<Master>) {
    let mut tick = tokio::time::interval(watchdog::INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let master = Arc::clone(&master);
        if let Err(cause) = tokio::task::spawn_blocking(move || master.look_for_silence()).await {
            error!("looking for silent nodes: {cause}");
        }
    }
}

/// The address for a caller on the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}

/// It stands in iPXE scripts and on kernel lines.
pub(super) fn checked_url(url: &str) -> Result<String> {
    let url = url.trim_end_matches('/');
    let host = url.strip_prefix("http://").unwrap_or_default();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'/');
    if host.is_empty() || host.starts_with('/') || !host.bytes().all(is_letter) {
        return Err(Error::new(Kind::Usage, format!("--url {url}: expected http://HOST[:PORT]"))
            .advise("firmware and iPXE fetch over plain HTTP"));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_cannot_break_a_script() {
        assert_eq!(checked_url("http://10.0.2.2:8200/").unwrap(), "http://10.0.2.2:8200");
        for url in ["", "http://", "https://a", "http://a b", "http://a\nboot", "http://${net0/ip}", "http:///x"] {
            assert!(checked_url(url).is_err(), "{url:?} was taken");
        }
    }
}
