//! A firewall that breaks while the agent makes an instance: the instance waits before its first
//! instruction, however far it was.

use super::parts::{Tiny, image, instance, port};
use crate::engine_support::{delta, eventually, list, reached};
use futures_util::future::BoxFuture;
use novanet_agent::image::{ImageError, ImageSource, Images};
use novanet_agent::instance::{Driver, Instances, Machine, PortAttacher};
use novanet_agent::runtime::Engine;
use novanet_model::object::{Instance, Port};
use novanet_model::wire::{InstanceReport, InstanceState};
use novanet_model::{HostObject, InstanceId};
use novanet_reconcile::fake::{FakeDhcp, FakeFirewall, FakeHost, FakeLinks, FakeSubsystem};
use novanet_reconcile::{SubsystemError, Subsystems, Timing, Workers};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Doors that the test opens, and a log of the calls that passed them.
#[derive(Default)]
struct Way {
    log: Mutex<Vec<&'static str>>,
    children: Mutex<Vec<Child>>,
}

impl Way {
    fn passed(&self, what: &'static str) {
        self.log.lock().unwrap().push(what);
    }

    fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }

    fn end(&self) {
        for child in self.children.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.end();
    }
}

/// The tiny image, when the door opens.
struct Slow {
    way: Arc<Way>,
    door: Arc<Semaphore>,
}

impl ImageSource for Slow {
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            self.way.passed("fetch");
            let open = self.door.acquire().await;
            open.unwrap().forget();
            Tiny.fetch(digest, into).await
        })
    }
}

/// Machines that do nothing, made when the door opens.
struct Idle {
    way: Arc<Way>,
    door: Arc<Semaphore>,
}

impl Driver for Idle {
    fn create<'a>(&'a self, _: &'a Machine) -> BoxFuture<'a, Result<i32, SubsystemError>> {
        Box::pin(async {
            self.way.passed("create");
            let open = self.door.acquire().await;
            open.unwrap().forget();
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            self.way.children.lock().unwrap().push(child);
            Ok(pid)
        })
    }

    fn start(&self, _: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        self.way.passed("start");
        Box::pin(async { Ok(()) })
    }

    fn clean(&self, _: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        self.way.passed("clean");
        self.way.end();
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self) {
        self.way.passed("sweep");
    }
}

struct NoCable;

impl PortAttacher for NoCable {
    fn attach<'a>(
        &'a self,
        _: &'a Port,
        _: i32,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn is_attached(&self, _: &Port) -> bool {
        true
    }
}

pub(super) struct World {
    way: Arc<Way>,
    pub(super) image: Arc<Semaphore>,
    pub(super) machine: Arc<Semaphore>,
    pub(super) host: FakeHost,
    pub(super) engine: Engine,
    pub(super) reports: mpsc::UnboundedReceiver<InstanceReport>,
    pub(super) seen: Vec<InstanceReport>,
    folder: tempfile::TempDir,
}

type Mixed = Workers<
    FakeSubsystem<FakeLinks>,
    FakeSubsystem<FakeFirewall>,
    FakeSubsystem<FakeDhcp>,
    Instances,
>;

impl World {
    fn new() -> (Self, Mixed) {
        let folder = tempfile::tempdir().unwrap();
        let settings = super::host::settings(folder.path());
        let way = Arc::new(Way::default());
        let (image, machine) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let source = Slow {
            way: Arc::clone(&way),
            door: Arc::clone(&image),
        };
        let driver = Idle {
            way: Arc::clone(&way),
            door: Arc::clone(&machine),
        };
        let base = settings.instance_uid_base;
        let images = Images::new(&settings.state_path, base, Arc::new(source)).unwrap();
        let (sender, reports) = mpsc::unbounded_channel();
        let instances = Instances::with_driver(
            &settings,
            Ok(Arc::new(driver)),
            Arc::new(images),
            Arc::new(NoCable),
            sender,
        );
        let host = FakeHost::new();
        let subsystems = Subsystems {
            links: host.subsystem(),
            firewall: host.subsystem(),
            dhcp: host.subsystem(),
            instances,
        };
        let (engine, workers) = Engine::new(subsystems, None, &Timing::default());
        let world = Self {
            way,
            image,
            machine,
            host,
            engine,
            reports,
            seen: Vec::new(),
            folder,
        };
        (world, workers)
    }

    pub(super) async fn until(&self, what: &'static str, times: usize) {
        eventually(what, || {
            let log = self.way.log();
            let there = log.iter().filter(|one| **one == what).count() >= times;
            there.then_some(()).ok_or(log)
        })
        .await;
    }

    /// Another program removes the rules, and the agent cannot write them again.
    pub(super) async fn break_firewall(&self) {
        self.host.fail("firewall", "base", true);
        self.host.take_away("firewall", "base");
        self.host.change_externally("firewall");
        self.errors("base").await;
    }

