//! `novanet dhcpbridge`, also known as `nova-dhcpbridge`: dnsmasq calls it on lease events and
//! waits for it. It reads no flags and starts no runtime.

use crate::environment;
use crate::failure::Failure;
use novanet_agent::dhcp::applet;

const USAGE: &str = "\
usage: novanet dhcpbridge add|old|del MAC ADDRESS [NAME]
   or: novanet dhcpbridge init

Writes a lease event into this host's journal, or prints the leases that it holds. dnsmasq calls it,
with NOVANET_LEASES, NOVANET_DHCP_HOSTS and NOVANET_BRIDGE in its environment.

Example:
    novanet dhcpbridge add 02:16:3e:00:00:01 10.0.0.2 i-00000001
";

/// Does what dnsmasq asks; `init` answers the leases.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    match args.first().map(String::as_str) {
        Some("--help" | "-h" | "help") => return Ok(USAGE.to_owned()),
        Some("--version" | "-V") => return Ok(crate::version::line()),
        _ => {}
    }
    let mut out = Vec::new();
    applet::run(args, &environment::variable, &mut out).map_err(|e| match e {
        applet::BridgeError::Usage(_) => Failure::usage(format!("dhcpbridge: {e}")),
        applet::BridgeError::Journal { .. } => Failure::failed(format!("dhcpbridge: {e}")),
    })?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
