//! Bytes of an image, part by part: neither side holds a whole image in memory.

use crate::agent_api::error::ApiError;
use crate::state::State as Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use novanet_control::error_chain;
use std::sync::Arc;

pub(crate) async fn image(
    State(state): State<Arc<Shared>>,
    Path(digest): Path<String>,
) -> Result<Response, ApiError> {
    let Some(first) = state.cloud.image_part(&digest, 0).await? else {
        return Ok((StatusCode::NOT_FOUND, format!("image {digest} not found")).into_response());
    };
    let parts = stream::try_unfold(
        (state, digest, 1, Some(first)),
        |(state, digest, n, data)| async move {
            let Some(data) = data else { return Ok(None) };
            let next = state.cloud.image_part(&digest, n).await.map_err(|error| {
                tracing::warn!(
                    error = error_chain(&error),
                    remedy = error.remedy(),
                    "image"
                );
                std::io::Error::other("the image's next part could not be read")
            })?;
            Ok::<_, std::io::Error>(Some((data, (state, digest, n + 1, next))))
        },
    );
    Ok(Body::from_stream(parts).into_response())
}
