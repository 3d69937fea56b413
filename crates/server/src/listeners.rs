//! The server's two listeners, with their limits: the EC2 API, which the whole network can
//! reach, and the agent API's unix socket, which only root and the cloud's owner can.

use crate::ec2;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use novanet_http::{Config, Gate, Limits, Refusal, RequestBody, Times, WhenFull, shares};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// What a client of the EC2 API may take. The body's limit is the longest that a request can take
/// in all; clients with connection pools reuse a connection after less than `idle`.
const EC2_TIMES: Times = Times {
    headers: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    body: Duration::from_secs(30),
    write: Duration::from_secs(30),
};

/// The longest request line is 65,534 bytes (hyper); as much again for headers.
const EC2_HEAD: usize = 128 << 10;

/// Agents are trusted, but may be stopped at any moment. They keep connections from one heartbeat
/// to the next.
const AGENT_TIMES: Times = Times {
    headers: Duration::from_secs(30),
    idle: Duration::from_mins(5),
    body: Duration::from_mins(1),
    write: Duration::from_mins(1),
};

/// hyper's own limit of a request's head is about 400 kB.
const AGENT_HEAD: usize = 400 << 10;

/// A gate for the EC2 API. One source gets a quarter of the places (see [`Gate`]).
pub(crate) fn ec2_gate() -> Gate {
    let total = shares().ec2;
    let limits = Limits {
        total,
        each: total,
        when_full: WhenFull::Refuse,
    };
    Gate::new("EC2 API", limits)
}

/// A gate for the agent API.
pub(crate) fn agent_gate() -> Gate {
    let total = shares().agents;
    let limits = Limits {
        total,
        each: total,
        when_full: WhenFull::Wait,
    };
    Gate::new("agent API", limits)
}

/// Serves the EC2 API until `shutdown`.
pub(crate) async fn serve_ec2(
    listener: TcpListener,
    gate: Gate,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let config = Config {
        gate,
        times: EC2_TIMES,
        head: EC2_HEAD,
        refusal: ec2::connection_refusal,
    };
    let router = TowerToHyperService::new(router);
    let handler = move |mut request: hyper::Request<RequestBody>, peer: SocketAddr| {
        request.extensions_mut().insert(ConnectInfo(peer));
        answer(router.call(request.map(Body::new)))
    };
    novanet_http::serve(listener, config, handler, shutdown).await;
}

/// Serves the agent API, and what the command line asks, until it is dropped.
pub(crate) async fn serve_agents(listener: UnixListener, gate: Gate, router: Router) {
    let config = Config {
        gate,
        times: AGENT_TIMES,
        head: AGENT_HEAD,
        refusal: Refusal::plain,
    };
    let router = TowerToHyperService::new(router);
    let handler =
        move |request: hyper::Request<RequestBody>, ()| answer(router.call(request.map(Body::new)));
    novanet_http::serve(listener, config, handler, std::future::pending()).await;
}

async fn answer(
    routed: impl Future<Output = Result<Response, std::convert::Infallible>>,
) -> Response {
    match routed.await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
