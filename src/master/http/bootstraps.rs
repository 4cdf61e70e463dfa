//! Bootstrap images, as operators keep and build them.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{self, Receiver};

use super::operator::order;
use super::{Caller, blocking, read_body};
use crate::error::{Error, Kind};
use crate::master::bootstraps::Imported;
use crate::master::bootstraps::activation::Activation;
use crate::master::bootstraps::build::Options;
use crate::master::bootstraps::repository::Repository;
use crate::master::bootstraps::settings::Variant;
use crate::master::bootstraps::store::List;
use crate::master::builds::Build;
use crate::master::images::SettingsView;
use crate::master::refusal::Refusal;
use crate::master::state::Master;

/// Archives are shorter.
const ARCHIVE_LIMIT: u64 = 16 << 30;

/// The next part of an archive must come within this time.
const PART_WITHIN: Duration = Duration::from_secs(60);

/// Settings and orders are shorter: a site has some ten repositories.
const SETTINGS_LIMIT: usize = 256 << 10;

/// Where the next part of a log begins.
const NEXT: HeaderName = HeaderName::from_static("x-bedplate-next-offset");

type Shared = State<Arc<Master>>;

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new()
        .route("/api/operator/bootstraps", get(list).post(import))
        .route("/api/operator/bootstraps/rollback", post(roll_back))
        .route("/api/operator/bootstraps/settings", get(settings).put(set))
        .route("/api/operator/bootstraps/build", get(last_build).post(build))
        .route("/api/operator/bootstraps/build/log", get(log))
        .route("/api/operator/bootstraps/build/cancel", post(cancel))
        .route("/api/operator/bootstraps/images/{id}", axum::routing::delete(delete))
        .route("/api/operator/bootstraps/images/{id}/activate", post(activate))
}

/// Operators are told everything: what is wrong with their images, their settings, their Cobbler.
fn told(error: Error) -> Refusal {
    let status = match error.kind() {
        Kind::Usage | Kind::Request => StatusCode::BAD_REQUEST,
        Kind::Image => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Refused => StatusCode::CONFLICT,
        Kind::Master => StatusCode::BAD_GATEWAY,
        _ => return error.into(),
    };
    let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
    Refusal { status, message: format!("{error}{advice}"), errors: error.faults() }
}

async fn list(State(master): Shared, caller: Caller) -> Result<Json<List>, Refusal> {
    caller.operator(&master)?;
    blocking(master, |master| master.images.list().map(Json).map_err(told)).await
}

/// The body of a call, for who reads and waits.
struct Parts {
    parts: Receiver<std::io::Result<Bytes>>,
    part: Bytes,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let count = self.part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.part.split_to(count));
        Ok(count)
    }
}

