//! The metadata service at 169.254.169.254: serves nova's tree over HTTP to the instances of this
//! host, each its own. Depends on a [`MetadataSource`] (the server) and on `novanet_http`.
//!
//! The source address of the connection names the instance; the firewall refuses forged source
//! addresses, and the service ignores headers such as `X-Forwarded-For`. The service caches the
//! server's answers on disk (0600: user-data holds secrets) for times when the server is down, and
//! logs no part of them.

mod cache;
mod token;
mod tree;
mod wait;

use bytes::Bytes;
use cache::Cache;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, SERVER};
use hyper::{Method, Response, StatusCode};
use novanet_http::{Config, Gate, Limits, Refusal, RequestBody, Times, WhenFull, shares};
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use token::Tokens;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wait::Wait;

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
/// How often the service looks for other user-data while a client waits.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Where an instance gets a token.
const TOKEN: &str = "/latest/api/token";
/// The life of a token in seconds, and the token.
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// A program that forwards requests of others sets this; it gets no token, as in EC2.
const FORWARDED_FOR: &str = "x-forwarded-for";
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
    let tokens = Arc::new(Tokens::new()?);
    let mut sweeper = JoinSet::new(); // ends with this function
    sweeper.spawn(sweep(Arc::clone(&cache)));
    let handler = move |request: Request, peer: SocketAddr| {
        let (instances, cache) = (Arc::clone(&instances), Arc::clone(&cache));
        let tokens = Arc::clone(&tokens);
        async move {
            let instance = match peer.ip().to_canonical() {
                IpAddr::V4(address) => instances(address),
                IpAddr::V6(_) => None,
            };
            answer(&request, instance, &cache, &tokens).await
        }
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
    instance: Option<InstanceId>,
    cache: &Cache,
    tokens: &Tokens,
) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let wants_token = request.method() == Method::PUT && request.uri().path() == TOKEN;
    if !wants_token && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let Some(instance) = instance else {
        return reply(StatusCode::NOT_FOUND, "no instance has this address\n");
    };
    if wants_token {
        return give_token(instance, header(TOKEN_LIFE), header(FORWARDED_FOR), tokens);
    }
    let shows_token = request.headers().contains_key(TOKEN_HEADER);
    let token = header(TOKEN_HEADER).unwrap_or_default();
    if shows_token && !tokens.is_valid(instance, token) {
        return reply(StatusCode::UNAUTHORIZED, "the token is not valid\n");
    }
    let path = request.uri().path();
    if !tree::is_user_data(path) {
        return match cache.get(instance).await {
            Ok(metadata) => found(tree::find(&metadata, path)),
            Err(error) => failed(instance, &error),
        };
    }
    let query = request.uri().query().unwrap_or_default();
    match Wait::of(query, header(IF_NONE_MATCH.as_str())) {
        Ok(wait) => user_data(instance, path, wait, cache).await,
        Err(text) => reply(StatusCode::BAD_REQUEST, text),
    }
}

fn give_token(
    instance: InstanceId,
    life: Option<&str>,
    forwarded: Option<&str>,
    tokens: &Tokens,
) -> Response<Full<Bytes>> {
    if forwarded.is_some() {
        return reply(StatusCode::FORBIDDEN, "not for forwarded requests\n");
    }
    match (life, life.and_then(|life| tokens.issue(instance, life))) {
        (Some(life), Some(token)) => {
            let mut answer = reply(StatusCode::OK, token);
            if let Ok(life) = HeaderValue::from_str(life) {
                answer.headers_mut().insert(TOKEN_LIFE, life);
            }
            answer
        }
        _ => reply(
            StatusCode::BAD_REQUEST,
            format!("{TOKEN_LIFE}: must be 1 to 21600\n"),
        ),
    }
}

/// User-data, as soon as it differs from what the client has; after the client's time, or at once
/// if it does not wait, whatever there is.
async fn user_data(
    instance: InstanceId,
    path: &str,
    mut wait: Wait,
    cache: &Cache,
) -> Response<Full<Bytes>> {
    let end = Instant::now() + wait.at_most.unwrap_or_default();
    let says_what_it_has = wait.has.is_some();
    loop {
        let data = match cache.get(instance).await {
            Ok(metadata) => tree::find(&metadata, path),
            Err(error) => return failed(instance, &error),
        };
        let digest = wait::digest(data.as_ref());
        let has = wait.has.get_or_insert_with(|| match wait.at_most {
            Some(_) => digest.clone(),
            None => String::new(),
        });
        let changed = *has != digest;
        if !changed && Instant::now() < end {
            tokio::time::sleep_until(end.min(Instant::now() + LOOK_EVERY)).await;
            continue;
        }
        let there = data.is_some();
        let mut answer = if there && !changed && says_what_it_has {
            reply(StatusCode::NOT_MODIFIED, "")
        } else {
            found(data)
        };
        if let (true, Ok(tag)) = (there, HeaderValue::from_str(&format!("\"{digest}\""))) {
            answer.headers_mut().insert(ETAG, tag);
        }
        return answer;
    }
}

fn found(bytes: Option<Bytes>) -> Response<Full<Bytes>> {
    match bytes {
        Some(bytes) => reply(StatusCode::OK, bytes),
        None => reply(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn failed(instance: InstanceId, error: &MetadataError) -> Response<Full<Bytes>> {
    if let MetadataError::Unknown(_) = error {
        return reply(StatusCode::NOT_FOUND, "not found\n");
    }
    tracing::warn!(%instance, %error, "metadata");
    reply(StatusCode::SERVICE_UNAVAILABLE, "try again later\n")
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(SERVER, HeaderValue::from_static("novanet"));
    response
}
