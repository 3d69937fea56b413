//! The host's links: kernel settings, bridges, uplinks, gateway addresses, instances' ports, and
//! the floating IPs' answers on the public interface. All by rtnetlink, in process.
//!
//! Everything here carries our mark: links an alias `novanet:<kind>:<name>` (ports also the group of
//! devices [`PORTS`], for the firewall), addresses and routes the protocol number [`PROTOCOL`]. What
//! stands under one of our names without the mark is an error on that item, never a takeover; only a
//! bridge that surely is the one that we marked is marked again.
//!
//! Must not know: addresses given to instances, filters, DHCP.

mod announce;
mod bridge;
mod bridge_removal;
mod event;
mod fdb;
mod filter;
mod floating_ip;
mod foreign;
mod item;
mod kernel_state;
mod message;
mod metadata;
mod mtu;
mod observe;
mod options;
mod ownership;
mod port;
mod setting;
mod state_dir;
mod sysctl;
mod uplink;
mod uplink_migration;
mod watch;

pub use crate::netlink::ownership::{PORTS, PROTOCOL};
pub use foreign::{host_addresses, host_source};
pub use item::{
    BridgeSpec, FloatingIpSpec, LinkKey, LinkValue, METADATA_ADDRESS, PortSpec, UplinkSpec,
    bridge_alias, port_alias,
};
pub use mtu::Mtu;
pub use port::{VethAttacher, attach};

use crate::netlink::rtnetlink::Socket;
use crate::settings::Settings;
use crate::subsystem::{Change, Desired, Foreign, ForeignDevices, Subsystem, SubsystemError};
use announce::Announcer;
use ipnet::Ipv4Net;
use kernel_state::Snapshot;
use novanet_model::{HostObject, IfName, ObjectKey};
use ownership::TaggedBridges;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use uplink_migration::MigrationRecord;
use watch::Watch;

type LinkChange = Change<LinkKey, LinkValue>;
type Failures = Vec<(LinkKey, SubsystemError)>;

/// The links subsystem. Lives in the network namespace of the thread that makes it.
#[derive(Debug)]
pub struct Links {
    settings: Settings,
    /// What we note about the host: settings and uplinks as they were before us.
    state_dir: PathBuf,
    socket: Socket,
    announcer: Announcer,
    watch: Watch,
    attacher: VethAttacher,
    tagged: TaggedBridges,
    foreign_devices: ForeignDevices,
}

