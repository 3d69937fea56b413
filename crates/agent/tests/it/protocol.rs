//! A whole agent (on a host in memory) and a server, speaking the protocol over a unix socket.

use crate::engine_support as cloud;
use crate::engine_support::eventually;
use crate::protocol_server::Cloud;
use novanet_agent::local;
use novanet_agent::runtime::{AgentError, Console, Lock, Parts, serve};
use novanet_agent::server_client::{Client, LeaseSource, Pace, ServerAddress};
use novanet_model::object::HostObject;
use novanet_model::wire::{
    Answer, Hello, HostRole, InstanceReport, InstanceState, LeaseChange, LeaseEvent, Question,
};
use novanet_model::{InstanceId, MacAddr, NetworkKind, ObjectKey};
use novanet_reconcile::Timing;
use novanet_reconcile::fake::FakeHost;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) struct Agent {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
    reports: mpsc::UnboundedSender<InstanceReport>,
}

impl Agent {
    pub(crate) fn start(host: &FakeHost, dir: &Path, leases: Option<Arc<dyn LeaseSource>>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let parts = Parts {
            state_path: dir.to_owned(),
            lock: Lock::acquire(dir).unwrap(),
            subsystems: host.subsystems(),
            client: Client::new(ServerAddress::Unix(socket(dir)), "host-1"),
            hello: hello(),
            my_ip_follows: true,
            console: Arc::new(Consoles),
            leases,
            reports: reported,
            background: Vec::new(),
            timing: Timing::default(),
            pace: pace(),
        };
        let task = tokio::spawn(serve(parts, async {
            let _ = stopped.await;
        }));
        Self {
            stop,
            task,
            reports,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

struct Consoles;

impl Console for Consoles {
    fn read(&self, instance: InstanceId) -> Option<std::io::Result<String>> {
        (instance.0 == 1).then(|| Ok("login:".to_owned()))
    }
}

fn pace() -> Pace {
    Pace {
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        resync: Duration::from_millis(200),
        ..Pace::default()
    }
}

fn hello() -> Hello {
    Hello {
        version: "1".to_owned(),
        roles: vec![HostRole::Network],
        my_ip: "192.0.2.1".parse().unwrap(),
        kinds: vec![NetworkKind::FlatDhcp],
        vcpus: 2,
        memory_mb: 1024,
    }
}

pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("server.sock")
}

pub(crate) async fn has(host: &FakeHost, thing: &str, value: Option<&str>) {
    eventually(thing, || {
        let items = host.items();
        let ok = items.get(thing).map(String::as_str) == value;
        if ok { Ok(()) } else { Err(items) }
    })
    .await;
}

pub(crate) async fn server_sees(cloud: &Cloud, version: i64) {
    eventually("the status", || {
        let last = cloud.state().statuses.last().cloned();
        let reached = last.as_ref().is_some_and(|s| s.version >= version);
        if reached { Ok(()) } else { Err(last) }
    })
    .await;
}

#[tokio::test]
async fn a_list_then_deltas_and_tombstones_come_into_force_and_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    cloud.change(&cloud::small_cloud(), &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.3")).await;
    server_sees(&cloud, 1).await;
    assert_eq!(cloud.state().hellos, [hello()]);

    cloud.change(&[cloud::float(2, 9)], &[]);
    has(&host, "firewall float/203.0.0.2", Some("10.0.0.9")).await;
    let version = cloud.change(&[], &[&cloud::float(2, 9)]);
    has(&host, "firewall float/203.0.0.2", None).await;
    server_sees(&cloud, version).await;
    {
        let state = cloud.state();
        assert_eq!((state.wholes, state.deltas), (1, 2));
        assert!(state.statuses.last().unwrap().errors.is_empty());
    }
    agent.stop().await;
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.3")).await;
}

#[tokio::test]
async fn a_change_that_got_lost_is_found_by_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    cloud.change(&[cloud::float(1, 1)], &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let _agent = Agent::start(&host, dir.path(), None);
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.1")).await;
    cloud.state().forget = true;
    cloud.change(&[cloud::float(2, 2), cloud::float(3, 3)], &[]);
    has(&host, "firewall float/203.0.0.2", Some("10.0.0.2")).await;
    has(&host, "firewall float/203.0.0.3", Some("10.0.0.3")).await;
    assert_eq!(cloud.state().wholes, 2);
}

#[tokio::test]
async fn without_a_server_the_host_comes_up_from_the_ledger_and_catches_up_later() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    cloud.change(&cloud::small_cloud(), &[]);
    let serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    server_sees(&cloud, 1).await;
    let version = cloud.change(&[cloud::float(2, 9)], &[]);
    server_sees(&cloud, version).await;
    let before = host.items();
    agent.stop().await;
    drop(serving);

    let rebooted = FakeHost::new();
    let agent = Agent::start(&rebooted, dir.path(), None);
    eventually("the host as before", || {
        let items = rebooted.items();
        if items == before { Ok(()) } else { Err(items) }
    })
    .await;
    let version = cloud.change(&[], &[&cloud::float(2, 9)]);
    let _serving = cloud.serve(&socket(dir.path()));
    has(&rebooted, "firewall float/203.0.0.2", None).await;
    server_sees(&cloud, version).await;
    assert_eq!(
        cloud.state().wholes,
        1,
        "the ledger's position was good for a delta"
    );
    agent.stop().await;
}

#[tokio::test]
async fn what_fails_is_reported_under_its_object_and_then_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    host.fail("firewall", "float/203.0.0.1", true);
    cloud.change(&[cloud::float(1, 1), cloud::float(2, 2)], &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let _agent = Agent::start(&host, dir.path(), None);
    server_sees(&cloud, 1).await;
    has(&host, "firewall float/203.0.0.2", Some("10.0.0.2")).await;
    let errors = cloud.state().statuses.last().unwrap().errors.clone();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].key, ObjectKey("float/203.0.0.1".to_owned()));
    // The link's part of it waits for the firewall's, and may have said so already.
    let message = &errors[0].message;
    let cause = "firewall float/203.0.0.1: float/203.0.0.1: No space left on device (os error 28)";
    assert!(message.ends_with(cause), "{message}");
    host.fail("firewall", "float/203.0.0.1", false);
    eventually("a clean status", || {
        let errors = cloud.state().statuses.last().unwrap().errors.clone();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    })
    .await;
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.1")).await;
}

