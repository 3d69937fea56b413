//! Questions of the operator's command line to a running server that only another host can answer.
//! It is served on the unix socket alone, which only root and the cloud's owner can open, and will
//! never be served to hosts over the network.

use crate::agent_api::ApiError;
use crate::questions::NoAnswer;
use crate::state::State as Shared;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use novanet_model::Micros;
use novanet_model::wire::{Answer, Question};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a host may take to answer. A plan waits for busy subsystems.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(45);

pub(crate) fn router(state: Arc<Shared>) -> axum::Router {
    axum::Router::new()
        .route("/admin/v1/hosts/{host}/questions", post(ask))
        .route("/admin/v1/connections", get(connections))
        .with_state(state)
}

/// How many connections each listener of this server has and had, and how many it refused.
async fn connections(State(state): State<Arc<Shared>>) -> Json<Value> {
    let counts = [&state.ec2_gate, &state.agent_gate].map(|gate| {
        let counts = gate.counts();
        json!({
            "service": gate.name(),
            "open": counts.open,
            "accepted": counts.accepted,
            "refused_source": counts.refused_source,
            "refused_total": counts.refused_total,
            "too_slow": counts.too_slow,
        })
    });
    Json(json!(counts))
}

/// Passes a question on and answers what the host says; texts are for the operator, a line each.
async fn ask(
    State(state): State<Arc<Shared>>,
    Path(name): Path<String>,
    Json(question): Json<Question>,
) -> Result<Json<Answer>, Response> {
    let hosts = state.cloud.hosts().await;
    let hosts = hosts.map_err(|e| ApiError::from(e).into_response())?;
    let Some(host) = hosts.into_iter().find(|host| host.name == name) else {
        let text = format!("host {name} not found: nova-manage host list shows them");
        return Err(refused(StatusCode::NOT_FOUND, text));
    };
    if matches!(question, Question::Cleanup { dry_run: false, .. }) {
        // The host would lose what the answer travels over, and stay empty until its agent is
        // started again: an operator has to be there.
        let text = format!("host {name}: cleanup is done on the host itself only");
        return Err(refused(StatusCode::FORBIDDEN, text));
    }
    let heard = format!("last heard of {}", ago(host.seen_at));
    if !state.cloud.is_up(&host) {
        let text = format!("host {name}: is down, {heard}: see whether novanet agent runs there");
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let answer = state.questions.ask(&name, question, QUESTION_TIMEOUT).await;
    answer.map(Json).map_err(|why| match why {
        NoAnswer::Away => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "host {name}: does not follow this server now, {heard}: see whether novanet agent runs there"
            ),
        ),
        NoAnswer::Crowded => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("host {name}: has too many questions to answer: try again later"),
        ),
        NoAnswer::Silent => refused(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "host {name}: no answer within {} s, {heard}: its agent is busy, see its log there",
                QUESTION_TIMEOUT.as_secs()
            ),
        ),
    })
}

fn refused(status: StatusCode, text: String) -> Response {
    (status, text).into_response()
}

/// How long ago, for people.
fn ago(moment: Micros) -> String {
    let seconds = novanet_control::now().since(moment).as_secs();
    match seconds {
        ..1 => "just now".to_owned(),
        1..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} minutes ago", seconds / 60),
        7_200..172_800 => format!("{} hours ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
