//! What a person asks, with the operator's token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use log::warn;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Caller, blocking, read_body};
use crate::master::refusal::Refusal;
use crate::master::release::Shown;
use crate::master::state::Master;
use crate::master::view::{Details, List, Summary};

const ORDER_LIMIT: usize = 4 << 10;

type Shared = State<Arc<Master>>;

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new()
        .route("/api/operator/nodes", get(list))
        .route("/api/operator/nodes/{key}", get(show))
        .route("/api/operator/nodes/{key}/plan", post(plan))
        .route("/api/operator/nodes/{key}/release", post(release))
        .route("/api/operator/nodes/{key}/cancel", post(cancel))
        .route("/api/operator/nodes/{key}/local-boot", post(local_boot))
        .route("/api/operator/nodes/{key}/discover", post(discover))
}

impl Caller {
    /// # Errors
    /// 401 without the operator's token.
    pub(super) fn operator(&self, master: &Master) -> Result<(), Refusal> {
        if self.token.as_ref() == Some(&master.operator) {
            return Ok(());
        }
        warn!("an operator's call from {} without the operator's token was refused", self.peer);
        Err(Refusal::new(axum::http::StatusCode::UNAUTHORIZED, "this needs the token of the file operator.token"))
    }
}

async fn list(State(master): Shared, caller: Caller) -> Result<Json<List>, Refusal> {
    caller.operator(&master)?;
    blocking(master, |master| Ok(Json(master.list()))).await
}

async fn show(State(master): Shared, caller: Caller, Path(key): Path<String>) -> Result<Json<Details>, Refusal> {
    caller.operator(&master)?;
    blocking(master, move |master| {
        let slot = master.named(&key)?;
        let node = slot.lock().node.clone();
        Ok(Json(master.details(&node)?))
    })
    .await
}

/// What is to be planned.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanOrder {
    profile: String,
}

async fn plan(
    State(master): Shared,
    caller: Caller,
    Path(key): Path<String>,
    body: Body,
) -> Result<Json<Shown>, Refusal> {
    caller.operator(&master)?;
    let order: PlanOrder = order(body, ORDER_LIMIT).await?;
    blocking(master, move |master| master.show_plan(&key, &order.profile).map(Json)).await
}

/// Which plan is to be armed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseOrder {
    draft: String,
    #[serde(default)]
    wipe: bool,
}

async fn release(
    State(master): Shared,
    caller: Caller,
    Path(key): Path<String>,
    body: Body,
) -> Result<Json<Summary>, Refusal> {
    caller.operator(&master)?;
    let order: ReleaseOrder = order(body, ORDER_LIMIT).await?;
    blocking(master, move |master| master.arm(&key, &order.draft, order.wipe).map(Json)).await
}

/// Reads an order of at most `limit` bytes.
///
/// # Errors
/// 400 when it is none, and as [`read_body`].
pub(super) async fn order<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Refusal> {
    let body = read_body(body, limit).await?;
    serde_json::from_slice(&body).map_err(|error| Refusal::bad(format!("the body is not an order: {error}")))
}

async fn cancel(State(master): Shared, caller: Caller, Path(key): Path<String>) -> Result<Json<Summary>, Refusal> {
    caller.operator(&master)?;
    blocking(master, move |master| master.cancel(&key).map(Json)).await
}

async fn local_boot(State(master): Shared, caller: Caller, Path(key): Path<String>) -> Result<Json<Summary>, Refusal> {
    caller.operator(&master)?;
    blocking(master, move |master| master.local_boot(&key).map(Json)).await
}

async fn discover(State(master): Shared, caller: Caller, Path(key): Path<String>) -> Result<Json<Summary>, Refusal> {
    caller.operator(&master)?;
    blocking(master, move |master| master.discover_again(&key).map(Json)).await
}