    async fn errors(&self, part: &str) {
        eventually("the error", || {
            let errors = crate::engine_support::errors(&self.engine);
            let there = errors.iter().any(|(_, message)| message.contains(part));
            there.then_some(()).ok_or(errors)
        })
        .await;
    }

    pub(super) fn mend_firewall(&self) {
        self.host.fail("firewall", "base", false);
        self.host.change_externally("firewall");
    }

    pub(super) async fn reported(&mut self, state: InstanceState, detail: &str) {
        let wait = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                let text = report.detail.clone().unwrap_or_default();
                let found = report.state == state && text.contains(detail);
                self.seen.push(report);
                if found {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{state:?} {detail}: {:?}", self.seen);
    }
}

fn objects() -> [HostObject; 2] {
    [
        HostObject::Instance(instance(1)),
        HostObject::Port(port(1, 0)),
    ]
}

pub(super) fn run(test: impl AsyncFnOnce(World)) {
    let _ = image(); // built once, before the clock runs
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (world, workers) = World::new();
        tokio::spawn(workers.instances.run());
        tokio::spawn(workers.dhcp.run());
        tokio::spawn(workers.firewall.run());
        tokio::spawn(workers.links.run());
        test(world).await;
    });
}

#[test]
fn a_firewall_that_breaks_during_a_long_download_holds_the_instance_back() {
    run(async |mut world| {
        world.engine.merge(list(1, &objects()));
        world.until("fetch", 1).await;
        world.break_firewall().await;
        world.image.add_permits(1);
        world.machine.add_permits(1);
        world
            .reported(InstanceState::Pending, "waits for the firewall: base: ")
            .await;
        assert_eq!(world.way.log(), ["fetch"]);
        world.mend_firewall();
        world.reported(InstanceState::Running, "").await;
        assert_eq!(world.way.log(), ["fetch", "create", "start"]);
    });
}

#[test]
fn a_firewall_that_breaks_while_the_runtime_makes_the_instance_holds_it_back() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.engine.merge(list(1, &objects()));
        world.until("create", 1).await;
        world.break_firewall().await;
        world.machine.add_permits(1);
        world
            .reported(InstanceState::Pending, "waits for the firewall: base: ")
            .await;
        // The agent removes it after a moment: it may have to wait for hours.
        world.until("clean", 1).await;
        assert_eq!(world.way.log(), ["fetch", "create", "clean"]);
        world.mend_firewall();
        world.machine.add_permits(1);
        world.reported(InstanceState::Running, "").await;
        let log = world.way.log();
        assert_eq!(log, ["fetch", "create", "clean", "create", "start"]);
        let errors = |r: &InstanceReport| r.state == InstanceState::Error;
        assert!(!world.seen.iter().any(errors), "{:?}", world.seen);
    });
}

#[test]
fn an_instance_that_waits_for_the_firewall_can_be_removed_and_blocks_no_other() {
    run(async |mut world| {
        world.engine.merge(list(1, &objects()));
        world.until("fetch", 1).await;
        world.break_firewall().await;
        world.image.add_permits(1);
        world
            .reported(InstanceState::Pending, "waits for the firewall: ")
            .await;
        let [machine, cable] = objects();
        world.engine.merge(delta(2, &[], &[&machine, &cable]));
        world.reported(InstanceState::Gone, "").await;
        world.mend_firewall();
        world.machine.add_permits(1);
        let other = Instance {
            instance: InstanceId(2),
            ..instance(2)
        };
        let other = [HostObject::Instance(other), HostObject::Port(port(2, 0))];
        world.engine.merge(delta(3, &other, &[]));
        reached(&world.engine, 3).await;
        world.reported(InstanceState::Running, "").await;
        assert_eq!(world.way.log().iter().filter(|w| **w == "start").count(), 1);
    });
}

#[test]
fn an_instance_that_is_removed_while_it_is_made_leaves_nothing() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.engine.merge(list(1, &objects()));
        world.until("create", 1).await;
        let [machine, cable] = objects();
        world.engine.merge(delta(2, &[], &[&machine, &cable]));
        reached(&world.engine, 2).await;
        world.machine.add_permits(1);
        world.reported(InstanceState::Gone, "").await;
        let log = world.way.log();
        assert!(!log.contains(&"start"), "{log:?}");
        let left: Vec<_> = std::fs::read_dir(world.folder.path().join("instances"))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn the_last_of_simultaneous_removals_removes_what_all_shared() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.machine.add_permits(4);
        let many: Vec<HostObject> = (1..=4)
            .flat_map(|n| {
                [
                    HostObject::Instance(instance(n)),
                    HostObject::Port(port(n, 0)),
                ]
            })
            .collect();
        world.engine.merge(list(1, &many));
        for _ in 0..4 {
            world.reported(InstanceState::Running, "").await;
        }
        let gone: Vec<&HostObject> = many.iter().collect();
        world.engine.merge(delta(2, &[], &gone));
        for _ in 0..4 {
            world.reported(InstanceState::Gone, "").await;
        }
        world.until("sweep", 1).await;
    });
}
