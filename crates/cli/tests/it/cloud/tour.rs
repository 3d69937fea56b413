//! The README's tour, word for word: every block of its section is run, in order, but the first:
//! installing is `install.rs`'s.

use super::{Cloud, LONG, STATE};
use novanet_lab::{Sandbox, eventually};
use std::process::{Command, Stdio};

#[test]
fn the_readmes_tour_works_word_for_word() {
    let blocks = crate::install::blocks();
    let [_install, up, run, open, second, look, end] = blocks.as_slice() else {
        panic!("the tour has {} blocks, this test knows 7", blocks.len());
    };
    let cloud = Cloud::without_up("").unwrap();
    // The one thing that differs: the background job belongs to the sandbox, and its output to a
    // file.
    let line = up.trim().trim_end_matches('&');
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &format!("PATH=/run/bin:$PATH; exec {line} >{STATE}/up.out 2>{STATE}/novanet.log"),
        ])
        .stdin(Stdio::null());
    let process = cloud.sandbox.cloud.spawn(&mut command).unwrap();
    eventually(LONG, || {
        assert!(process.ended().unwrap().is_none(), "{}", cloud.log());
        cloud.sh(&format!("grep -q 'the cloud is up' {STATE}/up.out"))
    })
    .unwrap();

    let said = cloud.sh(&format!("set -e; {run}")).unwrap();
    assert!(said.contains("10.0.0.2"), "{said}");
    let said = cloud.sh(&format!("set -e; {open}")).unwrap();
    assert!(said.contains("203.0.113.129"), "{said}");
    cloud.reachable("203.0.113.129").unwrap();

    let said = cloud.sh(&format!("set -e; {second}")).unwrap();
    assert!(said.contains("joe/cert.pem: OK"), "{said}");

    let said = cloud.sh(&format!("set -e; {look}")).unwrap();
    for expected in [
        "10.0.0.0/24",
        "203.0.113.129",
        "i-00000001",
        "floating_ip.associate",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }

    let said = cloud.sh(&format!("set -e; {end}")).unwrap();
    let left = cloud
        .sh("ip -brief link; nft list tables; pgrep -a dnsmasq || true")
        .unwrap();
    for ours in ["br100", "nv1", "nova", "dnsmasq"] {
        assert!(!left.contains(ours), "{ours} is left:\n{left}\n{said}");
    }
    assert!(left.contains("eth0"), "{left}");
    assert!(
        cloud
            .internet(&format!("ping -c1 -W2 {}", Sandbox::CLOUD))
            .is_ok()
    );
}
