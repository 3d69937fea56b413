//! Twenty instances at once.
#![allow(clippy::print_stdout)] // the measured times

use super::host::Host;
use super::parts::{on_a_host, until_fails};
use novanet_model::InstanceId;
use novanet_model::wire::InstanceState;
use std::time::{Duration, Instant};

#[test]
fn twenty_instances_start_and_are_removed_together() {
    // For a busy machine; the figures are the bench's.
    measured(20, Duration::from_mins(1));
}

fn measured(count: i64, limit: Duration) {
    on_a_host(async move || {
        let mut host = Host::new().with_dhcp(count);
        host.fetch_image().await;
        let start = Instant::now();
        for number in 1..=count {
            host.want_instance(number);
        }
        for number in 1..=count {
            host.until(number, InstanceState::Running, 1).await;
        }
        let running = start.elapsed();
        for number in 1..=count {
            host.until_ping(number).await;
        }
        println!("{count}: running {running:?}, ping {:?}", start.elapsed());
        assert!(start.elapsed() < limit, "{:?}", start.elapsed());

        let start = Instant::now();
        for number in 1..=count {
            host.unwant_instance(number);
        }
        host.round().await;
        println!("removal asked for in {:?}", start.elapsed());
        for number in 1..=count {
            host.until(number, InstanceState::Gone, 1).await;
        }
        println!("{count}: gone {:?}", start.elapsed());
        assert!(start.elapsed() < limit, "{:?}", start.elapsed());
        for number in 1..=count {
            assert!(host.subsystem.console(InstanceId(number)).is_none());
        }
        until_fails("ip -o link | grep nv").await;
    });
}
