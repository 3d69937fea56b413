//! The EC2 API: one endpoint, an action per parameter. Every call is authenticated before its
//! parameters are parsed; one log line per call, without parameters (they may hold secrets).

mod addresses;
mod error;
mod groups;
mod identity;
mod images;
mod instances;
mod keys;
mod status;
mod zones;

use crate::state::State as Shared;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use error::{Refusal, refusal};
use futures_util::StreamExt;
use novanet_control::{Caller, Kind, Role};
use novanet_ec2::response::{Answer, render};
use novanet_ec2::{Action, Code, Ec2Error, Params, RawRequest, credentials};
use novanet_http::{BodyError, Refused};
use novanet_model::Micros;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;

/// Longer bodies are not read at all; the protocol's own limit is below it.
const MAX_BODY: usize = 256 * 1024;

/// A longer body is taken in up to here and thrown away: a client that is still sending when its
/// connection is closed does not read why.
const MAX_DISCARDED_BYTES: usize = 4 << 20;

/// Of every answer.
const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";

/// What a handler answers with.
type Answered = Result<Box<dyn Answer + Send>, Refusal>;

pub(crate) fn router(state: Arc<Shared>) -> axum::Router {
    axum::Router::new().fallback(call).with_state(state)
}

async fn call(
    State(state): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request_id = request_id();
    let path = request.uri().path();
    if !matches!(path, "/" | "/services/Cloud" | "/services/Cloud/") {
        return respond(
            404,
            "There is nothing here; the EC2 API is at /services/Cloud.\n".into(),
        );
    }
    let (parts, body) = request.into_parts();
    let refuse = |error: &Ec2Error| {
        tracing::info!(%peer, request_id, code = error.code.as_str(), "ec2 refused");
        respond(error.status(), error.to_xml(&request_id))
    };
    let headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let mut raw = RawRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &[],
    };
    if let Err(error) = raw.check_head() {
        let mut response = refuse(&error);
        // Where the next request begins is as uncertain as what this one is.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        return response;
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(error) => return refuse(&error),
    };
    raw.body = &body;
    match answer(&state, &raw, peer).await {
        Ok((answer, version)) => {
            tracing::info!(%peer, request_id, action = answer.action(), "ec2");
            respond(200, render(&*answer, &version, &request_id))
        }
        Err(error) => refuse(&error),
    }
}

/// The body, unless it is too long, too slow, or breaks off.
async fn read(body: Body) -> Result<Vec<u8>, Ec2Error> {
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::new();
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| match error.into_inner().downcast_ref() {
            Some(BodyError::Slow(_)) => connection_error(Refused::TooSlow),
            _ => connection_error(Refused::Invalid),
        })?;
        length += chunk.len();
        if length <= MAX_BODY {
            whole.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if length > MAX_BODY {
        return Err(Ec2Error::too_large());
    }
    Ok(whole)
}

/// EC2's words for a request that does not reach a handler whole.
fn connection_error(why: Refused) -> Ec2Error {
    let (code, message) = match why {
        Refused::TooLarge => return Ec2Error::too_large(),
        Refused::TooSlow => (
            Code::RequestTimeout,
            "The request did not arrive in time: send it again.",
        ),
        Refused::Invalid => (
            Code::InvalidRequest,
            "The request is not a whole HTTP/1.1 request.",
        ),
        Refused::Busy => (
            Code::RequestLimitExceeded,
            "Too many connections are open: close idle ones, or try again later.",
        ),
    };
    Ec2Error::new(code, message)
}

/// What the listener answers to requests that no handler sees.
pub(crate) fn connection_refusal(why: Refused) -> novanet_http::Refusal {
    novanet_http::Refusal {
        content_type: CONTENT_TYPE,
        body: connection_error(why).to_xml(&request_id()),
    }
}

fn request_id() -> String {
    format!("req-{}", uuid::Uuid::new_v4())
}

async fn answer(
    state: &Shared,
    raw: &RawRequest<'_>,
    peer: SocketAddr,
) -> Result<(Box<dyn Answer + Send>, String), Ec2Error> {
    let params = Params::decode(raw)?;
    let caller = authenticate(state, raw, &params, peer).await?;
    let action = Action::parse(&params)?;
    let version = params.version()?.to_owned();
    if params.dry_run()? {
        // It says whether the caller may, so it has to ask.
        if let Some(role) = role_for(&action) {
            caller.require(role).map_err(|e| refusal(e.into()))?;
        }
        return Err(Ec2Error::dry_run());
    }
    let answer = carry_out(state, &caller, action).await.map_err(refusal)?;
    Ok((answer, version))
}

/// Authenticates the caller. An unknown key and a wrong signature get the same answer, so that
/// clients cannot find out which keys exist.
async fn authenticate(
    state: &Shared,
    raw: &RawRequest<'_>,
    params: &Params,
    peer: SocketAddr,
) -> Result<Caller, Ec2Error> {
    let presented = credentials::parse(raw, params)?;
    let (key, from) = (&presented.access_key, peer.ip());
    state.lockouts.check(key, from, Instant::now())?;
    let claim = match state.cloud.claim(&presented.access_key).await {
        Err(novanet_control::ControlError::NotFound {
            kind: Kind::User, ..
        }) => {
            state.lockouts.failed(key, from, Instant::now());
            return Err(presented.refuse(OffsetDateTime::now_utc()));
        }
        other => other.map_err(|e| refusal(e.into()))?,
    };
    let secret = state
        .cloud
        .secret_of(&claim)
        .map_err(|e| refusal(e.into()))?;
    let skew = state.cloud.config().ec2_timestamp_expiry;
    let skew = time::Duration::try_from(skew).unwrap_or(time::Duration::MAX);
    presented
        .verify_within(skew, &secret, OffsetDateTime::now_utc())
        .inspect_err(|error| {
            // A wrong clock comes with a right signature.
            if error.code == Code::AuthFailure {
                state.lockouts.failed(key, from, Instant::now());
            }
        })?;
    state.lockouts.succeeded(key, from);
    let project = presented.project.as_ref().map(ToString::to_string);
    let source = peer.ip().to_string();
    state
        .cloud
        .caller(&claim, project.as_deref(), &source)
        .await
        .map_err(|e| match e {
            // A right signature for a project that is not there, or not the user's: the same
            // answer, so that strangers do not learn which projects exist.
            novanet_control::ControlError::NotFound { .. }
            | novanet_control::ControlError::Forbidden(_) => Ec2Error::new(
                Code::AuthFailure,
                "The access key names a project that does not exist, or that its user is not in.",
            ),
            other => refusal(other.into()),
        })
}

