//! The numbers by which the kernel's objects are known as novanet's: a routing protocol for
//! addresses, routes and rules, a device group for instances' ports. Constants only.

/// Protocol of novanet's routes, rules and addresses (`ip route show proto 78`,
/// `ip address show proto 78`). Free in the kernel's and iproute2's lists.
pub const PROTOCOL: u8 = 78;

/// Device group of instances' ports, set when a port is made
/// (`ip link show group 0x4e000000`). The firewall matches ports by this group, whatever their
/// names, and ignores foreign devices with similar names.
pub const PORTS: u32 = 0x4e00_0000;

/// Bits of [`PORTS`]. A group of ports that are being removed has the same bits, so the firewall
/// guards these ports until they are gone.
pub(crate) const PORTS_MASK: u32 = 0xff00_0000;
