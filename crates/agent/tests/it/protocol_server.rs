//! A server for tests of the agent: speaks the protocol over a unix socket, keeps one host's
//! objects as the real one does, and remembers what it was told.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use novanet_model::wire::fingerprint;
use novanet_model::wire::{
    Answer, Asked, Change, Digest, Hello, LeaseEvent, Leases, Metadata, Objects, Question, Status,
};
use novanet_model::{HostAddresses, HostObject, ObjectKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the server knows. Survives a restart of the server, as a database does.
#[derive(Clone)]
pub(crate) struct Cloud {
    state: Arc<Mutex<State>>,
    moved: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) epoch: String,
    pub(crate) version: i64,
    pub(crate) objects: BTreeMap<ObjectKey, (i64, Option<HostObject>)>,
    /// Epochs that the operator decided this one takes over from.
    pub(crate) accepts: Vec<String>,
    pub(crate) questions: Vec<Asked>,
    pub(crate) hellos: Vec<Hello>,
    pub(crate) statuses: Vec<Status>,
    pub(crate) leases: Vec<LeaseEvent>,
    pub(crate) addresses: Vec<HostAddresses>,
    pub(crate) answers: BTreeMap<String, Answer>,
    pub(crate) images: BTreeMap<String, Bytes>,
    /// How many whole lists and how many deltas were sent.
    pub(crate) wholes: usize,
    pub(crate) deltas: usize,
    /// Loses the next change for followers, as a bug would.
    pub(crate) forget: bool,
}

impl Cloud {
    pub(crate) fn new() -> Self {
        let state = State {
            epoch: "e1".to_owned(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            moved: watch::channel(0).0,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes rows in one transaction.
    pub(crate) fn change(&self, there: &[HostObject], gone: &[&HostObject]) -> i64 {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        for object in there {
            let row = (version, Some(object.clone()));
            state.objects.insert(object.key(), row);
        }
        for object in gone {
            state.objects.insert(object.key(), (version, None));
        }
        drop(state);
        self.moved.send_modify(|n| *n += 1);
        version
    }

    /// Another database, or another state of it.
    pub(crate) fn restore(&self, epoch: &str, version: i64, objects: &[HostObject]) {
        let mut state = self.state();
        epoch.clone_into(&mut state.epoch);
        state.version = version;
        let row = |o: &HostObject| (o.key(), (version, Some(o.clone())));
        state.objects = objects.iter().map(row).collect();
        drop(state);
        self.moved.send_modify(|n| *n += 1);
    }

    pub(crate) fn ask(&self, id: &str, question: Question) {
        let id = id.to_owned();
        self.state().questions.push(Asked { id, question });
        self.moved.send_modify(|n| *n += 1);
    }

    /// Serves until the handle is dropped.
    pub(crate) fn serve(&self, socket: &Path) -> Serving {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let cloud = self.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let cloud = cloud.clone();
                let service = service_fn(move |request| {
                    let cloud = cloud.clone();
                    async move { Ok::<_, std::convert::Infallible>(cloud.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                connections.spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Serving(task)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if let Some(digest) = path.strip_prefix("/agent/v1/images/") {
            let image = self.state().images.get(digest).cloned();
            return image.map_or_else(
                || reply(StatusCode::NOT_FOUND, "no such image"),
                |bytes| Response::new(Full::new(bytes)),
            );
        }
        let path = path.strip_prefix("/agent/v1/hosts/").unwrap();
        let action = &path[path.find('/').unwrap()..];
        match (&method, action) {
            (&Method::GET, "/objects") => json(&self.objects(&query).await),
            (&Method::GET, "/metadata/i-00000001") => json(&Metadata {
                hostname: "host-1".to_owned(),
                ..Metadata::default()
            }),
            (&Method::GET, "/digest") => json(&self.digest()),
            (&Method::POST, "/hello") => self.keep(&body, |state, it| state.hellos.push(it)),
            (&Method::POST, "/status") => self.keep(&body, |state, it| state.statuses.push(it)),
            (&Method::POST, "/leases") => {
                self.keep(&body, |state, it: Leases| state.leases.extend(it.events))
            }
            (&Method::POST, "/addresses") => self.keep(&body, |state, it| state.addresses.push(it)),
            (&Method::POST, action) if action.starts_with("/answers/") => {
                let id = action["/answers/".len()..].to_owned();
                self.keep(&body, |state, it| {
                    state.questions.retain(|asked| asked.id != id);
                    state.answers.insert(id, it);
                })
            }
            _ => reply(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    fn keep<T: serde::de::DeserializeOwned>(
        &self,
        body: &[u8],
        keep: impl FnOnce(&mut State, T),
    ) -> Response<Full<Bytes>> {
        keep(&mut self.state(), serde_json::from_slice(body).unwrap());
        reply(StatusCode::NO_CONTENT, "")
    }

    async fn objects(&self, query: &str) -> Objects {
        let mut asked: BTreeMap<&str, &str> = BTreeMap::new();
        asked.extend(query.split('&').filter_map(|pair| pair.split_once('=')));
        let after = asked["after"].parse().unwrap();
        let wait = Duration::from_millis(asked["wait_ms"].parse().unwrap());
        let epoch = asked.get("epoch").copied().unwrap_or_default();
        let mut moved = self.moved.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            moved.borrow_and_update();
            let news = self.news(epoch, after);
            if news.whole || !news.changes.is_empty() || !news.questions.is_empty() {
                return news;
            }
            if tokio::time::timeout_at(deadline, moved.changed())
                .await
                .is_err()
            {
                return news;
            }
        }
    }

    fn news(&self, epoch: &str, after: i64) -> Objects {
        let mut state = self.state();
        let whole = state.epoch != epoch || state.version < after;
        // A list has the tombstones, too.
        let wanted = |(_, (version, _)): &(&ObjectKey, &(i64, Option<HostObject>))| {
            whole || *version > after
        };
        let change = |(key, (version, object)): (&ObjectKey, &(i64, Option<HostObject>))| Change {
            key: key.clone(),
            version: *version,
            object: object.clone(),
        };
        let mut changes: Vec<_> = state.objects.iter().filter(wanted).map(change).collect();
        if !changes.is_empty() && std::mem::take(&mut state.forget) {
            changes.pop();
        }
        if whole {
            state.wholes += 1;
        } else if !changes.is_empty() {
            state.deltas += 1;
        }
        Objects {
            epoch: state.epoch.clone(),
            version: state.version,
            whole,
            changes,
            accepts: state.accepts.clone(),
            questions: state.questions.clone(),
        }
    }

    fn digest(&self) -> Digest {
        let state = self.state();
        let there = || {
            state
                .objects
                .iter()
                .filter(|(_, (_, object))| object.is_some())
        };
        let versions: Vec<i64> = there().map(|(_, (version, _))| *version).collect();
        Digest {
            epoch: state.epoch.clone(),
            version: state.version,
            count: i64::try_from(versions.len()).unwrap(),
            max: versions.iter().copied().max().unwrap_or(0),
            sum: versions.iter().sum(),
            fingerprint: Some(fingerprint(
                there().map(|(key, (version, _))| (key.0.as_str(), *version)),
            )),
        }
    }
}

/// A server that is up.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn json(body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    Response::new(Full::new(serde_json::to_vec(body).unwrap().into()))
}

fn reply(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
