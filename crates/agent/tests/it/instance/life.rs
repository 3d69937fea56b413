//! Reboots, ends, restarts of the agent.

use super::host::{Host, IpPlug, mac, on_a_host, port, room, sh, succeeds};
use futures_util::future::BoxFuture;
use novanet_agent::image::{ImageError, ImageSource, Images};
use novanet_agent::instance::oci::Oci;
use novanet_agent::instance::{Driver, Instances, Machine, Plug};
use novanet_agent::room::{Room, RoomError};
use novanet_model::object::{Instance, Port};
use novanet_model::wire::InstanceState;
use novanet_model::{HostObject, InstanceId};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Runs a command in an instance. It may not live to tell.
fn inside(host: &Host, number: i64, command: &str) {
    let pid = host.pid(number);
    succeeds(&format!("nsenter -t {pid} -a /bin/busybox {command}"));
}

#[test]
fn a_reboot_is_another_process_with_the_same_disk_and_address() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        host.until_console(1, "END SSH HOST KEY KEYS").await;
        let before = host.pid(1);
        let disk = host.settings.state_path.join("instances/i-00000001/upper");
        let host_key = disk.join("etc/dropbear/ed25519");
        let key = std::fs::read(&host_key).unwrap();

        host.want(&HostObject::Instance(Instance {
            boot: 2,
            ..host.instance(1)
        }));
        host.until(1, InstanceState::Running, 2).await;
        host.until_ping(1).await;
        assert_ne!(host.pid(1), before);
        assert_eq!(std::fs::read(&host_key).unwrap(), key);
        let console = host.console(1);
        assert_eq!(console.matches("tiny: vm1 starts").count(), 2, "{console}");
        assert!(console.contains("tiny: going down"), "politely: {console}");
        let states: Vec<_> = host.seen.iter().map(|r| (r.state, r.boot)).collect();
        assert_eq!(
            states,
            [
                (InstanceState::Pending, 1),
                (InstanceState::Running, 1),
                (InstanceState::Pending, 2),
                (InstanceState::Running, 2),
            ]
        );
    });
}

#[test]
fn an_instance_that_powers_off_is_stopped_until_the_next_boot() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        let notified = host.room.disturbed();
        inside(&host, 1, "poweroff");
        notified.notified().await;
        host.until(1, InstanceState::Stopped, 1).await;
        host.room.quiet().await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "it stays stopped");
        host.restart_agent();
        host.until(1, InstanceState::Stopped, 1).await;

        host.want(&HostObject::Instance(Instance {
            boot: 2,
            ..host.instance(1)
        }));
        host.until(1, InstanceState::Running, 2).await;
        host.until_ping(1).await;
    });
}

#[test]
fn reboot_typed_inside_boots_again_without_the_host() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        let pid = host.pid(1);
        inside(&host, 1, "reboot");
        host.until_console(1, "tiny: rebooting\ntiny: vm1 starts")
            .await;
        host.until_ping(1).await;
        host.round().await;
        host.take_reports();
        assert_eq!(host.pid(1), pid);
        assert_eq!(host.seen.last().unwrap().state, InstanceState::Running);
    });
}

#[test]
fn instances_outlive_the_agent_and_are_adopted() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(3);
        for number in 1..=3 {
            host.want_instance(number);
        }
        for number in 1..=3 {
            host.until(number, InstanceState::Running, 1).await;
        }
        host.until_ping(1).await;
        let pid = host.pid(1);

        // While no agent is there: one ends, one is terminated.
        let (sender, _) = mpsc::unbounded_channel();
        host.room = room(&host.settings, &host.image, sender, Arc::new(IpPlug));
        sh(&format!("kill -KILL {}", host.pid(2)));
        host.unwant_instance(3);

        host.restart_agent();
        host.until(1, InstanceState::Running, 1).await;
        host.until(2, InstanceState::Stopped, 1).await;
        host.until(3, InstanceState::Gone, 1).await;
        assert_eq!(host.pid(1), pid, "untouched");
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0));
        host.until_ping(1).await;

        // An adopted one is watched as one's own.
        sh(&format!("kill -KILL {pid}"));
        host.until(1, InstanceState::Stopped, 1).await;
    });
}

#[test]
fn after_a_restart_of_the_host_its_instances_run_again() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        let pid = host.pid(1);
        let file = host
            .settings
            .state_path
            .join("instances/i-00000001/state.json");
        let mut state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        state["host_boot"] = "another run of the kernel".into();
        std::fs::write(&file, state.to_string()).unwrap();
        sh(&format!("kill -KILL {pid}"));

        host.restart_agent();
        host.until(1, InstanceState::Running, 1).await;
        assert_ne!(host.pid(1), pid);
        host.until_ping(1).await;
    });
}

