//! The ledger: what an agent knew is there after any end, and one change costs one change.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list};
use novanet_agent::ledger::{self, Ledger};
use novanet_agent::runtime::{DesiredObjects, Engine, Lock, NewsResult, Offline, offline_with};
use novanet_model::HostObject;
use novanet_model::wire::Objects;
use novanet_reconcile::Timing;
use novanet_reconcile::fake::FakeHost;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A table and a ledger that take the same news, as the engine does it.
struct Kept {
    ledger: Ledger,
    table: DesiredObjects,
}

impl Kept {
    fn open(dir: &Path) -> Self {
        let (ledger, table) = Ledger::open(dir).unwrap();
        Self { ledger, table }
    }

    fn take(&mut self, news: Objects) {
        let line = ledger::line(&news);
        self.table.merge(news);
        if self.ledger.add(&line) {
            self.ledger.renew(&self.table);
        }
    }
}

fn floats(count: u32) -> Vec<HostObject> {
    (0..count).map(|n| cloud::float(n, n)).collect()
}

fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn what_was_taken_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(dir.path());
    assert!(!kept.table.is_known());
    kept.take(list(1, &cloud::small_cloud()));
    kept.take(delta(2, &[cloud::float(7, 7)], &[&cloud::float(1, 3)]));
    let table = kept.table.clone();
    drop(kept);
    assert_eq!(Kept::open(dir.path()).table, table);
    assert_eq!(Kept::open(dir.path()).table, table, "and after another one");
    assert_eq!(ledger::peek(dir.path()).unwrap(), Some(table));
}

#[test]
fn a_line_that_was_cut_short_costs_that_line_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(dir.path());
    kept.take(list(1, &cloud::small_cloud()));
    let before = kept.table.clone();
    kept.take(delta(2, &[cloud::float(7, 7)], &[]));
    drop(kept);
    let log = dir.path().join("ledger.0.log");
    let text = fs::read(&log).unwrap();
    for cut in 1..40 {
        fs::write(&log, &text[..text.len() - cut]).unwrap();
        assert_eq!(ledger::peek(dir.path()).unwrap().as_ref(), Some(&before));
    }
    let mut kept = Kept::open(dir.path());
    assert_eq!(kept.table, before);
    kept.take(delta(3, &[cloud::float(8, 8)], &[]));
    let after = kept.table.clone();
    drop(kept);
    assert_eq!(
        Kept::open(dir.path()).table,
        after,
        "it is written on behind the cut"
    );
}

#[test]
fn an_unreadable_list_is_set_aside_and_the_server_is_asked_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(dir.path());
    kept.take(list(1, &floats(5_000)));
    kept.take(delta(2, &[cloud::float(1, 7)], &[]));
    drop(kept);
    fs::write(dir.path().join("ledger.json"), "{").unwrap();
    let mut kept = Kept::open(dir.path());
    assert!(!kept.table.is_known());
    assert!(dir.path().join("ledger.json.bad").exists());
    kept.take(list(1, &cloud::small_cloud()));
    let table = kept.table.clone();
    drop(kept);
    assert_eq!(
        Kept::open(dir.path()).table,
        table,
        "nothing of before comes back"
    );
}

#[test]
fn only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("agent");
    let mut kept = Kept::open(&dir);
    kept.take(list(1, &floats(5_000)));
    drop(kept);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(
        files.iter().any(|file| file.ends_with("ledger.json")),
        "{files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn one_change_among_ten_thousand_does_not_write_the_rest_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(dir.path());
    kept.take(list(1, &floats(10_000)));
    drop(kept);
    let mut kept = Kept::open(dir.path());
    let before = bytes_in(dir.path());
    for version in 2..12 {
        kept.take(delta(version, &[cloud::float(1, 7)], &[]));
    }
    drop(kept);
    let written = bytes_in(dir.path()) - before;
    assert!(written < 10 * 300, "{written} bytes for ten changes");
}

#[test]
fn it_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(dir.path());
    kept.take(list(1, &floats(100)));
    for version in 2..10_000 {
        let n = u32::try_from(version % 100).unwrap();
        kept.take(delta(version, &[cloud::float(n, n + 1)], &[]));
    }
    let table = kept.table.clone();
    drop(kept);
    let size = bytes_in(dir.path());
    assert!(size < 700_000, "{size} bytes");
    assert_eq!(Kept::open(dir.path()).table, table);
}

