//! The console: an instance can neither fill the host's disk with it nor be stopped by it.

use super::host::Host;
use super::parts::{VethAttacher, on_a_host, subsystem};
use base64::Engine;
use novanet_lab::eventually_async;
use novanet_model::wire::{InstanceState, Metadata};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Prints 3 MB on command, which is more than the FIFO and the log hold.
const FLOOD: &str = "#!/bin/sh
for turn in 1 2; do
    until [ -e /tmp/go$turn ]; do usleep 10000; done
    yes line | head -n 600000
    echo done >/tmp/done$turn
done
while usleep 100000; do echo 'still here'; done
";

async fn until_there(host: &Host, file: &str) {
    let path = format!("/proc/{}/root{file}", host.pid(1));
    eventually_async(Duration::from_mins(1), async || {
        std::fs::metadata(&path).map(drop)
    })
    .await
    .unwrap();
}

#[test]
fn a_console_that_is_flooded_stays_small_and_stops_nobody_without_an_agent() {
    on_a_host(async || {
        let said = Metadata {
            user_data: Some(base64::engine::general_purpose::STANDARD.encode(FLOOD)),
            ..Metadata::default()
        };
        let mut host = Host::new().with_dhcp(1).with_metadata(said).await;
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_console(1, "tiny: running user-data").await;
        let folder = host.settings.state_path.join("instances/i-00000001");
        let output = format!("/proc/{}/fd/1", host.pid(1));
        let output = std::fs::read_link(output).unwrap();
        assert_eq!(output, folder.join("console.fifo"), "nothing that grows");

        host.inside(1, "touch /tmp/go1");
        until_there(&host, "/tmp/done1").await;
        let length = || std::fs::metadata(folder.join("console.log")).unwrap().len();
        assert!(length() <= 1 << 20, "{}", length());

        // Now no agent reads.
        let (sender, _reports) = mpsc::unbounded_channel();
        let elsewhere = tempfile::tempdir().unwrap();
        let other = super::host::settings(&elsewhere.path().join("state"));
        drop(std::mem::replace(
            &mut host.subsystem,
            subsystem(&other, sender, Arc::new(VethAttacher)),
        ));
        host.inside(1, "touch /tmp/go2");
        until_there(&host, "/tmp/done2").await;
        host.restart_agent();
        host.until(1, InstanceState::Running, 1).await;
        // The next agent reads the bytes in the FIFO, and goes on.
        host.until_console(1, "still here").await;
    });
}
