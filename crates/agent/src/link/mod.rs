//! The links of a host: kernel settings, bridges, uplinks, gateway addresses, instances' ports, and
//! the host's answers for floating IPs. Depends on rtnetlink, in process, and on `/proc/sys`.
//!
//! Each kind of link is one module with its value, and how it is observed, applied and recognised
//! in an event; `item` has the keys and values of all kinds. A new kind is a new module, a variant
//! of [`LinkKey`] and of [`LinkValue`], and the arms that the compiler then asks for.
//!
//! Everything that novanet makes has an ownership tag: a link the alias `novanet:<kind>:<name>`, a
//! port also the device group [`PORTS`], an address or route the protocol number [`PROTOCOL`]. A
//! foreign device under one of novanet's names is an error of that item; novanet never takes it
//! over. Only a bridge that surely is novanet's gets its alias again.

mod address;
mod adopt;
mod alias;
mod announce;
mod bridge;
mod confirm;
mod context;
mod display;
mod event;
mod event_filter;
mod expected;
mod fdb;
mod floating_ip;
mod foreign;
mod item;
mod kernel_state;
mod make;
mod message;
mod metadata_route;
mod mtu;
mod observe;
mod options;
mod ownership;
mod port;
mod procfs;
mod state_dir;
mod sysctl;
mod uplink;
mod uplink_migration;
mod vlan;
mod watch;

pub use crate::netlink::ownership::{PORTS, PROTOCOL};
pub use address::AddressValue;
pub use adopt::{Adopted, adopt};
pub use bridge::{BridgeSpec, BridgeValue};
pub use confirm::confirm;
pub use floating_ip::FloatingIpSpec;
pub use foreign::{host_addresses, host_source};
pub use item::{LinkKey, LinkValue};
pub use metadata_route::METADATA_ADDRESS;
pub use mtu::Mtu;
pub use port::{PortSpec, PortValue, VethAttacher, attach};
pub use sysctl::SysctlValue;
pub use uplink::UplinkSpec;
pub use vlan::{VlanSpec, VlanValue, kernel_has_vlans};

