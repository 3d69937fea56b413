//! The accept loop and the life of one connection: admitted, served by hyper, ended with an answer
//! that its client can read.

use crate::accept::{Backoff, Listener};
use crate::body::RequestBody;
use crate::gate::{Admitted, Gate};
use crate::refusal::{Refusal, Refused};
use crate::stream::{Phase, Timed, Times};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A client that is refused while it sends gets this long to stop and read why.
const LINGER: Duration = Duration::from_secs(5);
/// Of what it still sends, so many bytes are read.
const MAX_DISCARDED_BYTES: usize = 8 << 20;

/// What a listener needs besides its handler.
#[derive(Clone)]
pub struct Config {
    /// How many connections it has.
    pub gate: Gate,
    /// How long its clients may take.
    pub times: Times,
    /// Longest request line with all headers, in bytes (at least 8,192).
    pub head: usize,
    /// What it says to requests that no handler sees.
    pub refusal: fn(Refused) -> Refusal,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers on `listener` until `shutdown`; then requests that are under way get their answers, and
/// idle connections are closed. Dropping the future ends all connections at once.
pub async fn serve<L, H, F, B>(
    listener: L,
    config: Config,
    handler: H,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener,
    H: Fn(Request<RequestBody>, L::Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut shutdown = pin!(shutdown);
    let mut backoff = Backoff::new();
    let mut connections = JoinSet::new();
    let (stop, stopping) = watch::channel(false);
    loop {
        let next = async {
            let slot = config.gate.ready().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                drop(slot);
                tokio::select! {
                    () = backoff.failed(config.gate.name(), &error) => continue,
                    () = &mut shutdown => break,
                }
            }
        };
        backoff.worked();
        let Some(admitted) = config.gate.admit(L::source(&peer), slot) else {
            let refusal = (config.refusal)(Refused::Busy).response(Refused::Busy);
            L::try_send(&stream, &refusal);
            continue;
        };
        connections.spawn(connection(
            stream,
            peer,
            admitted,
            config.clone(),
            handler.clone(),
            stopping.clone(),
        ));
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn connection<S, P, H, F, B>(
    stream: S,
    peer: P,
    admitted: Admitted,
    config: Config,
    handler: H,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
    H: Fn(Request<RequestBody>, P) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let _admitted = admitted;
    let phase = Arc::new(Phase::default());
    let body_time = config.times.body;
    let mut io = Timed::new(stream, config.times, Arc::clone(&phase));
    {
        let service = service_fn(|request: Request<Incoming>| {
            phase.handler_begins();
            let phase = Arc::clone(&phase);
            let answer = handler(
                request.map(|body| RequestBody::new(body, body_time)),
                peer.clone(),
            );
            async move {
                let answer = answer.await;
                phase.handler_answered();
                Ok::<_, Infallible>(answer)
            }
        });
        let served = http1::Builder::new()
            .header_read_timeout(None) // `Timed` has it
            .max_buf_size(config.head)
            .serve_connection(TokioIo::new(&mut io), service);
        let mut served = pin!(served);
        let stopped = async {
            // The sender lives as long as the accept loop.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let done = tokio::select! {
            done = served.as_mut() => done,
            () = stopped => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = done {
            let service = config.gate.name();
            tracing::debug!(service, %error, "a connection ended");
        }
    }
    if io.was_slow() {
        config.gate.count_slow();
    }
    if let Some(why) = io.refused() {
        let answer = (config.refusal)(why).response(why);
        let ending = end_with(io.into_inner(), &answer);
        let _ = tokio::time::timeout(LINGER, ending).await;
    }
}

/// Sends the last answer, and reads on until the client ends: closing a socket with unread bytes
/// resets the connection, and the client would not see the answer.
async fn end_with<S>(mut stream: S, answer: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if stream.write_all(answer).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut piece = vec![0; 16 << 10];
    let mut left = MAX_DISCARDED_BYTES;
    while left > 0 {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => left = left.saturating_sub(length),
        }
    }
}
