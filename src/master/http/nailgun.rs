//! Nailgun's discovery interface.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{post, put};
use axum::{Json, Router};
use serde_json::json;

use super::{Caller, blocking, read_body};
use crate::master::refusal::Refusal;
use crate::master::state::Master;

/// A report of a large server with its whole lshw tree is below 1 MiB.
const REPORT_LIMIT: usize = 4 << 20;

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new()
        .route("/api/nodes", post(create))
        .route("/api/nodes/", post(create))
        .route("/api/nodes/agent", put(update))
        .route("/api/nodes/agent/", put(update))
}

async fn create(State(master): State<Arc<Master>>, caller: Caller, body: Body) -> Result<impl IntoResponse, Refusal> {
    let body = read_body(body, REPORT_LIMIT).await?;
    let id = blocking(master, move |master| master.create(&body, caller.token.as_ref(), caller.peer)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn update(State(master): State<Arc<Master>>, caller: Caller, body: Body) -> Result<impl IntoResponse, Refusal> {
    let body = read_body(body, REPORT_LIMIT).await?;
    let reported = blocking(master, move |master| master.update(&body, caller.token.as_ref(), caller.peer)).await?;
    Ok(Json(match reported.is_cached {
        true => json!({ "id": reported.id, "cached": true }),
        false => json!({ "id": reported.id }),
    }))
}