use crate::settings::Settings;
use context::Context;
use floating_ip::FloatingIpChange;
use item::Wanted;
use kernel_state::Snapshot;
use metadata_route::Part;
use novanet_model::{HostObject, IfName, ObjectKey};
use novanet_reconcile::{Change, Desired, Foreign, ForeignDevices, Subsystem, SubsystemError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use watch::Watch;

type LinkChange = Change<LinkKey, LinkValue>;
type Failures = Vec<(LinkKey, SubsystemError)>;

/// The links subsystem. Works in the network namespace of the thread that makes it.
#[derive(Debug)]
pub struct Links {
    context: Context,
    watch: Watch,
    attacher: VethAttacher,
    foreign_devices: ForeignDevices,
}

impl Links {
    /// Connects to the kernel. The watch starts with the first observation, on its thread.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        Ok(Self {
            context: Context::open(settings)?,
            watch: Watch::default(),
            attacher: VethAttacher::default(),
            foreign_devices: ForeignDevices::default(),
        })
    }

    /// Makes veth pairs of instances, attached to this subsystem's bridges.
    pub fn veth_attacher(&self) -> VethAttacher {
        self.attacher.clone()
    }

    /// Names of the ports that exist, in order.
    pub(crate) fn ports(&mut self) -> Result<Vec<String>, SubsystemError> {
        let snapshot = Snapshot::take(&mut self.context.socket)?;
        let ours = snapshot.links().filter(|link| ownership::is_our_port(link));
        let mut names: Vec<_> = ours.map(|link| link.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Gives the MTU of each bridge as a number to the watch and to the attacher of ports: an event
    /// does not have the MTUs of a bridge's ports.
    fn expect_mtus(&self, snapshot: &Snapshot, wanted: &Wanted<'_>) {
        let mut all = BTreeMap::new();
        for (name, (spec, right)) in bridge::right_mtus(snapshot, &wanted.bridges) {
            all.insert(name.clone(), (spec.mtu, right));
            let mtu = Mtu::Fixed(right);
            let exact = BridgeValue::Ours(BridgeSpec { mtu, ..spec });
            let key = LinkKey::Bridge(name);
            self.watch.expect(&key, Some(&LinkValue::Bridge(exact)));
        }
        self.attacher.mtus.replace(all);
    }

    /// Restores lost aliases first, because every other change of a bridge needs its alias.
    fn restore_lost_aliases(&mut self, changes: &[LinkChange]) -> Failures {
        let mut failed = Failures::new();
        for change in changes {
            if let (LinkKey::Bridge(name), Some(LinkValue::Bridge(BridgeValue::Ours(spec)))) =
                (&change.key, &change.from)
                && !spec.tagged
                && let Err(error) = bridge::restore_alias(&mut self.context, name)
            {
                failed.push((change.key.clone(), error));
            }
        }
        failed
    }
}

impl Subsystem for Links {
    type Key = LinkKey;
    type Value = LinkValue;
    const NAME: &'static str = "links";

    fn base_items(&self) -> Vec<(LinkKey, LinkValue)> {
        item::base_items(&self.context.settings)
    }

    fn items(&self, object: &HostObject) -> Vec<(LinkKey, LinkValue)> {
        item::items(&self.context.settings, object)
    }

    fn items_when_unavailable(&self, object: &HostObject, _: &str) -> Vec<(LinkKey, LinkValue)> {
        item::items_when_unavailable(&self.context.settings, object)
    }

    fn foreign_devices(&self) -> Option<ForeignDevices> {
        Some(Arc::clone(&self.foreign_devices))
    }

    fn detect_conflict(
        &self,
        key: &LinkKey,
        first: (&ObjectKey, &LinkValue),
        other: (&ObjectKey, &LinkValue),
    ) -> Option<String> {
        item::detect_conflict(key, first, other)
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.watch.changed_externally()
    }

    fn takes_away(&self, removal: &Change<LinkKey, LinkValue>) -> bool {
        let value = removal.from.as_ref();
        !value.is_some_and(LinkValue::is_unmanaged)
    }

    async fn observe(
        &mut self,
        desired: &Desired<LinkKey, LinkValue>,
    ) -> Result<BTreeMap<LinkKey, LinkValue>, SubsystemError> {
        let watching = self.watch.start();
        watching.map_err(|e| SubsystemError::kernel("watch rtnetlink", e))?;
        self.watch.expect_all(desired);
        let wanted = Wanted::of(desired);
        let context = &mut self.context;
        let snapshot = observe::snapshot(context, &wanted)?;
        context.announcer.check(&snapshot);
        let is_wanted = |name: &IfName| wanted.bridges.contains_key(name);
        context.tagged.record(&snapshot, is_wanted);
        let uplinks = context.uplinks();
        self.foreign_devices = Arc::new(Foreign {
            devices: foreign::devices(&snapshot, &uplinks, &context.tagged),
            addresses: foreign::addresses(context, &snapshot)?,
            source: foreign::source(&snapshot, &context.settings.public_interface),
            vlans: context.vlans,
            waits: foreign::waits(&snapshot, &context.settings),
        });
        let items = observe::items(context, &snapshot, &wanted, &uplinks)?;
        self.expect_mtus(&snapshot, &wanted);
        Ok(items)
    }

    async fn apply(
        &mut self,
        changes: &[LinkChange],
        _desired: &Desired<LinkKey, LinkValue>,
    ) -> Failures {
        for change in changes {
            self.watch.expect(&change.key, change.to.as_ref());
        }
        let mut failed = self.restore_lost_aliases(changes);
        for run in changes.chunk_by(|a, b| batch(a).is_some() && batch(a) == batch(b)) {
            match batch(&run[0]) {
                Some(Batch::FloatingIps) => {
                    let changes: Vec<_> = run.iter().filter_map(floating_ip_change).collect();
                    let Context {
                        socket, announcer, ..
                    } = &mut self.context;
                    let errors = floating_ip::apply(socket, announcer, &changes).into_iter();
                    failed.extend(errors.map(|(ip, e)| (LinkKey::FloatingIp(ip), e)));
                }
                Some(Batch::PortRemovals) => {
                    let errors = port::remove(run.iter().filter_map(port_name).collect()).await;
                    let errors = errors.into_iter();
                    failed.extend(errors.map(|(name, e)| (LinkKey::Port(name), e)));
                }
                None => {
                    for change in run {
                        if let Err(error) = apply_one(&mut self.context, change) {
                            failed.push((change.key.clone(), error));
                        }
                    }
                }
            }
        }
        failed
    }
}

/// Changes that cost less together.
#[derive(PartialEq, Eq)]
enum Batch {
    FloatingIps,
    PortRemovals,
}

fn batch(change: &LinkChange) -> Option<Batch> {
    match &change.key {
        LinkKey::FloatingIp(_) => Some(Batch::FloatingIps),
        LinkKey::Port(_) if change.to.is_none() => Some(Batch::PortRemovals),
        LinkKey::Port(_)
        | LinkKey::Sysctl(_)
        | LinkKey::Vlan(_)
        | LinkKey::Bridge(_)
        | LinkKey::Uplink(_)
        | LinkKey::Address(..)
        | LinkKey::MetadataRoute
        | LinkKey::MetadataRule(_)
        | LinkKey::Conf(..) => None,
    }
}

fn port_name(change: &LinkChange) -> Option<IfName> {
    match &change.key {
        LinkKey::Port(name) => Some(name.clone()),
        _ => None,
    }
}

fn floating_ip_change(change: &LinkChange) -> Option<FloatingIpChange<'_>> {
    let LinkKey::FloatingIp(key) = change.key else {
        return None;
    };
    Some(Change {
        key,
        from: change.from.as_ref().and_then(LinkValue::floating_ip),
        to: change.to.as_ref().and_then(LinkValue::floating_ip),
    })
}