/// Takes an archive as it comes: no more than some parts of it are in memory.
async fn import(State(master): Shared, caller: Caller, body: Body) -> Result<(StatusCode, Json<Imported>), Refusal> {
    caller.operator(&master)?;
    let (send, parts) = mpsc::channel(4);
    let images = master.images.clone();
    let importing = tokio::task::spawn_blocking(move || images.import_stream(Parts { parts, part: Bytes::new() }));
    let mut stream = body.into_data_stream();
    let mut received: u64 = 0;
    let refusal = loop {
        let part = match tokio::time::timeout(PART_WITHIN, stream.next()).await {
            Ok(None) => break None,
            Ok(Some(Ok(part))) => part,
            Ok(Some(Err(error))) => break Some(Refusal::bad(format!("the body broke off: {error}"))),
            Err(_) => break Some(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        };
        received = received.saturating_add(crate::units::widen(part.len()));
        if received > ARCHIVE_LIMIT {
            break Some(Refusal::too_large(format!("the archive is longer than {ARCHIVE_LIMIT} bytes")));
        }
        // Whoever reads no more has seen enough of it.
        if send.send(Ok(part)).await.is_err() {
            break None;
        }
    };
    if refusal.is_some() {
        // A part that is missing is no end.
        let _ended = send.send(Err(std::io::Error::other("the body broke off"))).await;
    }
    drop(send);
    let imported =
        importing.await.unwrap_or_else(|error| Err(Error::bug(format!("an import ended by itself: {error}"))));
    match (refusal, imported) {
        (Some(refusal), Err(_)) => Err(refusal),
        (_, Err(error)) => Err(told(error.within("importing the archive"))),
        (_, Ok(imported)) => Ok((StatusCode::CREATED, Json(imported))),
    }
}

async fn activate(State(master): Shared, caller: Caller, Path(id): Path<String>) -> Result<Json<Activation>, Refusal> {
    caller.operator(&master)?;
    blocking(master, move |master| {
        exists(master, &id)?;
        master.activate(&id).map(Json).map_err(told)
    })
    .await
}

async fn roll_back(State(master): Shared, caller: Caller) -> Result<Json<Activation>, Refusal> {
    caller.operator(&master)?;
    blocking(master, |master| master.roll_back().map(Json).map_err(told)).await
}

async fn delete(
    State(master): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<List>, Refusal> {
    caller.operator(&master)?;
    let is_forced = query.get("force").is_some_and(|force| force == "true");
    blocking(master, move |master| {
        exists(master, &id)?;
        master.images.delete(&id, is_forced).map_err(told)?;
        master.images.list().map(Json).map_err(told)
    })
    .await
}

/// # Errors
/// 404 when there is no such image, whole or broken.
fn exists(master: &Master, id: &str) -> Result<(), Refusal> {
    let list = master.images.list().map_err(told)?;
    if list.images.iter().any(|image| image.uuid == id) {
        return Ok(());
    }
    Err(Refusal::absent(format!("there is no bootstrap image {:?}", crate::master::ident::shortened(id))))
}

async fn settings(State(master): Shared, caller: Caller) -> Result<Json<SettingsView>, Refusal> {
    caller.operator(&master)?;
    blocking(master, |master| master.bootstrap_settings().map(Json).map_err(told)).await
}

async fn set(State(master): Shared, caller: Caller, body: Body) -> Result<Json<SettingsView>, Refusal> {
    caller.operator(&master)?;
    let body = read_body(body, SETTINGS_LIMIT).await?;
    let changes: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the body is not an object of settings: {error}")))?;
    blocking(master, move |master| master.set_bootstrap_settings(changes).map(Json).map_err(told)).await
}

/// What one build is to have beside the settings.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct BuildOrder {
    label: Option<String>,
    suite: Option<String>,
    repos: Vec<Repository>,
    allow_unsigned: BTreeSet<String>,
    packages: BTreeSet<String>,
    kernel_flavor: Option<String>,
    variant: Option<Variant>,
    extend_kopts: Option<String>,
    activate: bool,
}

async fn build(State(master): Shared, caller: Caller, body: Body) -> Result<(StatusCode, Json<Build>), Refusal> {
    caller.operator(&master)?;
    let order: BuildOrder = order(body, SETTINGS_LIMIT).await?;
    let activates = order.activate;
    let options = Options {
        label: order.label,
        suite: order.suite,
        repos: order.repos,
        allow_unsigned: order.allow_unsigned,
        packages: order.packages,
        kernel_flavor: order.kernel_flavor,
        variant: order.variant,
        extend_kopts: order.extend_kopts,
        ..Options::default()
    };
    let own = Arc::clone(&master);
    let build = blocking(master, move |_| own.build(options, activates).map_err(told)).await?;
    Ok((StatusCode::ACCEPTED, Json(build)))
}

async fn last_build(State(master): Shared, caller: Caller) -> Result<Json<Build>, Refusal> {
    caller.operator(&master)?;
    master.builds.last().map(Json).ok_or_else(|| Refusal::absent("nothing was built yet"))
}

async fn log(
    State(master): Shared,
    caller: Caller,
    Query(query): Query<HashMap<String, String>>,
) -> Result<impl IntoResponse, Refusal> {
    caller.operator(&master)?;
    let offset = query.get("offset").map_or("0", String::as_str);
    let offset = offset.parse().map_err(|_| Refusal::bad("offset: expected a number of bytes"))?;
    let part = blocking(master, move |master| master.builds.log(offset).map_err(told)).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (NEXT, part.next.to_string()),
    ];
    Ok((headers, part.bytes))
}

async fn cancel(State(master): Shared, caller: Caller) -> Result<(StatusCode, Json<Build>), Refusal> {
    caller.operator(&master)?;
    let build = blocking(master, |master| master.builds.cancel().map_err(told)).await?;
    Ok((StatusCode::ACCEPTED, Json(build)))
}
