//! Observes all kinds of links in one snapshot of the kernel's state. Depends on the kinds; each
//! reports its own items.

use super::context::Context;
use super::item::{LinkKey, LinkValue, Wanted};
use super::kernel_state::{Link, Snapshot};
use super::ownership::{is_our_bridge, is_our_port};
use super::port::PortValue;
use super::{
    address, bridge, confirm, fdb, floating_ip, metadata_route, port, sysctl, uplink, vlan,
};
use novanet_model::{IfName, MacAddr};
use novanet_reconcile::SubsystemError;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot with the fdb entries that bridges and ports need.
pub(super) fn snapshot(
    context: &mut Context,
    wanted: &Wanted<'_>,
) -> Result<Snapshot, SubsystemError> {
    let mut snapshot = Snapshot::take(&mut context.socket)?;
    let macs = fdb_macs(&snapshot, wanted);
    snapshot.entries = fdb::entries(&mut context.socket, &macs)?;
    Ok(snapshot)
}

/// The fdb entries to list, by the index of the bridge: instances' MACs, and the bridges' own.
fn fdb_macs(snapshot: &Snapshot, wanted: &Wanted<'_>) -> BTreeSet<(u32, MacAddr)> {
    let of_link = |(name, link): (&IfName, &Link)| {
        if link.is_bridge() && (is_our_bridge(link, name) || wanted.bridges.contains_key(name)) {
            return Some((link.index, link.mac?));
        }
        match wanted.ports.get(name) {
            Some(PortValue::Ours(spec)) if is_our_port(link) => Some((link.master?, spec.mac)),
            _ => None,
        }
    };
    snapshot.named().filter_map(of_link).collect()
}

/// Items that exist on the host.
pub(super) fn items(
    context: &mut Context,
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    uplinks: &BTreeSet<IfName>,
) -> Result<BTreeMap<LinkKey, LinkValue>, SubsystemError> {
    let mut items = BTreeMap::new();
    let found = sysctl::observe_host(&context.state_dir, &wanted.sysctls)?;
    let item = |(path, value)| (LinkKey::Sysctl(path), LinkValue::Sysctl(value));
    items.extend(found.into_iter().map(item));

    let found = vlan::observe(snapshot, &wanted.vlans);
    let item = |(name, value)| (LinkKey::Vlan(name), LinkValue::Vlan(value));
    items.extend(found.into_iter().map(item));

    let found = bridge::observe(context, snapshot, &wanted.bridges, uplinks)?;
    let item = |(name, value)| (LinkKey::Bridge(name), LinkValue::Bridge(value));
    items.extend(found.into_iter().map(item));

    // Also those whose move was undone, so that the record goes with the network.
    let mut recorded = confirm::uplinks(&context.state_dir);
    recorded.extend(uplinks.iter().cloned());
    let found = uplink::observe(snapshot, &wanted.uplinks, &recorded, &context.state_dir);
    let item = |(name, spec)| (LinkKey::Uplink(name), LinkValue::Uplink(spec));
    items.extend(found.into_iter().map(item));

    let found = address::observe(snapshot, &wanted.addresses);
    let item = |((device, ip), value)| (LinkKey::Address(device, ip), LinkValue::Address(value));
    items.extend(found.into_iter().map(item));

    let is_wanted = |part: &metadata_route::Part| {
        let key = LinkKey::from(part.clone());
        wanted.metadata.contains(&key)
    };
    let found = metadata_route::observe(&mut context.socket, is_wanted)?;
    items.extend(
        found
            .into_iter()
            .map(|part| (LinkKey::from(part), LinkValue::Metadata)),
    );

    let found = sysctl::observe_interfaces(context, snapshot, &wanted.confs)?;
    let item = |((name, setting), value)| (LinkKey::Conf(name, setting), LinkValue::Sysctl(value));
    items.extend(found.into_iter().map(item));

    let found = port::observe(snapshot, &wanted.ports);
    let item = |(name, value)| (LinkKey::Port(name), LinkValue::Port(value));
    items.extend(found.into_iter().map(item));

    let is_address = |device: &IfName, address| wanted.addresses.contains(&(device, address));
    let found = floating_ip::observe(snapshot, &wanted.floating_ips, is_address);
    let item = |(address, spec)| (LinkKey::FloatingIp(address), LinkValue::FloatingIp(spec));
    items.extend(found.into_iter().map(item));
    Ok(items)
}
