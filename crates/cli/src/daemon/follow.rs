//! Follows the host's address while a server runs, where no flag gave it: DescribeRegions and
//! novarc get the new address when the public interface gets its address late, or another one. The
//! agent follows by itself.

use super::host::my_ip_follows;
use novanet_agent::link::host_source;
use novanet_model::flags::Flags;
use novanet_server::Regions;
use std::convert::Infallible;
use std::time::Duration;

/// Between two looks at the host's address: two system calls.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Names and endpoints of regions, as DescribeRegions answers them.
pub(super) fn endpoints(flags: &Flags) -> Vec<(String, String)> {
    let (scheme, port) = (flags.text("ec2_scheme"), flags.text("ec2_port"));
    let path = flags.text("ec2_path");
    let regions = flags.regions().into_iter();
    regions
        .map(|(name, host)| (name, format!("{scheme}://{host}:{port}{path}")))
        .collect()
}

/// Follows until it is dropped; `moved` is called with the flags as they are then.
pub(super) async fn address(
    flags: &Flags,
    regions: Regions,
    moved: impl AsyncFn(&Flags),
) -> Infallible {
    if !my_ip_follows(flags) {
        return std::future::pending().await;
    }
    let mut at = flags.my_ip();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        // The kernel may let a listing of links wait: not here.
        let interface = flags.public_interface();
        let looked = tokio::task::spawn_blocking(move || host_source(&interface, at));
        let Ok(Ok(Some(now))) = looked.await else {
            continue; // as it was, until there is another
        };
        if now == at {
            continue;
        }
        tracing::info!(before = %at, %now, "the host has another address");
        at = now;
        let flags = flags.at_address(now);
        regions.set(endpoints(&flags));
        moved(&flags).await;
    }
}
