//! A listener whose connections are pipes in memory, so that the clock can be paused; its clients
//! say which address they have.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use novanet_http::{
    Config, Counts, Gate, Limits, Listener, Refusal, RequestBody, Times, WhenFull, serve,
};
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const HEADERS: Duration = Duration::from_secs(10);
pub(crate) const IDLE: Duration = Duration::from_mins(1);
pub(crate) const BODY: Duration = Duration::from_secs(30);
pub(crate) const WRITE: Duration = Duration::from_secs(20);

/// What a pipe holds before its writer has to wait.
const PIPE: usize = 64 << 10;

type Connection = std::io::Result<(DuplexStream, Option<IpAddr>)>;

struct Pipes {
    arriving: Mutex<mpsc::UnboundedReceiver<Connection>>,
    accepts: Arc<AtomicU32>,
}

impl Listener for Pipes {
    type Stream = DuplexStream;
    type Peer = Option<IpAddr>;

    async fn accept(&self) -> Connection {
        self.accepts.fetch_add(1, Ordering::Relaxed);
        match self.arriving.lock().await.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn source(peer: &Option<IpAddr>) -> Option<IpAddr> {
        *peer
    }

    fn try_send(_: &DuplexStream, _: &[u8]) {}
}

pub(crate) struct Server {
    clients: mpsc::UnboundedSender<Connection>,
    accepts: Arc<AtomicU32>,
    gate: Gate,
    stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(total: usize, when_full: WhenFull) -> Self {
        let limits = Limits {
            total,
            each: total,
            when_full,
        };
        let gate = Gate::new("test", limits);
        let config = Config {
            gate: gate.clone(),
            times: Times {
                headers: HEADERS,
                idle: IDLE,
                body: BODY,
                write: WRITE,
            },
            head: 16 << 10,
            refusal: Refusal::plain,
        };
        let (clients, arriving) = mpsc::unbounded_channel();
        let accepts = Arc::new(AtomicU32::new(0));
        let pipes = Pipes {
            arriving: Mutex::new(arriving),
            accepts: Arc::clone(&accepts),
        };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(pipes, config, answer, async {
            let _ = stopped.await;
        }));
        Self {
            clients,
            accepts,
            gate,
            stop,
            running,
        }
    }

    /// Connects from 10.0.0.`n`.
    pub(crate) fn connect(&self, n: u8) -> Client {
        self.connect_as(Some(Ipv4Addr::new(10, 0, 0, n).into()))
    }

    /// Connects from an address, or as a unix socket's client does.
    pub(crate) fn connect_as(&self, source: Option<IpAddr>) -> Client {
        let (ours, theirs) = duplex(PIPE);
        self.clients.send(Ok((theirs, source))).unwrap();
        Client(ours)
    }

    /// The next accept fails.
    pub(crate) fn fail(&self, kind: ErrorKind) {
        self.clients.send(Err(Error::from(kind))).unwrap();
    }

    pub(crate) fn accepts(&self) -> u32 {
        self.accepts.load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.gate.counts()
    }

    /// As a signal does it.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.running
    }
}

/// `/slow` takes an hour, `/long` answers with a megabyte; everything else tells the length of the
/// body, or why there is none.
async fn answer(request: Request<RequestBody>, _: Option<IpAddr>) -> Response<Full<Bytes>> {
    let text = match request.uri().path() {
        "/slow" => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            "at last".to_owned()
        }
        "/long" => "x".repeat(1 << 20),
        _ => match request.into_body().collect().await {
            Ok(body) => format!("{} bytes", body.to_bytes().len()),
            Err(error) => error.to_string(),
        },
    };
    Response::new(Full::new(text.into()))
}

pub(crate) struct Client(DuplexStream);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// All that comes until the server ends the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes).await; // a reset is an end, too
        String::from_utf8(bytes).unwrap()
    }

    /// A whole answer on a connection that goes on.
    pub(crate) async fn ask(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        let mut text = String::new();
        while !text.ends_with("bytes") {
            let mut piece = [0; 1024];
            let length = self.0.read(&mut piece).await.unwrap();
            assert!(length > 0, "ended after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        text
    }

    /// Whether the server has ended the connection.
    pub(crate) async fn is_ended(&mut self) -> bool {
        let mut piece = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(1), self.0.read(&mut piece));
        matches!(read.await, Ok(Ok(0) | Err(_)))
    }
}
