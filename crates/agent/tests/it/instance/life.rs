//! Reboots, ends, restarts of the agent.

use super::host::Host;
use super::parts::{Tiny, VethAttacher, instance, on_a_host, port, sh, subsystem, succeeds};
use futures_util::future::BoxFuture;
use novanet_agent::image::{ImageError, ImageSource, Images};
use novanet_agent::instance::Instances;
use novanet_model::HostObject;
use novanet_model::object::Instance;
use novanet_model::wire::InstanceState;
use novanet_reconcile::{Subsystem, SubsystemError};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Runs a command in an instance, which may end with the instance.
fn inside(host: &Host, number: i64, command: &str) {
    let pid = host.pid(number);
    succeeds(&format!("nsenter -t {pid} -a /bin/busybox {command}"));
}

#[test]
fn a_reboot_is_another_process_with_the_same_disk_and_address() {
    on_a_host(async || {
        let mut host = Host::with_one_running().await;
        host.until_ping(1).await;
        host.until_console(1, "END SSH HOST KEY KEYS").await;
        let before = host.pid(1);
        let host_key = |host: &Host| {
            let inside = format!("/proc/{}/root", host.pid(1));
            std::fs::read(Path::new(&inside).join("etc/dropbear/ed25519")).unwrap()
        };
        let key = host_key(&host);

        host.want(&HostObject::Instance(Instance {
            boot: 2,
            ..instance(1)
        }));
        host.until(1, InstanceState::Running, 2).await;
        host.until_ping(1).await;
        assert_ne!(host.pid(1), before);
        assert_eq!(host_key(&host), key);
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
        let mut host = Host::with_one_running().await;
        host.until_ping(1).await;
        let notified = host.subsystem.changed_externally();
        inside(&host, 1, "poweroff");
        notified.notified().await;
        host.until(1, InstanceState::Stopped, 1).await;
        host.subsystem.wait_idle().await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "it stays stopped");
        host.restart_agent();
        host.until(1, InstanceState::Stopped, 1).await;

        host.want(&HostObject::Instance(Instance {
            boot: 2,
            ..instance(1)
        }));
        host.until(1, InstanceState::Running, 2).await;
        host.until_ping(1).await;
    });
}

#[test]
fn an_instance_that_its_user_stops_keeps_its_disk_and_runs_again_when_started() {
    on_a_host(async || {
        let mut host = Host::with_one_running().await;
        host.until_ping(1).await;
        host.inside(1, "echo kept > /file");
        let like = |boot, halted| {
            HostObject::Instance(Instance {
                boot,
                halted,
                ..instance(1)
            })
        };
        host.seen.clear();
        // Not even a network that the host cannot have keeps it running.
        host.want_unavailable(&HostObject::Port(port(1, 0)));
        host.want(&like(1, true));
        host.until(1, InstanceState::Stopped, 1).await;
        host.subsystem.wait_idle().await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "it stays stopped");
        assert!(host.console(1).contains("tiny: going down"), "politely");
        let detail = host.seen.last().and_then(|report| report.detail.clone());
        assert_eq!(detail, None, "not by itself");

        // Another agent learns the goal anew, and says again that it is met.
        host.restart_agent();
        host.want_unavailable(&HostObject::Port(port(1, 0)));
        host.want(&like(1, true));
        host.until(1, InstanceState::Stopped, 1).await;
        host.subsystem.wait_idle().await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "it stays stopped");

        host.want(&HostObject::Port(port(1, 0)));
        host.want(&like(2, false));
        host.until(1, InstanceState::Running, 2).await;
        host.until_ping(1).await;
        assert_eq!(host.inside(1, "cat /file").trim(), "kept");
    });
}

#[test]
fn an_instance_that_is_stopped_before_its_first_boot_is_never_started() {
    on_a_host(async || {
        let mut host = Host::new();
        host.fetch_image().await;
        host.want(&HostObject::Port(port(1, 0)));
        host.want(&HostObject::Instance(Instance {
            halted: true,
            ..instance(1)
        }));
        host.until(1, InstanceState::Stopped, 1).await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "nothing is left to do");
        assert_eq!(host.console(1), "", "it was started");
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
    });
}

#[test]
fn while_a_network_is_unavailable_running_instances_stay_and_new_ones_wait() {
    on_a_host(async || {
        let mut host = Host::new().with_dhcp(3);
        host.want_instance(1);
        host.want_instance(3);
        host.until(1, InstanceState::Running, 1).await;
        host.until(3, InstanceState::Running, 1).await;
        let pid = host.pid(1);
        host.want_instance(2);
        for number in 1..=3 {
            host.want_unavailable(&HostObject::Port(port(number, 0)));
        }
        let (_, errors) = host.round().await;
        assert_eq!(errors.len(), 0, "{errors:?}");
        host.subsystem.wait_idle().await;
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "nothing is left to do");
        assert_eq!(host.console(2), "", "it was started");
        host.unwant_instance(3);
        host.until(3, InstanceState::Gone, 1).await;
        assert_eq!(host.pid(1), pid);

        for number in 1..=2 {
            host.want(&HostObject::Port(port(number, 0)));
        }
        host.until(2, InstanceState::Running, 1).await;
        host.until_ping(2).await;
        assert_eq!(host.pid(1), pid, "it was started again");
    });
}

#[test]
fn reboot_typed_inside_boots_again_without_the_host() {
    on_a_host(async || {
        let mut host = Host::with_one_running().await;
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

        // Without an agent: one instance ends, the user terminates another.
        let (sender, _) = mpsc::unbounded_channel();
        host.subsystem = subsystem(&host.settings, sender, Arc::new(VethAttacher));
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

        // The agent watches an adopted instance like its own.
        sh(&format!("kill -KILL {pid}"));
        host.until(1, InstanceState::Stopped, 1).await;
    });
}

#[test]
fn after_a_restart_of_the_host_its_instances_run_again() {
    on_a_host(async || {
        let mut host = Host::with_one_running().await;
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
fn a_removed_veth_is_attached_again_and_the_instance_answers_again() {
    on_a_host(async || {
        let mut host = Host::with_one_running().await;
        host.until_ping(1).await;
        let pid = host.pid(1);
        sh("ip link del dev nv1");
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (1, 0));
        host.subsystem.wait_idle().await;
        assert_eq!(host.round().await.0, 0);
        host.until_ping(1).await;
        assert_eq!(host.pid(1), pid, "without a reboot");
    });
}

#[test]
fn a_missing_image_is_reported_and_tried_again() {
    on_a_host(async || {
        let mut host = Host::new();
        let missing = format!("sha256:{}", "0".repeat(64));
        let bad = Instance {
            image: missing.clone(),
            ..instance(1)
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

/// An image source that never answers.
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
        host.subsystem = Instances::new(settings, Arc::new(images), Arc::new(VethAttacher), sender);
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
        let source = Arc::new(Tiny);
        let base = host.settings.instance_uid_base;
        let images = Images::new(&host.settings.state_path, base, source).unwrap();
        let missing = "no OCI runtime: install the Debian package runc";
        host.subsystem = Instances::with_driver(
            &host.settings,
            Err(SubsystemError::Refused(missing.to_owned())),
            Arc::new(images),
            Arc::new(VethAttacher),
            sender,
        );
        host.reports = reports;
        assert_eq!(host.subsystem.problem(), Some(missing));
        host.want_instance(1);
        host.until(1, InstanceState::Error, 1).await;
        let (_, errors) = host.round().await;
        assert_eq!(errors[0].1.to_string(), missing);
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
    });
}

#[test]
fn state_path_may_be_anywhere_also_where_disks_are_staged() {
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
