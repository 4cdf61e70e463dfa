//! What a caller is told when a call is not carried out.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use log::error;
use serde_json::json;

use crate::error::Error;

/// A refused call: the status, a message, and where there are several reasons, each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub message: String,
    pub errors: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new() }
    }

    /// 400: what was sent is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 with every violation; the first one is the message.
    pub(crate) fn violations(errors: Vec<String>) -> Self {
        let message = match errors.as_slice() {
            [] => "refused".to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        Self { status: StatusCode::BAD_REQUEST, message, errors }
    }

    /// 403: not with this token, from this address, or in this state.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404.
    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: the state does not allow it.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

/// A failure of the master itself; the caller learns no paths, the log has it all.
impl From<Error> for Refusal {
    fn from(cause: Error) -> Self {
        error!("{cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the master failed: its log says why")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "message": self.message, "errors": self.errors }))).into_response()
    }
}
