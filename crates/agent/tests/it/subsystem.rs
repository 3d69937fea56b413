//! Drives one subsystem as the engine does: observe, diff, apply. And the objects that tests begin with.

use novanet_agent::settings::Settings;
use novanet_model::object::{
    Binding, Bridge, Dhcp, FloatingIp, Gateway, HostObject, Port, port_name,
};
use novanet_model::{CombinationId, IfName, InstanceId, MacAddr, NetworkId, ObjectKey};
use novanet_reconcile::{Change, Desired, Subsystem, SubsystemError, diff};
use std::path::Path;

/// A subsystem and what it should be.
pub(crate) struct Driven<R: Subsystem> {
    pub(crate) subsystem: R,
    pub(crate) desired: Desired<R::Key, R::Value>,
}

impl<R: Subsystem> Driven<R> {
    pub(crate) fn new(subsystem: R) -> Self {
        let desired = Desired::new(subsystem.base_items());
        Self { subsystem, desired }
    }

    pub(crate) fn want(&mut self, object: &HostObject) {
        let items = self.subsystem.items(object);
        self.desired.set_object(&object.key(), items);
    }

    /// An object of a network that this host cannot have.
    pub(crate) fn want_unavailable(&mut self, object: &HostObject) {
        let items = self
            .subsystem
            .items_when_unavailable(object, "its bridge is somebody else's");
        self.desired.set_object(&object.key(), items);
    }

    pub(crate) fn drop_object(&mut self, object: &HostObject) {
        self.forget(&object.key());
    }

    pub(crate) fn forget(&mut self, key: &ObjectKey) {
        self.desired.set_object(key, Vec::new());
    }

    /// What differs now.
    pub(crate) async fn changes(&mut self) -> Vec<Change<R::Key, R::Value>> {
        let observed = self.subsystem.observe(&self.desired).await.unwrap();
        diff(&self.desired, &observed)
    }

    /// One round; answers with what failed.
    pub(crate) async fn round(&mut self) -> Vec<(R::Key, SubsystemError)> {
        let changes = self.changes().await;
        self.subsystem.apply(&changes, &self.desired).await
    }

    /// One round that must succeed, after which nothing is left to do.
    pub(crate) async fn converge(&mut self) {
        let failed = self.round().await;
        assert!(failed.is_empty(), "{failed:?}");
        self.settled().await;
    }

    pub(crate) async fn settled(&mut self) {
        let left = self.changes().await;
        assert!(left.is_empty(), "a second round would still do {left:?}");
    }
}

pub(crate) fn settings(state: &Path) -> Settings {
    Settings {
        dhcpbridge: vec!["/bin/true".into()],
        ..Settings::with_defaults("inside", [192, 0, 2, 1].into(), name("eth0"), state)
    }
}

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

pub(crate) fn bridge(network: i64, bridge: &str) -> HostObject {
    HostObject::Bridge(Bridge {
        network: NetworkId(network),
        bridge: name(bridge),
        interface: None,
        vlan: None,
        mtu: None,
        foreign: false,
        cidr: None,
    })
}

pub(crate) fn gateway(network: i64, bridge: &str, address: &str) -> HostObject {
    HostObject::Gateway(Gateway {
        no_snat: false,
        network: NetworkId(network),
        bridge: name(bridge),
        address: address.parse().unwrap(),
    })
}

pub(crate) fn port(instance: i64, bridge: &str) -> Port {
    let low = u8::try_from(instance % 200).unwrap();
    Port {
        instance: InstanceId(instance),
        index: 0,
        network: NetworkId(1),
        name: port_name(InstanceId(instance), 0),
        bridge: name(bridge),
        mac: MacAddr([2, 0x16, 0x3e, 0, 0, low]),
        address: [10, 0, 0, low].into(),
        vpn_clients: None,
        siblings: Vec::new(),
        combination: CombinationId(1),
        groups: Vec::new(),
    }
}

pub(crate) fn float(address: [u8; 4]) -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: address.into(),
        fixed: [10, 0, 0, 3].into(),
        interface: None,
    })
}

pub(crate) fn dhcp(network: i64, bridge: &str, cidr: &str, server: [u8; 4]) -> HostObject {
    HostObject::Dhcp(Dhcp {
        network: NetworkId(network),
        bridge: name(bridge),
        server: server.into(),
        router: None,
        cidr: cidr.parse().unwrap(),
        start: [server[0], server[1], server[2], 2].into(),
        lease_seconds: 120,
        domain: "novalocal".into(),
        dns: Vec::new(),
        options: Vec::new(),
    })
}

pub(crate) fn binding(
    network: i64,
    bridge: &str,
    mac: u8,
    address: [u8; 4],
    host: &str,
) -> HostObject {
    HostObject::Binding(Binding {
        network: NetworkId(network),
        bridge: name(bridge),
        mac: MacAddr([2, 0x16, 0x3e, 0, 0, mac]),
        address: address.into(),
        hostname: host.into(),
        instance: InstanceId(i64::from(mac)),
    })
}
