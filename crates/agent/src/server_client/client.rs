//! Sends requests to the server: JSON over HTTP/1.1 over a unix socket. Reuses idle connections,
//! and repeats a request on a new one if the server had closed the idle one. Depends on the wire
//! types; does not interpret the answers.

use super::error::{RequestError, ServerAddress};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use novanet_model::wire::{Answer, Digest, Follow, Hello, Leases, Metadata, Objects, Status};
use novanet_model::{HostAddresses, InstanceId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Paths of the protocol start with this; the paths of one host are written without it in this
/// file.
const ROOT: &str = "/agent/v1/";
/// Largest answer, except images. A whole list of 50,000 objects is 10 MB.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The longest text of an error, in characters.
const MAX_MESSAGE_BYTES: usize = 500;
/// How long an ordinary answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The most idle connections.
const MAX_IDLE_CONNECTIONS: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// The server's client of one host.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    address: ServerAddress,
    base: String,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// A client for this host. Connects with the first request.
    pub fn new(address: ServerAddress, host: &str) -> Self {
        let base = format!("{ROOT}hosts/{}", escaped(host));
        let idle = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                address,
                base,
                idle,
            }),
        }
    }

    /// The address of the server.
    pub fn address(&self) -> &ServerAddress {
        &self.inner.address
    }

    /// A connection for following objects only. After it has ended the follower introduces itself
    /// again, because the server may have been restarted.
    pub async fn session(&self) -> Result<Session, RequestError> {
        let sender = in_time("connect", REQUEST_TIMEOUT, self.connect()).await??;
        let client = self.clone();
        Ok(Session { client, sender })
    }

    /// The digest of the objects that an up-to-date host has; `full`: with the fingerprint.
    pub async fn digest(&self, full: bool) -> Result<Digest, RequestError> {
        let path = format!("/digest?full={full}");
        let answer = self.request(Method::GET, &path, Bytes::new(), REQUEST_TIMEOUT);
        json(&path, &answer.await?)
    }

    /// Reports the host's progress.
    pub async fn status(&self, status: &Status) -> Result<(), RequestError> {
        self.post("/status", status).await
    }

    /// Reports lease events.
    pub async fn leases(&self, leases: &Leases) -> Result<(), RequestError> {
        self.post("/leases", leases).await
    }

    /// Reports the host's own addresses and routes.
    pub async fn addresses(&self, addresses: &HostAddresses) -> Result<(), RequestError> {
        self.post("/addresses", addresses).await
    }

    /// Answers a question.
    pub async fn answer(&self, id: &str, answer: &Answer) -> Result<(), RequestError> {
        let path = format!("/answers/{}", escaped(id));
        self.post(&path, answer).await
    }

    /// The metadata of an instance; `None`: this host has no such instance.
    pub async fn metadata(&self, instance: InstanceId) -> Result<Option<Metadata>, RequestError> {
        let path = format!("/metadata/{instance}");
        let answer = self.request(Method::GET, &path, Bytes::new(), REQUEST_TIMEOUT);
        match answer.await {
            Ok(body) => json(&path, &body).map(Some),
            Err(RequestError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes an image's bytes into a file. The time limit is for each part: a large image may take
    /// longer, a stalled transfer is an error.
    pub async fn image(&self, digest: &str, into: &Path) -> Result<(), RequestError> {
        let path = format!("/agent/v1/images/{}", escaped(digest));
        let unwritten = |e: std::io::Error| RequestError::Unreadable {
            path: path.clone(),
            message: format!("{}: {e}", into.display()),
        };
        let response = self
            .send(Method::GET, &path, Bytes::new(), REQUEST_TIMEOUT)
            .await?;
        let mut body = accepted(&path, response, REQUEST_TIMEOUT).await?;
        let mut file = tokio::fs::File::create(into).await.map_err(unwritten)?;
        while let Some(frame) = in_time(&path, REQUEST_TIMEOUT, body.frame()).await? {
            let frame = frame.map_err(|source| broken(&path, source))?;
            if let Some(data) = frame.data_ref() {
                file.write_all(data).await.map_err(unwritten)?;
            }
        }
        file.flush().await.map_err(unwritten)
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<(), RequestError> {
        let body = serde_json::to_vec(body).map_err(|e| unreadable(path, &e))?;
        let answer = self.request(Method::POST, path, body.into(), REQUEST_TIMEOUT);
        answer.await.map(drop)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let response = self.send(method, path, body, limit).await?;
        let body = accepted(path, response, limit).await?;
        read(path, body, limit).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<Incoming>, RequestError> {
        while let Some(idle) = self.take_idle() {
            let request = self.build(&method, path, body.clone());
            // After an error the server has closed it. All requests of the protocol may be
            // repeated.
            if let Ok(response) = in_time(path, limit, self.send_over(idle, request)).await? {
                return Ok(response);
            }
        }
        let fresh = in_time(path, limit, self.connect()).await??;
        let request = self.build(&method, path, body);
        let response = in_time(path, limit, self.send_over(fresh, request)).await?;
        response.map_err(|source| broken(path, source))
    }

    async fn send_over(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            // It is ready again when the caller has read this answer; `take_idle` checks that.
            idle.push(sender);
        }
        Ok(response)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().position(Sender::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        let idle = self.inner.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Sender, RequestError> {
        let ServerAddress::Unix(path) = &self.inner.address;
        let unreachable = |source| RequestError::Unreachable {
            address: self.inner.address.clone(),
            source,
        };
        let stream = UnixStream::connect(path).await.map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| broken("connect", source))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the server ended");
            }
        });
        Ok(sender)
    }

    fn build(&self, method: &Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let uri = if path.starts_with(ROOT) {
            path.to_owned()
        } else {
            format!("{}{path}", self.inner.base)
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "novanet")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body));
        request.unwrap_or_else(|e| unreachable!("every part of the path is escaped: {e}"))
    }
}