#[test]
fn a_cable_that_was_pulled_is_put_in_again_and_the_instance_answers_again() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        let pid = host.pid(1);
        sh("ip link del dev nv1");
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (1, 0));
        host.room.quiet().await;
        assert_eq!(host.round().await.0, 0);
        host.until_ping(1).await;
        assert_eq!(host.pid(1), pid, "without a reboot");
    });
}

#[test]
fn a_missing_image_is_an_error_that_says_so_and_is_tried_again() {
    on_a_host(async || {
        let mut host = Host::new();
        let missing = format!("sha256:{}", "0".repeat(64));
        let bad = Instance {
            image: missing.clone(),
            ..host.instance(1)
        };
        host.want(&HostObject::Instance(bad));
        host.want(&HostObject::Port(port(1, 0)));
        host.until(1, InstanceState::Error, 1).await;
        let text = format!("image {missing}: cannot be fetched: there is no such image");
        assert_eq!(host.seen.last().unwrap().detail.as_deref(), Some(&*text));
        let (_, errors) = host.round().await;
        assert_eq!(errors[0].1.to_string(), text);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
    });
}

/// A server that takes for ever.
struct Slow;

impl ImageSource for Slow {
    fn fetch<'a>(&'a self, _: &'a str, _: &'a Path) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_removal_does_not_wait_for_a_download() {
    on_a_host(async || {
        let mut host = Host::new();
        let (sender, reports) = mpsc::unbounded_channel();
        let settings = &host.settings;
        let base = settings.instance_uid_base;
        let images = Images::new(&settings.state_path, base, Arc::new(Slow)).unwrap();
        host.room = Instances::new(settings, Arc::new(images), Arc::new(IpPlug), sender);
        host.reports = reports;
        host.want_instance(1);
        host.until(1, InstanceState::Pending, 1).await;
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
        let cache = host.settings.state_path.join("images");
        assert_eq!(std::fs::read_dir(cache).unwrap().count(), 0);
    });
}

#[test]
fn a_host_without_a_runtime_says_what_to_install_and_still_removes() {
    on_a_host(async || {
        let mut host = Host::new();
        let (sender, reports) = mpsc::unbounded_channel();
        let source = Arc::new(super::host::FileSource(host.image.clone()));
        let base = host.settings.instance_uid_base;
        let images = Images::new(&host.settings.state_path, base, source).unwrap();
        let missing = "no OCI runtime: install the Debian package runc";
        host.room = Instances::with_driver(
            &host.settings,
            Err(RoomError::Refused(missing.to_owned())),
            Arc::new(images),
            Arc::new(IpPlug),
            sender,
        );
        host.reports = reports;
        assert_eq!(host.room.problem(), Some(missing));
        host.want_instance(1);
        host.until(1, InstanceState::Error, 1).await;
        let (_, errors) = host.round().await;
        assert_eq!(errors[0].1.to_string(), missing);
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
    });
}

#[test]
fn state_may_be_anywhere_also_where_disks_are_staged() {
    on_a_host(async || {
        let none = None::<&str>;
        let tmpfs = Some("tmpfs");
        nix::mount::mount(tmpfs, "/run", tmpfs, nix::mount::MsFlags::empty(), none).unwrap();
        let mut host = Host::new_in(Path::new("/run")).with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
    });
}

/// Stops for ever at one point, as an agent does that is killed there.
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
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, RoomError>> {
        Box::pin(async {
            self.point().await;
            let pid = self.inner.create(machine).await;
            self.point().await;
            pid
        })
    }

    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), RoomError>> {
        Box::pin(async move {
            self.point().await;
            let done = self.inner.start(instance).await;
            self.point().await;
            done
        })
    }

    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), RoomError>> {
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

struct StopsPlug(Arc<Stops>);

impl Plug for StopsPlug {
    fn plug<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), RoomError>> {
        Box::pin(async move {
            let done = IpPlug.plug(port, pid, ifname).await;
            self.0.point().await;
            done
        })
    }
}

/// Replaces the agent by one that dies at point `at`, and waits until it has died there or come to rest.
/// Answers whether it died.
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
    let source = Arc::new(super::host::FileSource(host.image.clone()));
    let settings = host.settings.clone();
    let images = Images::new(&settings.state_path, settings.instance_uid_base, source).unwrap();
    let desired = host.desired.clone();
    let work = agent.spawn(async move {
        let plug = Arc::new(StopsPlug(Arc::clone(&stops)));
        let driver: Arc<dyn Driver> = stops;
        let mut room =
            Instances::with_driver(&settings, Ok(driver), Arc::new(images), plug, sender);
        loop {
            let there = room.observe(&desired).await.unwrap();
            let changes = novanet_agent::room::diff(&desired, &there);
            room.apply(&changes, &desired).await;
            room.quiet().await;
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
                host.room.quiet().await;
                host.round().await;
                host.room.quiet().await;
                assert_eq!(running(&host), 0, "at {at}");
                assert!(!succeeds("ip link show dev nv1"));
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