/// The role that an action's use case requires; `None`: any member of the project may call it. A
/// new action does not compile until it is in this list.
fn role_for(action: &Action) -> Option<Role> {
    match action {
        Action::RunInstances(_)
        | Action::RebootInstances(_)
        | Action::StartInstances(_)
        | Action::StopInstances(_)
        | Action::TerminateInstances(_)
        | Action::GetConsoleOutput(_) => Some(Role::SysAdmin),
        Action::DescribeInstanceAttribute(r) => {
            status::is_secret(r.attribute).then_some(Role::SysAdmin)
        }
        Action::CreateSecurityGroup(_)
        | Action::DeleteSecurityGroup(_)
        | Action::AuthorizeSecurityGroupIngress(_)
        | Action::RevokeSecurityGroupIngress(_)
        | Action::ModifyInstanceAttribute(_)
        | Action::AllocateAddress(_)
        | Action::AssociateAddress(_)
        | Action::DisassociateAddress(_)
        | Action::ReleaseAddress(_) => Some(Role::NetAdmin),
        // A key pair belongs to the calling user, not to the project.
        Action::CreateKeyPair(_)
        | Action::ImportKeyPair(_)
        | Action::DeleteKeyPair(_)
        // Members may see everything in their project, secrets excepted.
        | Action::DescribeInstances(_)
        | Action::DescribeInstanceStatus(_)
        | Action::DescribeInstanceTypes(_)
        | Action::DescribeImages(_)
        | Action::DescribeKeyPairs(_)
        | Action::DescribeSecurityGroups(_)
        | Action::DescribeSecurityGroupRules(_)
        | Action::DescribeAddresses(_)
        | Action::DescribeAvailabilityZones(_)
        | Action::DescribeRegions(_)
        | Action::GetCallerIdentity(_) => None,
    }
}

async fn carry_out(state: &Shared, caller: &Caller, action: Action) -> Answered {
    match action {
        Action::RunInstances(r) => instances::run(state, caller, r).await,
        Action::DescribeInstances(r) => instances::describe(state, caller, &r).await,
        Action::RebootInstances(r) => instances::reboot(state, caller, &r).await,
        Action::TerminateInstances(r) => instances::terminate(state, caller, &r).await,
        Action::StartInstances(r) => instances::start(state, caller, &r.ids).await,
        Action::StopInstances(r) => instances::stop(state, caller, &r.ids).await,
        Action::GetConsoleOutput(r) => instances::console(state, caller, &r).await,
        Action::DescribeInstanceStatus(r) => status::describe(state, caller, &r).await,
        Action::DescribeInstanceAttribute(r) => status::attribute(state, caller, &r).await,
        Action::ModifyInstanceAttribute(r) => groups::of_instance(state, caller, &r).await,
        Action::DescribeInstanceTypes(r) => zones::instance_types(&r),
        Action::DescribeImages(r) => images::describe(state, caller, &r).await,
        Action::CreateKeyPair(r) => keys::create(state, caller, &r).await,
        Action::ImportKeyPair(r) => keys::import(state, caller, &r).await,
        Action::DescribeKeyPairs(r) => keys::describe(state, caller, &r).await,
        Action::DeleteKeyPair(r) => keys::delete(state, caller, &r).await,
        Action::CreateSecurityGroup(r) => groups::create(state, caller, &r).await,
        Action::DescribeSecurityGroups(r) => groups::describe(state, caller, &r).await,
        Action::DescribeSecurityGroupRules(r) => groups::describe_rules(state, caller, &r).await,
        Action::DeleteSecurityGroup(r) => groups::delete(state, caller, &r).await,
        Action::AuthorizeSecurityGroupIngress(r) => groups::authorize(state, caller, &r).await,
        Action::RevokeSecurityGroupIngress(r) => groups::revoke(state, caller, &r).await,
        Action::AllocateAddress(r) => addresses::allocate(state, caller, &r).await,
        Action::AssociateAddress(r) => addresses::associate(state, caller, &r).await,
        Action::DisassociateAddress(r) => addresses::disassociate(state, caller, &r).await,
        Action::ReleaseAddress(r) => addresses::release(state, caller, &r).await,
        Action::DescribeAddresses(r) => addresses::describe(state, caller, &r).await,
        Action::DescribeAvailabilityZones(r) => zones::zones(state, caller, &r).await,
        Action::DescribeRegions(r) => zones::regions(state, &r),
        Action::GetCallerIdentity(_) => Ok(identity::of_caller(caller)),
    }
}

fn respond(status: u16, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// A stored moment; 1970 where the database has no date.
fn date_of(moment: Micros) -> OffsetDateTime {
    moment.date().unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
