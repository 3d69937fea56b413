//! The demo's sandbox.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::machine::on_a_machine_of_its_own;
use novanet_lab::{DetachedSandbox, Sandbox, eventually};

#[test]
fn the_cloud_reaches_the_internet_by_name_and_the_machine_is_left_alone() {
    on_a_machine_of_its_own(|| {
        let sandbox = Sandbox::new(Path::new("/var/lib/nova")).unwrap();
        sandbox
            .cloud
            .sh("ping -c1 -W2 www.example.net | grep -q 198.51.100.10")
            .unwrap();
        sandbox
            .cloud
            .sh("touch /var/lib/nova/mark && ls -d /sys/fs/cgroup/*")
            .unwrap();
        assert!(!Path::new("/var/lib/nova/mark").exists());
        sandbox
    });
}

#[test]
fn a_detached_sandbox_can_be_entered_and_ended_by_the_commands_it_names() {
    let shell = |line: &str| Command::new("sh").args(["-c", line]).output().unwrap();
    let detached = Sandbox::new(Path::new("/var/lib/nova"))
        .unwrap()
        .detach()
        .unwrap();
    let seen = shell(&format!(
        "{} hostname",
        DetachedSandbox::enter(detached.cloud)
    ));
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "cloud\n", "{seen:?}");
    assert!(
        shell(&format!(
            "{} ping -c1 -W2 203.0.113.2",
            DetachedSandbox::enter(detached.internet)
        ))
        .status
        .success()
    );
    assert!(shell(&detached.end()).status.success());
    let gone = || {
        if shell(&format!("{} true", DetachedSandbox::enter(detached.cloud)))
            .status
            .success()
        {
            Err("alive")
        } else {
            Ok(())
        }
    };
    eventually(Duration::from_secs(20), gone).unwrap();
}
