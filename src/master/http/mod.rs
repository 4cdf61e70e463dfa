//! HTTP: routes by who calls them, limits, and nothing else; what a call does stands beside the state.

mod agent;
mod boot;
mod bootstraps;
mod images;
mod nailgun;
mod operator;
mod range;

pub(super) use images::is_file_name;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use futures_util::StreamExt as _;

use super::refusal::Refusal;
use super::state::Master;
use super::token::TokenDigest;

/// A body must have come within this time.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// All routes.
pub(super) fn routes(master: Arc<Master>) -> Router {
    Router::new()
        .merge(boot::routes())
        .merge(images::routes())
        .merge(nailgun::routes())
        .merge(agent::routes())
        .merge(operator::routes())
        .merge(bootstraps::routes())
        .fallback(|| async { Refusal::absent("no such page") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
        })
        .with_state(master)
}

/// Who calls: the address, and the digest of the bearer token if one was shown.
pub(super) struct Caller {
    pub(super) peer: IpAddr,
    pub(super) token: Option<TokenDigest>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let address = parts.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
        let peer = address.ok_or_else(|| Refusal::forbidden("the peer has no address"))?.0.ip().to_canonical();
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|shown| {
            let (scheme, token) = shown.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| TokenDigest::of(token.trim()))
        });
        Ok(Self { peer, token })
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is longer, 408 when it does not come, 400 when it breaks off.
async fn read_body(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let read = async {
        let mut bytes = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Refusal::bad(format!("the body broke off: {error}")))?;
            if bytes.len().saturating_add(chunk.len()) > limit {
                return Err(Refusal::too_large(format!("the body is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_WITHIN, read)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")))
}

/// Does what waits for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    master: Arc<Master>,
    act: impl FnOnce(&Master) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(move || act(&master))
        .await
        .unwrap_or_else(|error| Err(crate::error::Error::bug(format!("a call ended by itself: {error}")).into()))
}