#[tokio::test]
async fn questions_are_answered_over_the_poll_and_over_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    cloud.change(&[cloud::float(1, 1)], &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let _agent = Agent::start(&host, dir.path(), None);
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.1")).await;
    let instance = InstanceId(1);
    cloud.ask("q1", Question::Console { instance });
    let text = |text: &str| Answer::Text {
        text: text.to_owned(),
    };
    eventually("the answer", || {
        let answers = cloud.state().answers.clone();
        if answers.contains_key("q1") {
            Ok(())
        } else {
            Err(answers)
        }
    })
    .await;
    assert_eq!(cloud.state().answers["q1"], text("login:"));

    let answer = local::ask(dir.path(), &Question::Firewall).await.unwrap();
    let shown = "firewall base: default deny\nfirewall float/203.0.0.1: 10.0.0.1\n";
    assert_eq!(answer, text(shown));
    let gone = Question::Console {
        instance: InstanceId(2),
    };
    let answer = local::ask(dir.path(), &gone).await.unwrap();
    let message = "i-00000002: not on this host".to_owned();
    assert_eq!(answer, Answer::Failed { message });
}

#[tokio::test]
async fn states_of_instances_are_reported_once_and_again_to_a_server_that_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    let report = InstanceReport {
        instance: InstanceId(1),
        state: InstanceState::Running,
        boot: 0,
        detail: None,
    };
    agent.reports.send(report.clone()).unwrap();
    let told = || {
        let state = cloud.state();
        let statuses = state.statuses.iter();
        statuses.filter(|s| s.instances == [report.clone()]).count()
    };
    let times = |wanted: usize| move |told: usize| if told >= wanted { Ok(()) } else { Err(told) };
    eventually("one report", || times(1)(told())).await;
    cloud.change(&[cloud::float(1, 1)], &[]);
    server_sees(&cloud, 1).await;
    assert_eq!(told(), 1, "it is not repeated");
    drop(serving);
    let _serving = cloud.serve(&socket(dir.path()));
    eventually("a second report", || times(2)(told())).await;
}

#[derive(Default)]
struct Journal {
    events: Mutex<Vec<LeaseEvent>>,
    changed: Arc<Notify>,
}

