//! Capabilities of this kernel that tests depend on.

use anyhow::Result;

use crate::Host;

/// Whether 802.1Q devices can be made here: built in, loaded, or loaded by the very attempt. Where
/// not, VLAN tests need the virtual machine.
pub fn have8021q() -> Result<bool> {
    let host = Host::new("try8021q")?;
    // `dev NAME` throughout: `ip link add a …` reads "a" as "address".
    host.sh("ip link add dev p0 type veth peer name p1")?;
    Ok(host
        .try_run(&[
            "ip", "link", "add", "link", "p0", "name", "p0.5", "type", "vlan", "id", "5",
        ])?
        .success())
}