/// See [`Client::session`].
pub struct Session {
    client: Client,
    sender: Sender,
}

impl Session {
    /// Introduces the host.
    pub async fn hello(&mut self, hello: &Hello) -> Result<(), RequestError> {
        let body = serde_json::to_vec(hello).map_err(|e| unreadable("/hello", &e))?;
        let answer = self.request(Method::POST, "/hello", body.into(), REQUEST_TIMEOUT);
        answer.await.map(drop)
    }

    /// Asks for news; the server waits for them as long as `follow` says.
    pub async fn objects(&mut self, follow: &Follow) -> Result<Objects, RequestError> {
        let Follow {
            epoch,
            after,
            wait_ms,
        } = follow;
        let mut path = format!("/objects?after={after}&wait_ms={wait_ms}");
        if !epoch.is_empty() {
            let _ = write!(path, "&epoch={}", escaped(epoch));
        }
        let limit = REQUEST_TIMEOUT + Duration::from_millis(*wait_ms);
        let answer = self.request(Method::GET, &path, Bytes::new(), limit);
        json(&path, &answer.await?)
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let request = self.client.build(&method, path, body);
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let response = in_time(path, limit, answer).await?;
        let response = response.map_err(|source| broken(path, source))?;
        read(path, accepted(path, response, limit).await?, limit).await
    }
}

async fn read(path: &str, body: Incoming, limit: Duration) -> Result<Bytes, RequestError> {
    let body = in_time(path, limit, Limited::new(body, MAX_ANSWER_BYTES).collect()).await?;
    let body = body.map_err(|error| RequestError::Unreadable {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    Ok(body.to_bytes())
}

/// The body of a successful answer, or the server's error.
async fn accepted(
    path: &str,
    response: Response<Incoming>,
    limit: Duration,
) -> Result<Incoming, RequestError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.into_body());
    }
    let message = read(path, response.into_body(), limit).await?;
    let message = String::from_utf8_lossy(&message);
    Err(RequestError::Refused {
        path: path.to_owned(),
        status,
        message: message.trim().chars().take(MAX_MESSAGE_BYTES).collect(),
    })
}

async fn in_time<T>(
    path: &str,
    limit: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, RequestError> {
    let slow = |_| RequestError::Slow {
        path: path.to_owned(),
        limit,
    };
    timeout(limit, answer).await.map_err(slow)
}

fn json<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(body).map_err(|e| unreadable(path, &e))
}

fn broken(path: &str, source: hyper::Error) -> RequestError {
    RequestError::Broken {
        path: path.to_owned(),
        source,
    }
}

fn unreadable(path: &str, error: &serde_json::Error) -> RequestError {
    RequestError::Unreadable {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// Percent-encoded for a path segment or a query value (RFC 3986, unreserved stays).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(escaped("node-1.lan"), "node-1.lan");
        assert_eq!(escaped("a/../b?c=d&e"), "a%2F..%2Fb%3Fc%3Dd%26e");
    }
}