impl Links {
    /// Connects to the kernel. The watching begins with the first observation, on its thread.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        let state_dir = settings.state_path.join("links");
        Ok(Self {
            settings: settings.clone(),
            tagged: TaggedBridges::load(&state_dir),
            state_dir,
            socket: Socket::open().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?,
            announcer: Announcer::default(),
            watch: Watch::default(),
            attacher: VethAttacher::default(),
            foreign_devices: ForeignDevices::default(),
        })
    }

    /// What makes cables of instances into this subsystem's bridges.
    pub fn veth_attacher(&self) -> VethAttacher {
        self.attacher.clone()
    }

    /// The cables of instances that are there.
    pub(crate) fn ports(&mut self) -> Result<Vec<String>, SubsystemError> {
        let snapshot = Snapshot::take(&mut self.socket)?;
        let ours = snapshot.links().filter(|link| observe::is_our_port(link));
        let mut names: Vec<_> = ours.map(|link| link.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    fn uplinks(&self) -> BTreeSet<IfName> {
        MigrationRecord::all(&self.state_dir).into_iter().collect()
    }

    /// Those that went to this bridge, by our records.
    fn uplinks_of(&self, bridge: &IfName) -> Vec<IfName> {
        let record = |uplink: &IfName| MigrationRecord::load(&self.state_dir, uplink);
        let mut all = MigrationRecord::all(&self.state_dir);
        all.retain(|uplink| record(uplink).is_some_and(|record| record.bridge == *bridge));
        all
    }

    /// All that is done with a bridge asks for its mark.
    fn restore_lost_aliases(&mut self, changes: &[LinkChange]) -> Failures {
        let mut failed = Failures::new();
        for change in changes {
            if let (LinkKey::Bridge(name), Some(LinkValue::Bridge(spec))) =
                (&change.key, &change.from)
                && !spec.tagged
                && let Err(error) = self.restore_alias(name)
            {
                failed.push((change.key.clone(), error));
            }
        }
        failed
    }

    /// One message of the kernel does not tell what the ports of a bridge make of its MTU.
    fn watch_mtus(&self, snapshot: &Snapshot, desired: &Desired<LinkKey, LinkValue>) {
        let mut all = BTreeMap::new();
        for (key, value) in desired.iter() {
            if let (LinkKey::Bridge(name), LinkValue::Bridge(spec)) = (key, value)
                && let Some(link) = snapshot.link(name)
            {
                let right = mtu::right(spec.mtu, link, snapshot.links());
                all.insert(name.clone(), (spec.mtu, right));
                let mtu = Mtu::Fixed(right);
                let exact = BridgeSpec {
                    mtu,
                    ..spec.clone()
                };
                self.watch.expect(key, Some(&LinkValue::Bridge(exact)));
            }
        }
        self.attacher.mtus.replace(all);
    }
}

impl Subsystem for Links {
    type Key = LinkKey;
    type Value = LinkValue;
    const NAME: &'static str = "links";

    fn base_items(&self) -> Vec<(LinkKey, LinkValue)> {
        item::base_items(&self.settings)
    }

    fn items(&self, object: &HostObject) -> Vec<(LinkKey, LinkValue)> {
        item::items(&self.settings, object)
    }

    fn items_when_unavailable(&self, object: &HostObject, _: &str) -> Vec<(LinkKey, LinkValue)> {
        item::items_when_unavailable(object)
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
        removal.from != Some(LinkValue::Left)
    }

    async fn observe(
        &mut self,
        desired: &Desired<LinkKey, LinkValue>,
    ) -> Result<BTreeMap<LinkKey, LinkValue>, SubsystemError> {
        let watching = self.watch.start();
        watching.map_err(|e| SubsystemError::kernel("watch rtnetlink", e))?;
        self.watch.expect_all(desired);
        let mut snapshot = Snapshot::take(&mut self.socket)?;
        let macs = observe::macs(&snapshot, desired);
        snapshot.entries = fdb::entries(&mut self.socket, &macs)?;
        self.announcer.check(&snapshot);
        self.tagged.record(&snapshot, desired);
        let uplinks = self.uplinks();
        self.foreign_devices = Arc::new(Foreign {
            devices: observe::foreign_devices(&snapshot, &uplinks, &self.tagged),
            addresses: self.host_addresses(&snapshot)?,
            source: foreign::source(&snapshot, &self.settings.public_interface),
            waits: foreign::waits(&snapshot, &self.settings),
        });
        let mut items = observe::items(&snapshot, desired, &uplinks, &self.tagged);
        items.iter_mut().for_each(floating_ip::mark_unanswered);
        Self::mark_unanswered(&mut items);
        self.mark_blocked_removals(desired, &mut items)?;
        self.watch_mtus(&snapshot, desired);
        metadata::observe(&mut self.socket, desired, &mut items)?;
        self.observe_settings(desired, &snapshot, &mut items)?;
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
        for run in changes.chunk_by(|a, b| together(a).is_some() && together(a) == together(b)) {
            match together(&run[0]) {
                Some(Together::FloatingIps) => {
                    failed.extend(floating_ip::apply(
                        &mut self.socket,
                        &mut self.announcer,
                        run,
                    ));
                }
                Some(Together::PortRemovals) => {
                    failed.extend(port::remove(run.iter().filter_map(port_name).collect()).await);
                }
                None => {
                    for change in run {
                        if let Err(error) = self.apply_one(change) {
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
enum Together {
    FloatingIps,
    PortRemovals,
}

fn together(change: &LinkChange) -> Option<Together> {
    match (&change.key, &change.to) {
        (LinkKey::FloatingIp(_), _) => Some(Together::FloatingIps),
        (LinkKey::Port(_), None) => Some(Together::PortRemovals),
        _ => None,
    }
}

fn port_name(change: &LinkChange) -> Option<IfName> {
    match &change.key {
        LinkKey::Port(name) => Some(name.clone()),
        _ => None,
    }
}

impl Links {
    fn apply_one(&mut self, change: &LinkChange) -> Result<(), SubsystemError> {
        match (&change.key, &change.to) {
            (LinkKey::Sysctl(path), Some(LinkValue::Setting(value))) => {
                sysctl::set(&self.state_dir, path, value)
            }
            (LinkKey::Sysctl(path), None) => sysctl::restore(&self.state_dir, path),
            (LinkKey::Conf(name, setting), Some(LinkValue::Setting(value))) => {
                self.set_conf(name, setting, value)
            }
            (LinkKey::Conf(name, setting), None) => {
                sysctl::restore(&self.state_dir, &sysctl::conf(name, setting))
            }
            (LinkKey::Bridge(name), Some(value)) if *value != LinkValue::Left => {
                self.ensure_bridge(name, value)
            }
            // Of a network that the host cannot have: somebody else's bridge is seen as left already.
            (LinkKey::Bridge(name), None | Some(LinkValue::Left)) => self.remove_bridge(name),
            (LinkKey::Uplink(name), Some(LinkValue::Uplink(spec))) => {
                self.ensure_uplink(name, spec)
            }
            (LinkKey::Uplink(name), None) => {
                uplink::release(&mut self.socket, &self.state_dir, name)
            }
            (LinkKey::Address(device, address), Some(LinkValue::Address(prefix))) => {
                self.ensure_address(device, *address, *prefix)
            }
            (key @ (LinkKey::MetadataRoute | LinkKey::MetadataRule(_)), value) => {
                metadata::apply(&mut self.socket, key, value.is_some())
            }
            (LinkKey::Address(device, address), None) => self.remove_address(device, *address),
            (LinkKey::Port(name), Some(LinkValue::Port(spec))) => {
                port::mend(&mut self.socket, name, spec)
            }
            // Nobody's business of ours; and what is done together, above.
            (_, Some(LinkValue::Left)) | (LinkKey::Port(_) | LinkKey::FloatingIp(_), None) => {
                Ok(())
            }
            (key, Some(value)) => Err(SubsystemError::Refused(format!(
                "{key} cannot be {value:?}"
            ))),
        }
    }

    fn ensure_uplink(&mut self, name: &IfName, spec: &UplinkSpec) -> Result<(), SubsystemError> {
        let Some(bridge) = &spec.bridge else {
            return Ok(());
        };
        uplink::enslave(&mut self.socket, &self.state_dir, name, bridge)
    }

    fn ensure_address(
        &mut self,
        device: &IfName,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), SubsystemError> {
        let net = net(address, prefix)?;
        let link = kernel_state::link(&mut self.socket, device)?.ok_or_else(|| {
            SubsystemError::Refused(format!("address {net}: {device} is not there"))
        })?;
        if device.as_str() != "lo" && !observe::is_our_bridge(&link, device) {
            return Err(SubsystemError::Refused(format!(
                "address {net}: {device} is {}",
                link.describe()
            )));
        }
        match self.socket.request(&message::add_address(link.index, net)) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other.map_err(|e| SubsystemError::kernel(format!("add {net} to {device}"), e)),
        }?;
        self.remove_addresses(device, link.index, address, Some(prefix))?;
        if device.as_str() != "lo" && sysctl::nobody_answers() {
            return Err(SubsystemError::Refused(format!(
                "address {net}: no instance gets an answer to ARP for it, because sysctl \
                 net.ipv4.conf.all.arp_ignore is 8: set it to 0, 1 or 2"
            )));
        }
        Ok(())
    }

    fn remove_address(&mut self, device: &IfName, address: Ipv4Addr) -> Result<(), SubsystemError> {
        match kernel_state::link(&mut self.socket, device)? {
            Some(link) => {
                bridge_removal::promote_secondaries(&link, device)?;
                self.remove_addresses(device, link.index, address, None)
            }
            None => Ok(()),
        }
    }

    /// Removes what is ours of an address, but for one prefix length.
    fn remove_addresses(
        &mut self,
        device: &IfName,
        index: u32,
        address: Ipv4Addr,
        keep: Option<u8>,
    ) -> Result<(), SubsystemError> {
        for found in kernel_state::addresses_of(&mut self.socket, index)? {
            if found.ours && found.ip == address && keep != Some(found.prefix) {
                let net = net(address, found.prefix)?;
                self.socket
                    .request(&message::remove_address(index, net))
                    .map_err(|e| {
                        SubsystemError::kernel(format!("remove {net} from {device}"), e)
                    })?;
            }
        }
        Ok(())
    }
}

fn net(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Net, SubsystemError> {
    Ipv4Net::new(address, prefix)
        .map_err(|e| SubsystemError::Refused(format!("{address}/{prefix}: {e}")))
}
