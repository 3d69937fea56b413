//! The metadata service at 169.254.169.254: serves nova's tree over HTTP to the instances of this
//! host, each its own. Depends on a [`MetadataSource`] (the server) and on `novanet_http`.
//!
//! The source address of the connection names the instance; the firewall refuses forged source
//! addresses, and the service ignores headers such as `X-Forwarded-For`. The service caches the
//! server's answers on disk (0600: user-data holds secrets) for times when the server is down, and
//! logs no part of them.

mod cache;
mod tree;

use bytes::Bytes;
use cache::Cache;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Response, StatusCode};
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
    /// The server knows no such instance. The cache forgets it.
    #[error("there is no instance {0}")]
    Unknown(InstanceId),
    /// The server did not answer.
    #[error("the server cannot be asked: {0}")]
    Unavailable(String),
}

/// Where metadata comes from: the server.
pub trait MetadataSource: Send + Sync {
    /// The metadata of this instance, and of no other.
    fn metadata(&self, instance: InstanceId) -> BoxFuture<'_, Result<Metadata, MetadataError>>;
}

/// Connections that one address may have at a time.
const CONNECTIONS_EACH: usize = 16;
/// How long an instance may take for each part of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest request line with all headers, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// How often the service asks the server whether the cached instances still exist.
const SWEEP: Duration = Duration::from_mins(10);

/// Removes a deleted instance from the cache in `cache_dir`: its user-data may hold secrets.
pub fn forget(cache_dir: &Path, instance: InstanceId) -> std::io::Result<()> {
    cache::forget(cache_dir, instance)
}

type FindInstance = Arc<dyn Fn(Ipv4Addr) -> Option<InstanceId> + Send + Sync>;

/// Answers on `listener` for as long as the caller polls it. `instances` says which instance has an
/// address on this host's networks; `serve` makes `cache_dir` if it is missing.
pub async fn serve(
    listener: TcpListener,
    instances: impl Fn(Ipv4Addr) -> Option<InstanceId> + Send + Sync + 'static,
    source: Arc<dyn MetadataSource>,
    cache_dir: PathBuf,
) -> std::io::Result<()> {
    let instances: FindInstance = Arc::new(instances);
    let cache = Arc::new(Cache::new(cache_dir, source)?);
    let mut sweeper = JoinSet::new(); // ends with this function
    sweeper.spawn(sweep(Arc::clone(&cache)));
    let handler = move |request: Request, peer: SocketAddr| {
        let (instances, cache) = (Arc::clone(&instances), Arc::clone(&cache));
        async move { answer(&request, peer.ip(), &instances, &cache).await }
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
        headers: REQUEST_TIMEOUT,
        idle: REQUEST_TIMEOUT,
        body: REQUEST_TIMEOUT,
        write: REQUEST_TIMEOUT,
    };
    Config {
        gate: Gate::new("metadata service", limits),
        times,
        head: MAX_HEAD,
        refusal: Refusal::plain,
    }
}

async fn sweep(cache: Arc<Cache>) {
    loop {
        cache.forget_unknown().await;
        tokio::time::sleep(SWEEP).await;
    }
}

async fn answer(
    request: &Request,
    address: IpAddr,
    instances: &FindInstance,
    cache: &Cache,
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
    match cache.get(instance).await {
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
