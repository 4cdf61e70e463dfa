//! What the agent of a boot calls, with the token of its kernel line; and the first boot of the installed system.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Caller, blocking, read_body};
use crate::error::{Context as _, Kind};
use crate::master::refusal::Refusal;
use crate::master::runs::Agent;
use crate::master::state::Master;
use crate::master::token::TokenDigest;

const INVENTORY_LIMIT: usize = 4 << 20;
const EVENTS_LIMIT: usize = 1 << 20;
const REPORT_LIMIT: usize = 4 << 20;
const NETBOOT_LIMIT: usize = 4 << 10;
const PHONE_HOME_LIMIT: usize = 64 << 10;

/// Names the plan that a person saw.
const PLAN_DIGEST: HeaderName = HeaderName::from_static("x-bedplate-plan-digest");

type Shared = State<Arc<Master>>;

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new()
        .route("/api/nodes/{id}/inventory", put(inventory))
        .route("/api/nodes/{id}/request", get(request))
        .route("/api/nodes/{id}/events", post(events))
        .route("/api/nodes/{id}/report", post(report))
        .route("/api/nodes/{id}/netboot", get(netboot).put(set_netboot))
        .route("/phone-home/{token}", post(phone_home))
}

impl Caller {
    fn agent(self, node: u32) -> Agent {
        Agent { node, token: self.token, peer: self.peer }
    }
}

async fn inventory(
    State(master): Shared,
    Path(id): Path<u32>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let body = read_body(body, INVENTORY_LIMIT).await?;
    blocking(master, move |master| master.store_inventory(&caller.agent(id), &body)).await?;
    Ok(Json(json!({ "id": id })))
}

async fn request(State(master): Shared, Path(id): Path<u32>, caller: Caller) -> Result<Response, Refusal> {
    let handed_out = blocking(master, move |master| master.hand_out(&caller.agent(id))).await?;
    let Some(handed_out) = handed_out else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (headers, handed_out.document).into_response();
    if let Some(digest) = handed_out.plan_digest {
        let digest = HeaderValue::from_str(&digest).context(Kind::Bug, || "putting a plan digest into a header")?;
        response.headers_mut().insert(PLAN_DIGEST, digest);
    }
    Ok(response)
}

async fn events(
    State(master): Shared,
    Path(id): Path<u32>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let body = read_body(body, EVENTS_LIMIT).await?;
    let last_seq = blocking(master, move |master| master.store_events(&caller.agent(id), &body)).await?;
    Ok(Json(json!({ "last_seq": last_seq })))
}

async fn report(
    State(master): Shared,
    Path(id): Path<u32>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let body = read_body(body, REPORT_LIMIT).await?;
    blocking(master, move |master| master.store_report(&caller.agent(id), &body)).await?;
    Ok(Json(json!({ "id": id })))
}

async fn netboot(State(master): Shared, Path(id): Path<u32>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let is_enabled = blocking(master, move |master| master.netboot(&caller.agent(id))).await?;
    Ok(Json(json!({ "enabled": is_enabled })))
}

async fn set_netboot(
    State(master): Shared,
    Path(id): Path<u32>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let body = read_body(body, NETBOOT_LIMIT).await?;
    let wanted: Value =
        serde_json::from_slice(&body).map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
    match wanted.get("enabled").and_then(Value::as_bool) {
        Some(false) => {}
        Some(true) => return Err(Refusal::forbidden("a person switches netboot on, by releasing the node")),
        None => return Err(Refusal::bad("enabled: expected true or false")),
    }
    blocking(master, move |master| master.netboot_off(&caller.agent(id))).await?;
    Ok(Json(json!({ "enabled": false })))
}

async fn phone_home(
    State(master): Shared,
    Path(token): Path<String>,
    caller: Caller,
    body: Body,
) -> Result<&'static str, Refusal> {
    let body = read_body(body, PHONE_HOME_LIMIT).await?;
    let form = form(&body);
    let token = TokenDigest::of(&token);
    blocking(master, move |master| master.call_home(&token, caller.peer, &form)).await?;
    Ok("welcome home\n")
}

/// The pairs of an `application/x-www-form-urlencoded` body.
fn form(body: &[u8]) -> Vec<(String, String)> {
    let pairs = body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let cut = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(cut);
            (decoded(name), decoded(value.strip_prefix(b"=").unwrap_or(value)))
        })
        .collect()
}

fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, escaped) {
            (_, Some(byte)) => bytes.push(byte),
            (b'+', None) => bytes.push(b' '),
            (&byte, None) => bytes.push(byte),
        }
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_of_cloud_init_is_decoded() {
        let pairs = form(b"hostname=node-1&pub_key_ed25519=ssh-ed25519+AAAA%2F%2B+root%40node-1&empty=&odd=%zz");
        let expected = [
            ("hostname", "node-1"),
            ("pub_key_ed25519", "ssh-ed25519 AAAA/+ root@node-1"),
            ("empty", ""),
            ("odd", "%zz"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
