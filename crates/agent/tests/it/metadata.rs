//! The metadata service over real sockets.
#![allow(clippy::unwrap_used)]

use futures_util::future::BoxFuture;
use novanet_agent::metadata::{MetadataError, MetadataSource, forget, serve};
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// A server that can be switched off.
#[derive(Default)]
struct Server {
    answer: Mutex<Option<Metadata>>,
    unknown: Mutex<bool>,
    asked: AtomicU32,
}

impl MetadataSource for Server {
    fn metadata(&self, instance: InstanceId) -> BoxFuture<'_, Result<Metadata, MetadataError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let result = match (&*self.answer.lock().unwrap(), *self.unknown.lock().unwrap()) {
            (_, true) => Err(MetadataError::Unknown(instance)),
            (Some(answer), _) => Ok(Metadata {
                instance_id: instance.to_string(),
                ..answer.clone()
            }),
            (None, _) => Err(MetadataError::Unavailable("switched off".to_owned())),
        };
        Box::pin(async { result })
    }
}

/// 127.0.0.2 is instance 2 and 127.0.0.3 instance 3; other addresses are foreign.
async fn start(source: Arc<Server>, cache: &Path) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let find = |address: Ipv4Addr| match address.octets() {
        [127, 0, 0, n @ 2..=3] => Some(InstanceId(i64::from(n))),
        _ => None,
    };
    let cache = cache.to_owned();
    let task = tokio::spawn(async move {
        serve(listener, find, source, cache).await.unwrap();
    });
    (port, task)
}

async fn ask(port: u16, from: u8, head: &str) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, from], 0).into()).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let request = format!("{head}\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn get(port: u16, from: u8, path: &str) -> (u16, String) {
    ask(port, from, &format!("GET {path} HTTP/1.1")).await
}

fn server(user_data: &str) -> Arc<Server> {
    let server = Server::default();
    *server.answer.lock().unwrap() = Some(Metadata {
        hostname: "web.novalocal".to_owned(),
        user_data: Some(user_data.to_owned()),
        ..Metadata::default()
    });
    Arc::new(server)
}

#[tokio::test]
async fn an_instance_gets_its_own_metadata_and_a_foreign_address_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let (port, task) = start(server("c2VjcmV0"), &folder.path().join("metadata")).await;
    let id = "/latest/meta-data/instance-id";
    assert_eq!(get(port, 2, id).await, (200, "i-00000002".to_owned()));
    assert_eq!(get(port, 3, id).await, (200, "i-00000003".to_owned()));
    let (status, body) = get(port, 9, "/latest/user-data").await;
    assert_eq!(status, 404);
    assert!(!body.contains("secret"));
    task.abort();
}

#[tokio::test]
async fn a_forwarded_for_header_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let (port, task) = start(server("c2VjcmV0"), &folder.path().join("metadata")).await;
    let head = "GET /latest/meta-data/instance-id HTTP/1.1\r\nX-Forwarded-For: 127.0.0.3";
    assert_eq!(ask(port, 2, head).await, (200, "i-00000002".to_owned()));
    assert_eq!(ask(port, 9, head).await.0, 404);
    assert_eq!(ask(port, 2, "PUT /latest/meta-data/ HTTP/1.1").await.0, 405);
    task.abort();
}

#[tokio::test]
async fn the_cache_answers_while_the_server_is_down_and_its_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("metadata");
    let source = server("c2VjcmV0");
    let (port, task) = start(Arc::clone(&source), &cache).await;
    assert_eq!(get(port, 2, "/latest/user-data").await.1, "secret");
    assert_eq!(get(port, 2, "/latest/meta-data/hostname").await.0, 200);
    assert_eq!(
        source.asked.load(Ordering::Relaxed),
        1,
        "one question is enough"
    );
    task.abort();

    *source.answer.lock().unwrap() = None;
    let (port, task) = start(Arc::clone(&source), &cache).await;
    assert_eq!(get(port, 2, "/latest/user-data").await.1, "secret");
    assert_eq!(get(port, 3, "/latest/user-data").await.0, 503);
    let file = cache.join("i-00000002.json").metadata().unwrap();
    assert_eq!(file.mode() & 0o777, 0o600);
    assert_eq!(cache.metadata().unwrap().mode() & 0o777, 0o700);
    task.abort();

    *source.unknown.lock().unwrap() = true;
    let (port, task) = start(source, &cache).await;
    assert_eq!(get(port, 2, "/latest/user-data").await.0, 404);
    assert!(
        !cache.join("i-00000002.json").exists(),
        "removed from the cache"
    );
    task.abort();
}

