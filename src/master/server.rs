//! The listener and the watchdog.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use log::{debug, error, info, warn};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context as _, Error, Kind, Result};

use super::http;
use super::state::Master;
use super::watchdog;

/// A connection that cannot be accepted is tried again after this.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

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
    /// When signals cannot be waited for.
    pub async fn run(self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context(Kind::Bug, || "waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context(Kind::Bug, || "waiting for SIGINT")?;
        let watchdog = tokio::spawn(watch(Arc::clone(&self.master)));
        let builds = Arc::clone(&self.master.builds);
        tokio::select! {
            () = accept(&self.listener, http::routes(self.master)) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        watchdog.abort();
        // A build that is cut off in the middle would be found out at the next start alone.
        if let Err(cause) = tokio::task::spawn_blocking(move || builds.stop()).await {
            error!("ending the build that goes on: {cause}");
        }
        info!("stopped");
        Ok(())
    }
}

/// Serves every connection that comes, for ever.
async fn accept(listener: &TcpListener, routes: axum::Router) {
    let routes = TowerToHyperService::new(routes);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // As a rule too many open files: those that are served go on, and give some back.
                warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let routes = routes.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.call(request)
        });
        tokio::spawn(async move {
            // GRUB knows `Content-Length` by this spelling alone, and waits for ever for the end of what has no length.
            let mut connections = http1::Builder::new();
            let served = connections.title_case_headers(true).serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                debug!("serving {peer}: {error}");
            }
        });
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
