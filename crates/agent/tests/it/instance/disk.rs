//! An instance fills its own disk, of the size of its type, and not the host's.

use super::host::Host;
use super::parts::{instance, on_a_host, port, sh, succeeds};
use novanet_lab::eventually_async;
use novanet_model::HostObject;
use novanet_model::object::Instance;
use novanet_model::wire::InstanceState;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// A host whose tiny instances have small disks.
fn small() -> Host {
    Host::with_settings(&std::env::temp_dir(), |settings| settings.tiny_disk_mb = 24)
}

fn folder(host: &Host, number: i64) -> PathBuf {
    let id = format!("instances/i-{number:08x}");
    host.settings.state_path.join(id)
}

/// MiB on the host that an instance's disk takes.
fn taken(host: &Host, number: i64) -> u64 {
    let disk = folder(host, number).join("disk.img");
    disk.metadata().unwrap().blocks() / 2048
}

/// The loop devices over files of this host.
fn loops(host: &Host) -> Vec<String> {
    let state = host.settings.state_path.display().to_string();
    let all = sh("cat /sys/block/loop*/loop/backing_file 2>/dev/null || true");
    let ours = all.lines().filter(|line| line.starts_with(&state));
    ours.map(str::to_owned).collect()
}

/// Waits until no instance's disk is attached.
pub(super) async fn until_no_loops(host: &Host) {
    eventually_async(Duration::from_secs(20), async || {
        let left = loops(host);
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(" "))
        }
    })
    .await
    .unwrap();
}

#[test]
fn an_instance_fills_its_own_disk_and_hurts_neither_others_nor_the_host() {
    on_a_host(async || {
        let mut host = small();
        host.want_instance(1);
        host.want_instance(2);
        host.until(1, InstanceState::Running, 1).await;
        host.until(2, InstanceState::Running, 1).await;
        assert_eq!(loops(&host).len(), 2);
        let size: u64 = host
            .inside(1, "df -m / | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2")
            .trim()
            .parse()
            .unwrap();
        assert!((20..=32).contains(&size), "{size} MiB");

        let said = host.inside(1, "dd if=/dev/zero of=/fill bs=1M; sync; true");
        assert!(said.contains("No space left on device"), "{said}");
        let said = host.inside(1, "fallocate -l 1G /more; true");
        assert!(said.contains("No space left on device"), "{said}");
        assert!(taken(&host, 1) <= 32, "{} MiB", taken(&host, 1));
        host.inside(2, "dd if=/dev/zero of=/file bs=1M count=8");
        std::fs::write(host.settings.state_path.join("file"), vec![1; 1 << 20]).unwrap();

        // Deleted blocks go back to the host.
        host.inside(1, "rm /fill && sync && echo again >/file");
        eventually_async(Duration::from_secs(20), async || {
            host.inside(1, "sync");
            match taken(&host, 1) {
                0..10 => Ok(()),
                mib => Err(format!("{mib} MiB")),
            }
        })
        .await
        .unwrap();

        host.want(&HostObject::Instance(Instance {
            boot: 2,
            ..instance(1)
        }));
        host.until(1, InstanceState::Running, 2).await;
        assert_eq!(host.inside(1, "cat /file"), "again\n");
        host.unwant_instance(1);
        host.unwant_instance(2);
        host.until(1, InstanceState::Gone, 1).await;
        host.until(2, InstanceState::Gone, 1).await;
        until_no_loops(&host).await;
    });
}

#[test]
fn a_disk_has_the_size_of_its_type_and_keeps_it() {
    on_a_host(async || {
        let mut host = small();
        let small = |boot, disk_gb| {
            HostObject::Instance(Instance {
                boot,
                disk_gb,
                ..instance(1)
            })
        };
        host.want(&small(1, 20));
        host.want(&HostObject::Port(port(1, 0)));
        host.until(1, InstanceState::Running, 1).await;
        let said = host.inside(1, "df -h /");
        assert!(said.contains(" 19.9G "), "{said}");
        // A later object with another size does not change the disk.
        host.want(&small(2, 0));
        host.until(1, InstanceState::Running, 2).await;
        let said = host.inside(1, "df -h /");
        assert!(said.contains(" 19.9G "), "{said}");
        assert!(taken(&host, 1) < 8, "{} MiB", taken(&host, 1));
    });
}

#[test]
fn a_folder_of_an_older_agent_keeps_its_disk_as_it_is() {
    on_a_host(async || {
        let mut host = small();
        let old = folder(&host, 1).join("upper");
        std::fs::create_dir_all(&old).unwrap();
        std::fs::write(old.join("mine"), "written before the upgrade\n").unwrap();
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        let said = host.inside(1, "cat /mine");
        assert_eq!(said, "written before the upgrade\n");
        let base = host.settings.instance_uid_base;
        assert_eq!(super::ids::root_id(&host, 1), base, "its files are theirs");
        assert!(!folder(&host, 1).join("disk.img").exists());
        assert!(loops(&host).is_empty());
        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
        assert!(!folder(&host, 1).exists());
    });
}

#[test]
fn a_host_without_loop_devices_runs_instances_without_a_limit() {
    on_a_host(async || {
        assert!(succeeds("mount --bind /dev/null /dev/loop-control"));
        let mut host = small();
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        assert!(folder(&host, 1).join("upper").exists());
        host.inside(1, "dd if=/dev/zero of=/file bs=1M count=64");
    });
}
