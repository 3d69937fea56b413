//! A small cloud to test with: users, projects, networks, instances.

use anyhow::Result;
use novanet_model::plan::Placed;
use novanet_model::rows::Network;
use novanet_model::wire::{Digest, Follow, Hello, HostRole, Objects};
use novanet_model::{
    CombinationId, FixedIpId, GroupId, HostObject, ImageId, InstanceId, MacAddr, Micros, NetworkId,
    NetworkKind, NetworkSpec, ObjectKey, ProjectId, ReservationId, object,
};
use novanet_store::instances::{Row, State};
use novanet_store::interfaces::{self, Interface};
use novanet_store::members::Placement;
use novanet_store::networks::Reserved;
use novanet_store::pool::Given;
use novanet_store::users::User;
use novanet_store::{
    Db, PlanOwner, StoreError, Tx, counters, groups, hosts, instances, members, networks, objects,
    pool, projects, users,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> ProjectId {
    text.parse().unwrap()
}

/// A user whose keys follow from the name.
pub(crate) fn a_user(id: &str) -> User {
    User {
        id: id.to_owned(),
        access_key: format!("AK{id}"),
        sealed_secret: vec![0, 1, 254, 255],
        is_admin: false,
        created_at: Micros::new(0),
    }
}

/// A project with a manager `boss-of-<project>`.
pub(crate) async fn a_project(tx: &mut Tx, id: &str) -> Result<ProjectId> {
    let boss = format!("boss-of-{id}");
    users::insert(tx, &a_user(&boss)).await?;
    projects::insert(tx, &name(id), &boss, "for tests").await?;
    Ok(name(id))
}

/// A flat-DHCP network as a row, not inserted.
pub(crate) fn a_network(cidr: &str) -> Network {
    let cidr: novanet_model::Ipv4Net = cidr.parse().unwrap();
    let first = u32::from(cidr.network());
    Network {
        id: NetworkId(0),
        spec: NetworkSpec {
            label: "test".to_owned(),
            kind: NetworkKind::FlatDhcp,
            cidr,
            gateway: (first + 1).into(),
            dhcp_server: None,
            domain: None,
            dhcp_options: Vec::new(),
            no_snat: false,
            dhcp_start: (first + 2).into(),
            bridge: "br100".parse().unwrap(),
            bridge_interface: None,
            vlan: None,
            dns: vec![],
            vpn_public_address: None,
            vpn_public_port: None,
            vpn_private_address: None,
            project: None,
            multi_host: false,
            injected: false,
            mtu: None,
            vpn_clients: 0,
        },
        host: None,
        uuid: format!("uuid-{cidr}"),
    }
}

/// A network with other settings.
pub(crate) fn with(mut network: Network, change: impl FnOnce(&mut Network)) -> Network {
    change(&mut network);
    network
}

/// Network address with gateway, and broadcast: what every network keeps for itself.
pub(crate) fn kept(network: &Network) -> Vec<Reserved> {
    let range = |first, last, reason: &str| Reserved {
        first,
        last,
        reason: reason.to_owned(),
    };
    let (first, last) = (network.cidr.network(), network.cidr.broadcast());
    vec![
        range(first, (u32::from(first) + 1).into(), "gateway"),
        range(last, last, "broadcast"),
    ]
}

/// A network that is there, with [`kept`] reserved.
pub(crate) async fn insert_network(tx: &mut Tx, mut network: Network) -> Result<Network> {
    let reserved = kept(&network);
    network.id = networks::insert(tx, &network, &reserved).await?;
    Ok(network)
}

/// An instance's row with a new id, not inserted.
pub(crate) async fn an_instance(
    tx: &mut Tx,
    project: &ProjectId,
    of_groups: &[GroupId],
) -> Result<Row> {
    let id = counters::next(tx, "instances").await?;
    let combination: CombinationId = groups::combination(tx, of_groups).await?;
    Ok(Row {
        id: InstanceId(id),
        reservation: ReservationId(id),
        launch_index: 0,
        client_token: None,
        launch_digest: None,
        project: project.clone(),
        user: "alice".to_owned(),
        image: ImageId(1),
        image_digest: "sha256:1".to_owned(),
        instance_type: "m1.tiny".to_owned(),
        memory_mb: 512,
        vcpus: 1,
        hostname: format!("i-{id}"),
        key_name: None,
        key_data: None,
        user_data: None,
        host: None,
        availability_zone: "nova".to_owned(),
        state: State::Pending,
        detail: None,
        boot: 1,
        halted: false,
        combination,
        created_at: tx.now,
        terminated_at: None,
    })
}

/// An instance on a host, without ports.
pub(crate) async fn insert_instance(
    tx: &mut Tx,
    project: &ProjectId,
    of_groups: &[GroupId],
    host: Option<&str>,
) -> Result<InstanceId> {
    let mut row = an_instance(tx, project, of_groups).await?;
    row.host = host.map(str::to_owned);
    insert(tx, &row, of_groups).await?;
    Ok(row.id)
}

/// Gives an instance its first port in a network: the row id of the address, and the address.
pub(crate) async fn plug(
    tx: &mut Tx,
    instance: InstanceId,
    network: &Network,
) -> Result<(FixedIpId, Ipv4Addr)> {
    let (id, address) = allocate(tx, network).await?.expect("an address is free");
    let mac = mac_of(address);
    give(tx, id, interface(instance, network, 0, mac)).await?;
    Ok((id, address))
}

/// The MAC that [`plug`] gives with an address.
pub(crate) fn mac_of(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    format!("02:16:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
        .parse()
        .unwrap()
}

/// A host object with a key and a body of one's choice.
pub(crate) fn member(group: i64, last: u8) -> HostObject {
    HostObject::Member(object::Member {
        group: GroupId(group),
        address: Ipv4Addr::new(10, 0, 0, last),
    })
}

/// [`member`] on a host.
pub(crate) fn placed(host: &str, group: i64, last: u8) -> Placed {
    (host.to_owned(), member(group, last))
}

/// What an agent keeps of its host's objects.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    pub(crate) host: &'static str,
    pub(crate) epoch: String,
    pub(crate) version: i64,
    pub(crate) objects: BTreeMap<ObjectKey, (i64, HostObject)>,
}

impl Follower {
    pub(crate) fn of(host: &'static str) -> Self {
        Self {
            host,
            epoch: String::new(),
            version: 0,
            objects: BTreeMap::new(),
        }
    }

    /// Asks for what is new and applies it. The answer is given back.
    pub(crate) async fn catch_up(&mut self, db: &Db) -> Result<Objects> {
        let follow = Follow {
            epoch: self.epoch.clone(),
            after: self.version,
            wait_ms: 0,
        };
        let answer = objects::follow(&mut *db.connection().await?, self.host, &follow).await?;
        if answer.whole {
            self.objects.clear();
        }
        for change in answer.changes.clone() {
            if let Some(object) = change.object {
                self.objects.insert(change.key, (change.version, object));
            } else {
                self.objects.remove(&change.key);
            }
        }
        self.epoch.clone_from(&answer.epoch);
        self.version = answer.version;
        Ok(answer)
    }

    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.objects.keys().cloned().collect()
    }

    pub(crate) fn digest(&self) -> Digest {
        let versions = || self.objects.values().map(|(version, _)| *version);
        Digest {
            epoch: self.epoch.clone(),
            version: self.version,
            count: i64::try_from(self.objects.len()).unwrap(),
            max: versions().max().unwrap_or(0),
            sum: versions().sum(),
            fingerprint: None,
        }
    }
}