#[tokio::test]
async fn one_change_among_ten_thousand_costs_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let host = FakeHost::new();
    let ledger = Ledger::open(dir.path()).unwrap();
    let (engine, workers) = Engine::new(host.subsystems(), Some(ledger), &Timing::default());
    tokio::spawn(workers.run());
    engine.merge(list(1, &floats(10_000)));
    cloud::reached(&engine, 1).await;
    let seen = host.observations("firewall");
    let mut times = Vec::new();
    for version in 2..102 {
        let fixed = u32::try_from(version).unwrap();
        let began = Instant::now();
        assert_eq!(
            engine.merge(delta(version, &[cloud::float(5, fixed)], &[])),
            NewsResult::Merged
        );
        while engine.status().version < version {
            tokio::task::yield_now().await;
        }
        times.push(began.elapsed());
    }
    // What the machine does besides is in most of them, what it costs is in all.
    let quickest = times.iter().min().unwrap();
    assert!(*quickest < Duration::from_millis(1), "{times:?}");
    // Every few seconds it observes, however long this takes; but not for each change.
    let observed = host.observations("firewall") - seen;
    assert!(observed < 50, "it observed on the hot path: {observed}");
    assert_eq!(host.items()["firewall float/203.0.0.5"], "10.0.0.101");
}

#[tokio::test]
async fn a_host_without_an_agent_is_planned_from_its_ledger_and_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let host = FakeHost::new();
    let mut kept = Kept::open(&dir.path().join("agent"));
    kept.take(list(1, &[cloud::float(1, 1)]));
    drop(kept);
    host.put("links", "bridge/br9", "left over");
    let ask = async |what| {
        let lock = Lock::acquire(dir.path()).unwrap();
        let asked = offline_with(dir.path(), lock, host.subsystems(), what);
        asked.await.unwrap()
    };
    insta::assert_snapshot!(
        "offline_plan_diff",
        ask(Offline::Plan { diff: true }).await.unwrap()
    );
    assert_eq!(host.actions(), [""; 0], "planning changes nothing");
    ask(Offline::Cleanup {
        dry_run: true,
        force: true,
    })
    .await
    .unwrap();
    assert_eq!(host.items().len(), 1);
    let text = ask(Offline::Cleanup {
        dry_run: false,
        force: true,
    })
    .await
    .unwrap();
    assert!(text.contains("remove bridge/br9"), "{text}");
    assert!(host.items().is_empty());
    host.put("links", "bridge/br9", "left over");
    host.fail("links", "bridge/br9", true);
    let failed = ask(Offline::Cleanup {
        dry_run: false,
        force: true,
    })
    .await
    .unwrap_err();
    assert!(
        failed.contains("links: not everything could be removed\n  bridge/br9: "),
        "{failed}"
    );
}

#[tokio::test]
async fn without_a_ledger_there_is_no_plan() {
    let dir = tempfile::tempdir().unwrap();
    let what = Offline::Plan { diff: false };
    let lock = Lock::acquire(dir.path()).unwrap();
    let subsystems = FakeHost::new().subsystems();
    let error = offline_with(dir.path(), lock, subsystems, what)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no ledger"), "{error}");
}

#[tokio::test]
async fn the_metadata_service_finds_instances_by_address() {
    let host = FakeHost::new();
    let (engine, workers) = Engine::new(host.subsystems(), None, &Timing::default());
    tokio::spawn(workers.run());
    engine.merge(list(
        1,
        &[cloud::port(1, "br100", 1), cloud::binding(1, "br100")],
    ));
    let address = "10.0.0.3".parse().unwrap();
    let found = |n: Option<i64>| n.map(novanet_model::InstanceId);
    assert_eq!(engine.instance_at(address), found(Some(1)));
    engine.merge(delta(2, &[], &[&cloud::port(1, "br100", 1)]));
    assert_eq!(engine.instance_at(address), found(Some(1)));
    engine.merge(delta(3, &[], &[&cloud::binding(1, "br100")]));
    assert_eq!(engine.instance_at(address), None);
    eventually("an empty host", || {
        let items = host.items();
        if items.len() == 1 { Ok(()) } else { Err(items) }
    })
    .await;
}

#[test]
fn nobody_who_asks_the_engine_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Ledger::open(dir.path()).unwrap();
    // A pipe takes nothing without a reader, as a disk that hangs.
    let log = dir.path().join("ledger.0.log");
    nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (engine, _lanes) =
        Engine::new(FakeHost::new().subsystems(), Some(kept), &Timing::default());
    let taking = {
        let engine = engine.clone();
        std::thread::spawn(move || engine.merge(list(1, &cloud::small_cloud())))
    };
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while engine.position().after < 1 {
            std::thread::yield_now();
        }
        // The table has it, and the ledger does not.
        answer.send(engine.status().version).unwrap();
    });
    let version = answered.recv_timeout(Duration::from_secs(30));
    let _reader = fs::File::open(&log).unwrap();
    assert_eq!(version, Ok(0), "nothing is in force yet");
    assert_eq!(taking.join().unwrap(), NewsResult::Merged);
}
