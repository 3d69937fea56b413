//! Errors of the agent API: a status that the agent can act on, and a text for its log.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use novanet_control::ControlError;
use std::error::Error;
use std::fmt::Write as _;

pub(crate) struct ApiError(ControlError);

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            ControlError::NotFound { .. } => StatusCode::NOT_FOUND,
            ControlError::Invalid(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = chain(&self.0);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(error = text, "agent API");
        }
        (status, text).into_response()
    }
}

/// An error with its causes, for logs.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors name their source already.
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
