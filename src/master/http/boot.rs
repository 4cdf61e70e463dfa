//! Boot scripts, for iPXE.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::{Caller, blocking};
use crate::master::boots;
use crate::master::ident::{self, Mac};
use crate::master::refusal::Refusal;
use crate::master::state::Master;

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new().route("/boot.ipxe", get(boot_script))
}

/// Without `mac` the script that asks again with it; with it what this machine is to start.
async fn boot_script(
    State(master): State<Arc<Master>>,
    caller: Caller,
    Query(query): Query<HashMap<String, String>>,
) -> Result<impl IntoResponse, Refusal> {
    let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let script = if query.contains_key("mac") {
        let mac = text("mac").parse::<Mac>().map_err(|refused| Refusal::bad(format!("mac: {refused}")))?;
        let caller = boots::Caller {
            mac,
            uuid: ident::smbios_uuid(text("uuid")),
            serial: ident::serial(text("serial")),
            peer: caller.peer,
        };
        blocking(master, move |master| Ok(master.boot_script(caller)?)).await?
    } else {
        master.first_script()
    };
    // Each script holds its own token.
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], script))
}