impl LeaseSource for Journal {
    fn pending(&self, limit: usize) -> std::io::Result<Vec<LeaseEvent>> {
        Ok(self
            .events
            .lock()
            .unwrap()
            .iter()
            .take(limit)
            .cloned()
            .collect())
    }
    fn acknowledge(&self, count: usize) -> std::io::Result<()> {
        self.events.lock().unwrap().drain(..count);
        Ok(())
    }
    fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

#[tokio::test]
async fn leases_wait_in_the_journal_until_the_server_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let journal = Arc::new(Journal::default());
    let event = |n: u8, event| LeaseEvent {
        event,
        address: [10, 0, 0, n].into(),
        mac: MacAddr([2, 0, 0, 0, 0, n]),
    };
    let events = [
        event(3, LeaseChange::Leased),
        event(3, LeaseChange::Released),
    ];
    journal.events.lock().unwrap().push(events[0].clone());
    let agent = Agent::start(&host, dir.path(), Some(journal.clone()));
    let _serving = cloud.serve(&socket(dir.path()));
    let arrived = |n: usize| {
        let leases = cloud.state().leases.clone();
        if leases.len() == n {
            Ok(())
        } else {
            Err(leases)
        }
    };
    eventually("the first event", || arrived(1)).await;
    eventually("an empty journal", || {
        let left = journal.events.lock().unwrap().clone();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    journal.events.lock().unwrap().push(events[1].clone());
    journal.changed.notify_one();
    eventually("the second event", || arrived(2)).await;
    assert_eq!(cloud.state().leases, events);
    agent.stop().await;
}

#[tokio::test]
async fn two_agents_on_one_host_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let host = FakeHost::new();
    let first = Agent::start(&host, dir.path(), None);
    eventually("the socket", || {
        let path = local::socket_path(dir.path());
        if path.exists() { Ok(()) } else { Err(path) }
    })
    .await;
    let error = Lock::acquire(dir.path()).unwrap_err();
    assert!(matches!(error, AgentError::AlreadyRunning(_)), "{error}");
    first.stop().await;
}

#[tokio::test]
async fn a_cleaned_up_host_stays_empty_until_the_agent_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let objects: Vec<HostObject> = cloud::small_cloud();
    cloud.change(&objects, &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    server_sees(&cloud, 1).await;
    let full = host.items();
    let dry = Question::Cleanup {
        dry_run: true,
        force: true,
    };
    let Answer::Text { text } = local::ask(dir.path(), &dry).await.unwrap() else {
        panic!("dry run failed");
    };
    assert_eq!(text.matches("  remove ").count(), full.len(), "{text}");
    assert_eq!(host.items(), full);
    let wet = Question::Cleanup {
        dry_run: false,
        force: true,
    };
    assert_eq!(
        local::ask(dir.path(), &wet).await.unwrap(),
        Answer::Text { text }
    );
    assert!(host.items().is_empty());
    cloud.change(&[cloud::float(2, 2)], &[]);
    host.change_externally("firewall");
    eventually("a status that says so", || {
        let last = cloud.state().statuses.last().cloned().unwrap();
        let said = last.errors.iter().any(|e| e.key.0 == "host/cleanup");
        if said { Ok(()) } else { Err(last) }
    })
    .await;
    assert!(host.items().is_empty());
    agent.stop().await;
    let _agent = Agent::start(&host, dir.path(), None);
    has(&host, "firewall float/203.0.0.2", Some("10.0.0.2")).await;
}

#[tokio::test]
async fn images_and_metadata_come_from_the_server_and_its_refusals_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = Cloud::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let image = bytes.clone().into();
    cloud.state().images.insert("sha256:aa".to_owned(), image);
    let serving = cloud.serve(&socket(dir.path()));
    let client = Client::new(ServerAddress::Unix(socket(dir.path())), "host-1");
    let into = dir.path().join("image");
    client.image("sha256:aa", &into).await.unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), bytes);
    let error = client.image("sha256:bb", &into).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/agent/v1/images/sha256:bb: 404 Not Found: no such image"
    );
    let metadata = client.metadata(InstanceId(1)).await.unwrap();
    assert_eq!(metadata.unwrap().hostname, "host-1");
    assert_eq!(client.metadata(InstanceId(2)).await.unwrap(), None);

    drop(serving);
    std::fs::remove_file(socket(dir.path())).unwrap();
    let idle_connections_end = async {
        loop {
            match client.metadata(InstanceId(1)).await {
                Err(error) => return error.to_string(),
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    let limit = Duration::from_secs(20);
    let error = tokio::time::timeout(limit, idle_connections_end)
        .await
        .unwrap();
    let expected = format!("server unix:{}: ", socket(dir.path()).display());
    assert!(error.starts_with(&expected), "{error}");
}