fn apply_one(context: &mut Context, change: &LinkChange) -> Result<(), SubsystemError> {
    let to = change.to.as_ref();
    match &change.key {
        LinkKey::Sysctl(path) => {
            let to = wanted(change, LinkValue::sysctl)?;
            sysctl::apply_host(&context.state_dir, path, to)
        }
        LinkKey::Conf(name, setting) => {
            let to = wanted(change, LinkValue::sysctl)?;
            sysctl::apply_interface(context, name, setting, to)
        }
        LinkKey::Bridge(name) => {
            let to = wanted(change, LinkValue::bridge)?;
            bridge::apply(context, name, to)
        }
        LinkKey::Vlan(name) => {
            let to = wanted(change, LinkValue::vlan)?;
            vlan::apply(&mut context.socket, name, to)
        }
        LinkKey::Uplink(name) => {
            let to = wanted(change, LinkValue::uplink)?;
            uplink::apply(&mut context.socket, &context.state_dir, name, to)
        }
        LinkKey::Address(device, ip) => {
            let to = wanted(change, LinkValue::address)?;
            address::apply(&mut context.socket, device, *ip, to)
        }
        LinkKey::MetadataRoute => {
            metadata_route::apply(&mut context.socket, &Part::Route, to.is_some())
        }
        LinkKey::MetadataRule(bridge) => {
            let rule = Part::Rule(bridge.clone());
            metadata_route::apply(&mut context.socket, &rule, to.is_some())
        }
        LinkKey::Port(name) => {
            let to = wanted(change, LinkValue::port)?;
            to.map_or(Ok(()), |to| port::apply(&mut context.socket, name, to))
        }
        LinkKey::FloatingIp(_) => Ok(()), // in a batch
    }
}

/// The wanted value of a change, as its kind has it; `None`: nothing is wanted.
fn wanted<'a, T>(
    change: &'a LinkChange,
    read: impl Fn(&'a LinkValue) -> Option<&'a T>,
) -> Result<Option<&'a T>, SubsystemError> {
    let Some(value) = &change.to else {
        return Ok(None);
    };
    read(value)
        .map(Some)
        .ok_or_else(|| SubsystemError::Refused(format!("{} cannot be {value:?}", change.key)))
}
