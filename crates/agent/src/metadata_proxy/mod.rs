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
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kept::Kept;
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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
/// Connections of all instances together.
const CONNECTIONS: usize = 1024;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let guests = Guests::default();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, most likely: others end, this one may go on.
                tracing::warn!(%error, "metadata: cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let IpAddr::V4(address) = peer.ip().to_canonical() else {
            continue;
        };
        let (Some(guest), true) = (guests.enter(address), connections.len() < CONNECTIONS) else {
            continue;
        };
        let (instances, kept) = (Arc::clone(&instances), Arc::clone(&kept));
        connections.spawn(async move {
            talk(stream, guest, instances, kept).await;
        });
    }
}

async fn sweep(kept: Arc<Kept>) {
    loop {
        kept.forget_unknown().await;
        tokio::time::sleep(SWEEP).await;
    }
}

async fn talk(stream: TcpStream, guest: Guest, instances: Finder, kept: Arc<Kept>) {
    let address = guest.address;
    let service = service_fn(|request| {
        let (instances, kept) = (Arc::clone(&instances), Arc::clone(&kept));
        async move { Ok::<_, Infallible>(answer(&request, address, &instances, &kept).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%address, %error, "metadata: a connection ended");
    }
}

async fn answer(
    request: &Request<Incoming>,
    address: Ipv4Addr,
    instances: &Finder,
    kept: &Kept,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let Some(instance) = instances(address) else {
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

/// How many connections each address has.
#[derive(Debug, Default)]
struct Guests(Arc<Mutex<HashMap<Ipv4Addr, usize>>>);

/// One connection, counted while it lives.
struct Guest {
    address: Ipv4Addr,
    guests: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
}

impl Guests {
    fn enter(&self, address: Ipv4Addr) -> Option<Guest> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_EACH {
            return None;
        }
        *count += 1;
        Some(Guest {
            address,
            guests: Arc::clone(&self.0),
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
