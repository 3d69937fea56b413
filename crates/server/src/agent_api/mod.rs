//! The agent API: what hosts ask and report, as JSON over HTTP/1.1 (docs/agent-protocol.md). Only
//! root and the cloud's owner can open its unix socket; between hosts it will be TLS.

mod error;
pub(crate) use error::ApiError;
mod images;

use crate::state::State as Shared;
use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use novanet_model::wire::{
    Answer, Depth, Digest, Follow, Hello, Leases, Metadata, Objects, Status,
};
use novanet_model::{HostAddresses, InstanceId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a follower may wait, in milliseconds.
const MAX_WAIT_MS: u64 = 30_000;

/// A status with errors for ten thousand objects fits.
const MAX_BODY: usize = 16 << 20;

type Result<T> = std::result::Result<T, ApiError>;

pub(crate) fn router(state: Arc<Shared>) -> axum::Router {
    axum::Router::new()
        .route("/agent/v1/hosts/{host}/hello", post(hello))
        .route("/agent/v1/hosts/{host}/objects", get(objects))
        .route("/agent/v1/hosts/{host}/digest", get(digest))
        .route("/agent/v1/hosts/{host}/status", post(status))
        .route("/agent/v1/hosts/{host}/leases", post(leases))
        .route("/agent/v1/hosts/{host}/addresses", post(addresses))
        .route("/agent/v1/hosts/{host}/answers/{id}", post(answer))
        .route("/agent/v1/hosts/{host}/metadata/{instance}", get(metadata))
        .route("/agent/v1/images/{digest}", get(images::image))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn hello(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Json(hello): Json<Hello>,
) -> Result<StatusCode> {
    state.cloud.hello(&host, &hello).await?;
    tracing::info!(host, version = hello.version, "agent said hello");
    Ok(StatusCode::NO_CONTENT)
}

/// The long poll: answers at once with a list or with changes, else when there is news, else with
/// an empty delta when the time is over.
async fn objects(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Query(mut follow): Query<Follow>,
) -> Result<Json<Objects>> {
    let until = Instant::now() + Duration::from_millis(follow.wait_ms.min(MAX_WAIT_MS));
    let mut hints = state.cloud.db().hints().follow(&host);
    loop {
        hints.borrow_and_update();
        // Registered before looking, or a question asked in between would wait for the next poll.
        let asked = state.questions.asked();
        tokio::pin!(asked);
        asked.as_mut().enable();
        let mut objects = state.cloud.follow(&host, &follow).await?;
        objects.questions = state.questions.take(&host);
        let news = objects.whole || !objects.changes.is_empty() || !objects.questions.is_empty();
        if news || Instant::now() >= until {
            return Ok(Json(objects));
        }
        follow.after = objects.version;
        tokio::select! {
            _ = hints.changed() => {}
            () = asked => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

async fn digest(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Query(Depth { full }): Query<Depth>,
) -> Result<Json<Digest>> {
    Ok(Json(if full {
        state.cloud.full_digest(&host).await?
    } else {
        state.cloud.digest(&host).await?
    }))
}

async fn status(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Json(status): Json<Status>,
) -> Result<StatusCode> {
    state.cloud.status(&host, &status).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn leases(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Json(leases): Json<Leases>,
) -> Result<StatusCode> {
    state.cloud.leases(&host, &leases.events).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn addresses(
    State(state): State<Arc<Shared>>,
    Path(host): Path<String>,
    Json(addresses): Json<HostAddresses>,
) -> Result<StatusCode> {
    state.cloud.report_addresses(&host, &addresses).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn answer(
    State(state): State<Arc<Shared>>,
    Path((host, id)): Path<(String, String)>,
    Json(answer): Json<Answer>,
) -> StatusCode {
    if state.questions.answer(&host, &id, answer) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::GONE
    }
}

async fn metadata(
    State(state): State<Arc<Shared>>,
    Path((host, instance)): Path<(String, String)>,
) -> Result<Json<Metadata>> {
    // Both spellings: the number of a host object, and EC2's id.
    let id = instance
        .parse::<i64>()
        .map(InstanceId)
        .or_else(|_| instance.parse::<InstanceId>())
        .map_err(novanet_control::ControlError::from)?;
    Ok(Json(state.cloud.metadata(&host, id).await?))
}
