//! The agent is killed at every step of an instance's boot and removal; the next one goes on.

use super::disk::until_no_loops;
use super::host::Host;
use super::parts::{Tiny, VethAttacher, mac, on_a_host, sh, until_fails};
use futures_util::future::BoxFuture;
use novanet_agent::image::Images;
use novanet_agent::instance::oci::{Oci, Version};
use novanet_agent::instance::{Driver, Instances, Machine, PortAttacher};
use novanet_model::InstanceId;
use novanet_model::object::Port;
use novanet_model::wire::InstanceState;
use novanet_reconcile::{Subsystem, SubsystemError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Stops for ever at one point, like an agent that is killed there.
struct Stops {
    inner: Oci,
    at: usize,
    passed: AtomicUsize,
    reached: Arc<Notify>,
}

impl Stops {
    async fn point(&self) {
        if self.passed.fetch_add(1, Ordering::SeqCst) == self.at {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Driver for Stops {
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, SubsystemError>> {
        Box::pin(async {
            self.point().await;
            let pid = self.inner.create(machine).await;
            self.point().await;
            pid
        })
    }

    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async move {
            self.point().await;
            let done = self.inner.start(instance).await;
            self.point().await;
            done
        })
    }

    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async move {
            self.point().await;
            let done = self.inner.clean(instance).await;
            self.point().await;
            done
        })
    }

    fn sweep(&self) {
        self.inner.sweep();
    }
}

struct KillsAttach(Arc<Stops>);

impl PortAttacher for KillsAttach {
    fn attach<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async move {
            let done = VethAttacher.attach(port, pid, ifname).await;
            self.0.point().await;
            done
        })
    }
}

/// Replaces the agent by one that dies at point `at`, and waits until it has died there or come to
/// rest. Returns whether it died.
async fn dies_at(host: &mut Host, at: usize) -> bool {
    let reached = Arc::new(Notify::new());
    let stops = Arc::new(Stops {
        inner: Oci::probe(&host.settings).unwrap(),
        at,
        passed: AtomicUsize::new(0),
        reached: Arc::clone(&reached),
    });
    let agent = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (sender, _reports) = mpsc::unbounded_channel();
    let source = Arc::new(Tiny);
    let settings = host.settings.clone();
    let images = Images::new(&settings.state_path, settings.instance_uid_base, source).unwrap();
    let desired = host.desired.clone();
    let work = agent.spawn(async move {
        let attacher = Arc::new(KillsAttach(Arc::clone(&stops)));
        let driver: Arc<dyn Driver> = stops;
        let mut subsystem =
            Instances::with_driver(&settings, Ok(driver), Arc::new(images), attacher, sender);
        loop {
            let there = subsystem.observe(&desired).await.unwrap();
            let changes = novanet_reconcile::diff(&desired, &there);
            subsystem.apply(&changes, &desired).await;
            subsystem.wait_idle().await;
            if changes.is_empty() {
                return;
            }
        }
    });
    let died = tokio::select! {
        () = reached.notified() => true,
        done = work => { done.unwrap(); false }
    };
    agent.shutdown_background();
    died
}

#[test]
fn an_agent_killed_at_any_point_is_followed_by_one_that_ends_in_the_same_state() {
    on_a_host(async || {
        let mut host = Host::new();
        let mut points = 0;
        for boot in [true, false] {
            for at in 0.. {
                if boot {
                    host.want_instance(1);
                } else {
                    host.unwant_instance(1);
                }
                let died = dies_at(&mut host, at).await;
                host.restart_agent();
                if boot {
                    host.until(1, InstanceState::Running, 1).await;
                    let links = sh(&format!("nsenter -t {} -n ip -o link", host.pid(1)));
                    assert!(links.contains(&mac(1, 0).to_string()), "{at}: {links}");
                    assert_eq!(running(&host), 1, "one and no more, at {at}");
                    host.unwant_instance(1);
                } else if died {
                    host.until(1, InstanceState::Gone, 0).await;
                } else {
                    host.round().await;
                }
                host.subsystem.wait_idle().await;
                host.round().await;
                host.subsystem.wait_idle().await;
                assert_eq!(running(&host), 0, "at {at}");
                until_fails("ip link show dev nv1").await;
                let folder = host.settings.state_path.join("instances");
                assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "at {at}");
                if !died {
                    break;
                }
                points += 1;
                if !boot {
                    host.want_instance(1);
                    host.until(1, InstanceState::Running, 1).await;
                }
            }
            host.want_instance(1);
            host.until(1, InstanceState::Running, 1).await;
        }
        assert!(points >= 7, "{points}");
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 0).await;
        until_no_loops(&host).await;
    });
}

/// How many first processes of instances there are on this host.
fn running(host: &Host) -> usize {
    let marks = Oci::probe(&host.settings).unwrap().cgroup_of(InstanceId(0));
    let mark = marks.split('/').next().unwrap().to_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let group = std::fs::read_to_string(entry.path().join("cgroup"));
            let status = std::fs::read_to_string(entry.path().join("status"));
            group.is_ok_and(|text| text.contains(&mark))
                && status.is_ok_and(|text| {
                    let mut lines = text.lines();
                    !text.contains("State:\tZ")
                        && lines.any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
                })
        })
        .count()
}

#[test]
fn unfinished_folders_of_a_killed_agent_are_removed() {
    on_a_host(async || {
        let mut host = Host::new();
        let instances = host.settings.state_path.join("instances");
        for name in [
            ".making-i-00000001/upper",
            ".removed-i-00000002/upper/bin",
            "i-00000003/upper",
            "i-00000004/upper",
        ] {
            std::fs::create_dir_all(instances.join(name)).unwrap();
        }
        std::fs::write(instances.join("i-00000003/spec.json"), "{").unwrap();
        std::fs::write(instances.join("foreign"), "not ours").unwrap();
        // Of 4 there is what a runtime that was killed in its `create` leaves.
        let state = host.settings.state_path.join("runtime/state/i-00000004");
        std::fs::create_dir_all(&state).unwrap();
        let oci = Oci::probe(&host.settings).unwrap();
        let group = oci.cgroup_of(InstanceId(4));
        let groups = if oci.cgroups().version == Version::V2 {
            vec![format!("/sys/fs/cgroup/{group}")]
        } else {
            ["memory", "pids"]
                .map(|c| format!("/sys/fs/cgroup/{c}/{group}"))
                .to_vec()
        };
        for group in &groups {
            std::fs::create_dir_all(format!("{group}/below")).unwrap();
        }
        let mut unfinished = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let procs = format!("{}/below/cgroup.procs", groups[0]);
        std::fs::write(procs, unfinished.id().to_string()).unwrap();
        // 3 is still desired, 4 is not.
        host.want_instance(3);
        host.until(3, InstanceState::Running, 1).await;
        host.until(4, InstanceState::Gone, 1).await;
        let mut left: Vec<_> = std::fs::read_dir(&instances)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["foreign", "i-00000003"]);
        assert!(!unfinished.wait().unwrap().success(), "it was not ended");
        for path in [state.display().to_string()].iter().chain(&groups) {
            assert!(!std::path::Path::new(path).exists(), "{path}");
        }
    });
}