#[tokio::test]
async fn a_deleted_instance_leaves_the_cache_without_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("metadata");
    let source = server("c2VjcmV0");
    let (port, task) = start(Arc::clone(&source), &cache).await;
    assert_eq!(get(port, 2, "/latest/user-data").await.1, "secret");
    assert_eq!(get(port, 3, "/latest/user-data").await.1, "secret");
    task.abort();
    let (two, three) = (cache.join("i-00000002.json"), cache.join("i-00000003.json"));
    assert!(two.exists() && three.exists());
    forget(&cache, InstanceId(3)).unwrap();
    forget(&cache, InstanceId(3)).unwrap();
    assert!(two.exists() && !three.exists());

    *source.unknown.lock().unwrap() = true;
    let (_, task) = start(source, &cache).await;
    let gone = async {
        while two.exists() {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(5);
    assert!(tokio::time::timeout(limit, gone).await.is_ok());
    task.abort();
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (port, task) = start(server(""), &folder.path().join("metadata")).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        idle.push(socket.connect(([127, 0, 0, 1], port).into()).await.unwrap());
    }
    assert_eq!(get(port, 3, "/latest/meta-data/instance-id").await.0, 200);
    task.abort();
}

#[tokio::test]
async fn a_token_opens_the_tree_to_its_instance_and_a_wrong_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (port, task) = start(server("c2VjcmV0"), &folder.path().join("metadata")).await;
    let put = "PUT /latest/api/token HTTP/1.1";
    let life = "X-aws-ec2-metadata-token-ttl-seconds";
    let (status, token) = ask(port, 2, &format!("{put}\r\n{life}: 21600")).await;
    assert_eq!(status, 200);
    let id = "GET /latest/meta-data/instance-id HTTP/1.1";
    let with = |token: &str| format!("{id}\r\nX-aws-ec2-metadata-token: {token}");
    assert_eq!(
        ask(port, 2, &with(&token)).await,
        (200, "i-00000002".to_owned())
    );
    assert_eq!(ask(port, 3, &with(&token)).await.0, 401);
    assert_eq!(ask(port, 2, &with("wrong")).await.0, 401);
    assert_eq!(ask(port, 2, &with("")).await.0, 401);
    assert_eq!(ask(port, 2, put).await.0, 400);
    assert_eq!(ask(port, 2, &format!("{put}\r\n{life}: 0")).await.0, 400);
    let forwarded = format!("{put}\r\n{life}: 60\r\nX-Forwarded-For: 127.0.0.3");
    assert_eq!(ask(port, 2, &forwarded).await.0, 403);
    assert_eq!(ask(port, 9, &format!("{put}\r\n{life}: 60")).await.0, 404);
    task.abort();
}

#[tokio::test]
async fn a_client_that_waits_gets_other_user_data_when_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let source = server("b25l");
    let (port, task) = start(Arc::clone(&source), &folder.path().join("metadata")).await;
    let one = hex::encode(Sha256::digest("one"));
    let waiting = format!("/latest/user-data?wait=60&digest={one}");
    let other = waiting.replace(&one, &hex::encode(Sha256::digest("zero")));
    assert_eq!(get(port, 2, &other).await, (200, "one".to_owned()));

    // Neither of these has anything to wait for.
    let tagged = format!("GET /latest/user-data HTTP/1.1\r\nIf-None-Match: \"{one}\"");
    assert_eq!(ask(port, 2, &tagged).await, (304, String::new()));
    let short = waiting.replace("wait=60", "wait=1");
    assert_eq!(get(port, 2, &short).await, (304, String::new()));
    assert_eq!(get(port, 2, "/latest/user-data?wait=x").await.0, 400);
    assert_eq!(get(port, 2, "/latest/meta-data/ami-id?wait=x").await.0, 200);

    let [told, next] = ["&", ""].map(|known| {
        let path = if known.is_empty() {
            "/latest/user-data?wait=60".to_owned()
        } else {
            waiting.clone()
        };
        tokio::spawn(async move { get(port, 2, &path).await })
    });
    // Both wait when the data changes.
    let asked = source.asked.load(Ordering::Relaxed);
    let limit = std::time::Duration::from_secs(20);
    let polled = async {
        while source.asked.load(Ordering::Relaxed) < asked + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, polled).await.unwrap();
    assert!(!told.is_finished() && !next.is_finished());
    source.answer.lock().unwrap().as_mut().unwrap().user_data = Some("dHdv".to_owned());
    for answer in [told, next] {
        let answer = tokio::time::timeout(limit, answer).await.unwrap().unwrap();
        assert_eq!(answer, (200, "two".to_owned()));
    }
    task.abort();
}