/// A host that has introduced itself.
pub(crate) async fn join(tx: &mut Tx, host: &str) -> Result<()> {
    let hello = Hello {
        version: "0.1.0".to_owned(),
        roles: vec![HostRole::Network],
        my_ip: [192, 0, 2, 1].into(),
        kinds: vec![NetworkKind::FlatDhcp],
        vcpus: 2,
        memory_mb: 1024,
    };
    Ok(hosts::hello(tx, host, &hello).await?)
}

/// An instance was placed.
pub(crate) async fn place(
    tx: &mut Tx,
    instance: InstanceId,
    project: &ProjectId,
    groups: &[GroupId],
    host: &str,
) -> Result<BTreeSet<PlanOwner>> {
    let row = instances::by_id(tx, instance).await?.expect("inserted");
    let placement = Placement {
        instance,
        project,
        groups,
        host,
        vcpus: row.vcpus,
        memory_mb: row.memory_mb,
    };
    Ok(members::add_members(tx, &[placement]).await?)
}

/// One address out of the pool.
pub(crate) async fn allocate(
    tx: &mut Tx,
    network: &Network,
) -> Result<Option<(FixedIpId, Ipv4Addr)>> {
    let allocated = pool::allocate(tx, network, 1).await?.pop();
    Ok(allocated.map(|ip| (ip.id, ip.address)))
}

/// One address back.
pub(crate) async fn release(tx: &mut Tx, id: FixedIpId) -> Result<()> {
    Ok(pool::release(tx, &[id]).await?)
}

pub(crate) fn interface(
    instance: InstanceId,
    network: &Network,
    index: u32,
    mac: MacAddr,
) -> Interface {
    Interface {
        instance,
        index,
        network: network.id,
        mac,
    }
}

/// A new interface with an allocated address.
pub(crate) async fn give(tx: &mut Tx, address: FixedIpId, interface: Interface) -> Result<()> {
    interfaces::insert(tx, &[interface]).await?;
    let given = Given {
        id: address,
        instance: interface.instance,
        interface: interface.id(),
    };
    Ok(pool::give(tx, &[given]).await?)
}

/// One instance with its groups.
pub(crate) async fn insert(tx: &mut Tx, row: &Row, groups: &[GroupId]) -> Result<(), StoreError> {
    instances::insert(tx, &[(row, groups)]).await
}
