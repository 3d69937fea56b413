//! A small HTTP client for the agent API, as an agent speaks it: JSON over a unix socket.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// One host's view of the agent API.
#[derive(Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    pub(crate) host: String,
}

impl Client {
    pub(crate) fn new(socket: &Path, host: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            host: host.to_owned(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "novanet")
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    fn path(&self, rest: &str) -> String {
        format!("/agent/v1/hosts/{}/{rest}", self.host)
    }

    /// Asks for something of this host.
    pub(crate) async fn get<T: DeserializeOwned>(&self, rest: &str) -> anyhow::Result<T> {
        let (status, body) = self
            .send(Method::GET, &self.path(rest), Bytes::new())
            .await?;
        anyhow::ensure!(status.is_success(), "{rest}: {status} {body:?}");
        Ok(serde_json::from_slice(&body)?)
    }

    /// Tells something of this host.
    pub(crate) async fn post(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<StatusCode> {
        let text = serde_json::to_vec(body)?;
        Ok(self.send(Method::POST, &self.path(rest), text).await?.0)
    }
}
