//! The aliases, names and MACs that novanet gives to its links and recognises them by. Pure.

use crate::settings::Settings;
use novanet_model::object::Port;
use novanet_model::{IfName, MacAddr};

/// How the alias of every instance's port begins.
pub(super) const PORT_ALIAS_PREFIX: &str = "novanet:port:";

/// How the names of ports begin ([`novanet_model::object::port_name`]).
pub(super) const PORT_NAME_PREFIX: &str = "nv";

/// Between the name of a port and its MTU, in its alias.
const MTU_WORD: &str = " mtu ";

/// Alias of a bridge of novanet's.
pub(super) fn bridge_alias(name: &IfName) -> String {
    format!("novanet:bridge:{name}")
}

/// Alias of a VLAN device of novanet's.
pub(super) fn vlan_alias(name: &IfName) -> String {
    format!("novanet:vlan:{name}")
}

/// Alias of an instance's port, without its MTU.
pub(super) fn port_alias(port: &Port) -> String {
    format!("{PORT_ALIAS_PREFIX}{}.{}", port.instance, port.index)
}

/// The whole alias of a port that is made with this MTU.
pub(super) fn with_mtu(alias: &str, mtu: u32) -> String {
    format!("{alias}{MTU_WORD}{mtu}")
}

/// The alias of a port, without its MTU.
pub(super) fn without_mtu(alias: &str) -> &str {
    alias
        .rsplit_once(MTU_WORD)
        .map_or(alias, |(alias, _)| alias)
}

/// The MTU in the alias of a port; `None`: a port of an earlier version, or no port of novanet's.
pub(super) fn mtu_in(alias: &str) -> Option<u32> {
    let port = alias.strip_prefix(PORT_ALIAS_PREFIX)?;
    port.rsplit_once(MTU_WORD)?.1.parse().ok()
}

/// MAC of the host end of a port. It follows from the name, and is so high that no bridge takes it
/// as its own: a bridge without a MAC of its own has the lowest one of its ports.
pub(super) fn host_end_mac(name: &IfName) -> MacAddr {
    let [a, b, c, d] = Settings::hash(name).to_be_bytes();
    MacAddr([0xfe, 0xff, a, b, c, d])
}
