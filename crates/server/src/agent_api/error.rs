//! Errors of the agent API: a status that the agent can act on, and a text for its log.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use novanet_control::{ControlError, error_chain};

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
        let text = error_chain(&self.0);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(error = text, remedy = self.0.remedy(), "agent API");
        }
        (status, text).into_response()
    }
}
