//! Kernel, initrd and images: files with ranges, in chunks of bounded size.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use log::{debug, warn};
use time::OffsetDateTime;

use super::blocking;
use super::range::{Part, names_tag, part};
use crate::error::{Context as _, Kind};
use crate::master::bootstraps::metadata::{ImageId, Part as ImagePart};
use crate::master::refusal::Refusal;
use crate::master::state::Master;

/// Bytes that are read at once. Two of them a reader are in memory: 200 readers hold 50 MiB.
const CHUNK: u64 = 128 << 10;

pub(super) fn routes() -> Router<Arc<Master>> {
    // axum answers HEAD through GET handlers and drops the body.
    Router::new()
        .route("/bootstrap/{name}", get(bootstrap_file))
        .route("/bootstraps/{id}/{name}", get(image_file))
        .route("/targetimages/{name}", get(target_image))
}

async fn bootstrap_file(
    State(master): State<Arc<Master>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !matches!(name.as_str(), "vmlinuz" | "initrd.img" | "root.squashfs") {
        return Err(Refusal::absent("the bootstrap has vmlinuz, initrd.img and root.squashfs"));
    }
    let path = master.store.path(&format!("bootstrap/{name}"));
    serve(master, path, method, headers).await
}

/// A file of a bootstrap image, the active one or another: nodes go on with what they began with.
async fn image_file(
    State(master): State<Arc<Master>>,
    Path((id, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (Ok(id), Some(part)) = (id.parse::<ImageId>(), ImagePart::of_file(&name)) else {
        return Err(Refusal::absent("a bootstrap image has vmlinuz, initrd.img and root.squashfs"));
    };
    let path = master.images.folder().join(id.as_str()).join(part.file());
    serve(master, path, method, headers).await
}

async fn target_image(
    State(master): State<Arc<Master>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !is_file_name(&name) {
        return Err(Refusal::absent("no such image"));
    }
    let path = master.store.path(&format!("targetimages/{name}"));
    serve(master, path, method, headers).await
}

/// One path component that is neither hidden nor a way out.
pub(in crate::master) fn is_file_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~' | b'@');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(is_letter)
}

/// Answers with a file.
pub(super) async fn serve(
    master: Arc<Master>,
    path: PathBuf,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (file, meta) = blocking(master, move |_| open(&path)).await?;
    let length = meta.len();
    let tag = tag(&meta);
    let modified = http_date(&meta);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut answer = Response::new(Body::empty());
    for (name, value) in [
        (header::ETAG, Some(tag.clone())),
        (header::LAST_MODIFIED, modified.clone()),
        (header::ACCEPT_RANGES, Some("bytes".to_owned())),
        (header::CONTENT_TYPE, Some("application/octet-stream".to_owned())),
    ] {
        let value = value.map(|value| HeaderValue::from_str(&value)).transpose();
        if let Some(value) = value.context(Kind::Bug, || format!("making the header {name}"))? {
            answer.headers_mut().insert(name, value);
        }
    }
    let is_known = match text(header::IF_NONE_MATCH) {
        Some(tags) => names_tag(tags, &tag),
        None => modified.is_some() && text(header::IF_MODIFIED_SINCE) == modified.as_deref(),
    };
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    // If-Range: the range counts only for the very file that the first part came from.
    let is_same_file = text(header::IF_RANGE)
        .is_none_or(|seen| seen == tag || (modified.is_some() && Some(seen) == modified.as_deref()));
    let part = if is_same_file { part(text(header::RANGE), length) } else { Part::Whole };
    let (status, first, count, range) = match part {
        Part::Whole => (StatusCode::OK, 0, length, None),
        Part::Bytes { first, last } => {
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(format!("bytes {first}-{last}/{length}")))
        }
        Part::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0, Some(format!("bytes */{length}"))),
    };
    *answer.status_mut() = status;
    if let Some(range) = range {
        let range = HeaderValue::from_str(&range).context(Kind::Bug, || "making the header content-range")?;
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    if method != Method::HEAD && count > 0 {
        *answer.body_mut() = body(file, first, count);
    }
    Ok(answer.into_response())
}

/// The bytes of a file in chunks; one is read when the one before has been sent.
fn body(file: File, first: u64, count: u64) -> Body {
    let file = Arc::new(file);
    let end = first.saturating_add(count);
    Body::from_stream(stream::unfold(first, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= end {
                return None;
            }
            let length = usize::try_from(CHUNK.min(end - at)).unwrap_or(0);
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0_u8; length];
                file.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
            });
            let chunk = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            if let Err(error) = &chunk {
                // The connection breaks off, which the reader sees as a short body.
                warn!("reading a file at byte {at}: {error}");
            }
            let next = if chunk.is_ok() { at.saturating_add(CHUNK) } else { end };
            Some((chunk, next))
        }
    }))
}

fn open(path: &FilePath) -> Result<(File, Metadata), Refusal> {
    let absent = || Refusal::absent("no such file");
    let file = File::open(path).map_err(|error| {
        debug!("opening {}: {error}", path.display());
        absent()
    })?;
    let meta = file.metadata().context(Kind::Medium, || format!("reading {}", path.display()))?;
    if meta.is_file() { Ok((file, meta)) } else { Err(absent()) }
}

/// A strong tag: a file that is replaced by rename gets another inode, one that is rewritten another time.
fn tag(meta: &Metadata) -> String {
    format!("\"{:x}-{:x}-{:x}.{:x}\"", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(meta: &Metadata) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(meta.mtime()).ok()?;
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    let (weekday, month) = (weekday.get(..3)?, month.get(..3)?);
    let (hour, minute, second) = time.to_hms();
    Some(format!("{weekday}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", time.day(), time.year()))
}
