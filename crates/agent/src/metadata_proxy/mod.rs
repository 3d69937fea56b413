//! The metadata service at 169.254.169.254, as instances see it: nova's tree over HTTP, for the instance
//! that asks and nobody else.
//!
//! Who asks is known by the source address of the connection, which the firewall keeps honest; headers such
//! as `X-Forwarded-For` are not looked at. What an instance may know comes from the server and is kept
//! on disk (0600: user-data holds secrets) for when the server is down. Nothing of it is ever logged.
//! Must not know: how the server is reached ([`MetadataSource`]).

mod kept;
mod tree;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Response, StatusCode};
use kept::Kept;
use novanet_http::{Config, Gate, Limits, Refusal, RequestBody, Times, WhenFull, shares};
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Request = hyper::Request<RequestBody>;

/// Why there is no metadata.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// The server knows no such instance: what was kept of it is forgotten.
    #[error("there is no instance {0}")]
    Unknown(InstanceId),
    /// The server cannot be asked.
    #[error("the server cannot be asked: {0}")]
    Unavailable(String),
}

/// Where metadata comes from: the server.
pub trait MetadataSource: Send + Sync {
    /// What this instance may know.
    fn metadata(&self, instance: InstanceId) -> BoxFuture<'_, Result<Metadata, MetadataError>>;
}

/// Connections that one address may have at a time. A client that wants more is waiting for itself.
const CONNECTIONS_EACH: usize = 16;
/// How long an instance may take for each part of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request line with all headers, in bytes.
const HEAD: usize = 16 << 10;

/// How often the server is asked whether what is kept is of instances that still exist.
const SWEEP: Duration = Duration::from_mins(10);

/// Forgets what `cache_dir` keeps of an instance that is gone: its user-data may hold secrets.
pub fn forget(cache_dir: &Path, instance: InstanceId) -> std::io::Result<()> {
    kept::forget(cache_dir, instance)
}

type Finder = Arc<dyn Fn(Ipv4Addr) -> Option<InstanceId> + Send + Sync>;

/// Answers on `listener` for as long as it is polled. `instances` says which instance has an address on
/// this host's networks; `cache_dir` is made if it is not there.
pub async fn serve(
    listener: TcpListener,
    instances: impl Fn(Ipv4Addr) -> Option<InstanceId> + Send + Sync + 'static,
    source: Arc<dyn MetadataSource>,
    cache_dir: PathBuf,
) -> std::io::Result<()> {
    let instances: Finder = Arc::new(instances);
    let kept = Arc::new(Kept::new(cache_dir, source)?);
    let mut sweeper = JoinSet::new(); // ends with this function
    sweeper.spawn(sweep(Arc::clone(&kept)));
    let handler = move |request: Request, peer: SocketAddr| {
        let (instances, kept) = (Arc::clone(&instances), Arc::clone(&kept));
        async move { answer(&request, peer.ip(), &instances, &kept).await }
    };
    novanet_http::serve(listener, config(), handler, std::future::pending()).await;
    Ok(())
}

fn config() -> Config {
    let limits = Limits {
        total: shares().metadata,
        each: CONNECTIONS_EACH,
        when_full: WhenFull::Refuse,
    };
    let times = Times {
        headers: PATIENCE,
        idle: PATIENCE,
        body: PATIENCE,
        write: PATIENCE,
    };
    Config {
        gate: Gate::new("metadata service", limits),
        times,
        head: HEAD,
        refusal: Refusal::plain,
    }
}

async fn sweep(kept: Arc<Kept>) {
    loop {
        kept.forget_unknown().await;
        tokio::time::sleep(SWEEP).await;
    }
}

async fn answer(
    request: &Request,
    address: IpAddr,
    instances: &Finder,
    kept: &Kept,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let instance = match address.to_canonical() {
        IpAddr::V4(address) => instances(address),
        IpAddr::V6(_) => None,
    };
    let Some(instance) = instance else {
        return reply(StatusCode::NOT_FOUND, "no instance has this address\n");
    };
    match kept.get(instance).await {
        Ok(metadata) => match tree::find(&metadata, request.uri().path()) {
            Some(bytes) => reply(StatusCode::OK, bytes),
            None => reply(StatusCode::NOT_FOUND, "not found\n"),
        },
        Err(MetadataError::Unknown(_)) => reply(StatusCode::NOT_FOUND, "not found\n"),
        Err(error) => {
            tracing::warn!(%instance, %error, "metadata");
            reply(StatusCode::SERVICE_UNAVAILABLE, "try again later\n")
        }
    }
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(SERVER, HeaderValue::from_static("novanet"));
    response
}
