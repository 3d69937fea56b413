//! `novanet dhcpbridge`, also known as `nova-dhcpbridge`: what dnsmasq calls on lease events. It
//! reads no flags and starts no runtime: dnsmasq waits for it.

use crate::failure::Failure;
use novanet_agent::dhcp::bridge;

/// Does what dnsmasq asks; `init` answers the leases.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let mut out = Vec::new();
    let environment = |name: &str| std::env::var(name).ok();
    bridge::run(args, &environment, &mut out).map_err(|e| match e {
        bridge::BridgeError::Usage(_) => Failure::usage(format!("dhcpbridge: {e}")),
        bridge::BridgeError::Journal { .. } => Failure::failed(format!("dhcpbridge: {e}")),
    })?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
