//! Boot loaders, and boot scripts for iPXE and GRUB.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Caller, blocking, images};
use crate::master::boots;
use crate::master::ident::{self, Mac};
use crate::master::refusal::Refusal;
use crate::master::scripts::{self, Loader};
use crate::master::state::{GRUB_CONFIGURATION, LOADERS, Master};

pub(super) fn routes() -> Router<Arc<Master>> {
    Router::new()
        .route("/boot.ipxe", get(ipxe_script))
        .route("/boot.grub/{mac}/{uuid}", get(grub_script))
        .route("/boot.grub/{mac}/", get(grub_script_without_uuid))
        .route("/grub/grub.cfg", get(grub_configuration))
        .route("/loaders/{*name}", get(boot_loader))
}

/// Without `mac` the script that asks again with it; with it what this machine is to start.
async fn ipxe_script(
    State(master): State<Arc<Master>>,
    caller: Caller,
    Query(query): Query<HashMap<String, String>>,
) -> Result<impl IntoResponse, Refusal> {
    let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    if !query.contains_key("mac") {
        return Ok(script(scripts::ipxe_first(&master.url)));
    }
    let caller = boots::Caller {
        loader: Loader::Ipxe,
        mac: mac(text("mac"))?,
        uuid: ident::smbios_uuid(text("uuid")),
        serial: ident::serial(text("serial")),
        peer: caller.peer,
    };
    Ok(script(blocking(master, move |master| Ok(master.boot_script(caller)?)).await?))
}

/// What this machine is to start. `HEAD`, with which firmware asks for the length before it reads, decides nothing: the
/// scripts have one length.
async fn grub_script(
    State(master): State<Arc<Master>>,
    caller: Caller,
    method: Method,
    Path((address, uuid)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let caller = boots::Caller {
        loader: Loader::Grub,
        mac: mac(&address)?,
        uuid: ident::smbios_uuid(&uuid),
        serial: None,
        peer: caller.peer,
    };
    if method == Method::HEAD {
        return Ok(script("\n".repeat(scripts::GRUB_LENGTH)).into_response());
    }
    Ok(script(blocking(master, move |master| Ok(master.boot_script(caller)?)).await?).into_response())
}

async fn grub_script_without_uuid(
    master: State<Arc<Master>>,
    caller: Caller,
    method: Method,
    Path(mac): Path<String>,
) -> Result<Response, Refusal> {
    grub_script(master, caller, method, Path((mac, String::new()))).await
}

fn mac(text: &str) -> Result<Mac, Refusal> {
    text.parse().map_err(|refused| Refusal::bad(format!("mac: {refused}")))
}

/// Each script holds its own token.
fn script(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text)
}

/// Where GRUB that came over HTTP looks: from the root, wherever it was itself.
async fn grub_configuration(
    master: State<Arc<Master>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = master.store.path(GRUB_CONFIGURATION);
    images::serve(master.0, path, method, headers).await
}

/// A file beside `shimx64.efi`. Shim asks with two slashes for what lies beside it.
async fn boot_loader(
    State(master): State<Arc<Master>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = name.trim_start_matches('/');
    if !images::is_file_name(name) {
        return Err(Refusal::absent("no such boot loader"));
    }
    let path = master.store.path(&format!("{LOADERS}/{name}"));
    images::serve(master, path, method, headers).await
}
