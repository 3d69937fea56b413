//! RunInstances: one transaction that places instances, gives them addresses and plans them.

use crate::floating_ips::Association;
use crate::groups::GroupRef;
use crate::placement::{Placement, unused_mac};
use crate::{Caller, Cloud, ControlError, Kind, Result, Role, groups, images};
use novanet_model::instance_type::{self, InstanceType};
use novanet_model::rows::Network;
use novanet_model::{GroupId, ImageId, InstanceId, ModelError, NetworkKind, ReservationId};
use novanet_store::instances::{Row, State};
use novanet_store::{
    Committed, StoreError, Thing, Tx, audit, counters, fixed_ips, instances, key_pairs, members,
    networks,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// nova's and EC2's limit for user data, in bytes.
pub const USER_DATA_LIMIT: usize = 16_384;

/// What RunInstances was asked for.
#[derive(Clone)]
pub struct Launch {
    /// The image.
    pub image: ImageId,
    /// At least this many, or none.
    pub min: i64,
    /// At most this many.
    pub max: i64,
    /// Name of the instance type; `None`: nova's `m1.small`.
    pub instance_type: Option<String>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Groups; empty: `default`.
    pub groups: Vec<GroupRef>,
    /// User data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// The same token again answers with the same instances.
    pub client_token: Option<String>,
    /// Only on hosts of this zone.
    pub availability_zone: Option<String>,
    /// This fixed IP, for a single instance in a single network.
    pub private_address: Option<Ipv4Addr>,
}

impl std::fmt::Debug for Launch {
    /// Without the user data, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("image", &self.image)
            .field("min", &self.min)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// What all instances of one launch share.
struct Common {
    image: novanet_store::images::Image,
    size: &'static InstanceType,
    count: i64,
    key: Option<novanet_store::key_pairs::KeyPair>,
    groups: Vec<GroupId>,
    networks: Vec<Network>,
    reservation: ReservationId,
    combination: novanet_model::CombinationId,
}

impl Cloud {
    /// RunInstances. The instances come back `pending`; their hosts start them.
    pub async fn run_instances(
        &self,
        caller: &Caller,
        launch: &Launch,
    ) -> Result<(Vec<InstanceId>, Committed)> {
        caller.require(Role::SysAdmin)?;
        check(launch)?;
        let mut tries = 0;
        loop {
            match self.launch_once(caller, launch).await {
                // A MAC that somebody has already, one in eight million: other ones, from the
                // beginning, because PostgreSQL's transaction is dead now.
                Err(ControlError::Store(StoreError::Conflict(_))) if tries < 3 => tries += 1,
                done => return done,
            }
        }
    }

    async fn launch_once(
        &self,
        caller: &Caller,
        launch: &Launch,
    ) -> Result<(Vec<InstanceId>, Committed)> {
        let mut tx = self.db().change().await?;
        if let Some(token) = &launch.client_token {
            let before = instances::by_client_token(&mut tx, &caller.project, token).await?;
            if !before.is_empty() {
                return Ok((before.iter().map(|r| r.id).collect(), Committed::default()));
            }
        }
        let common = self.common(&mut tx, caller, launch).await?;
        let count = common.count;
        let zone = launch.availability_zone.as_deref();
        let mut hosts = Placement::new(self, &mut tx, &common.networks, zone).await?;
        let mut things = BTreeSet::new();
        let mut made = Vec::new();
        let first = counters::take(&mut tx, "instances", count).await?;
        for (index, id) in (0..).zip(first..first + count) {
            let host = hosts.choose()?;
            let row = row_of(caller, launch, &common, InstanceId(id), index, host);
            match self.place(&mut tx, caller, launch, &common, &row).await {
                Ok(new) => things.extend(new),
                // Addresses may run out after `min`: EC2 launches as many as it can.
                Err(ControlError::Exhausted { .. } | ControlError::Quota { .. })
                    if index >= launch.min =>
                {
                    break;
                }
                Err(other) => return Err(other),
            }
            made.push(row.id);
        }
        self.plan(&mut tx, things).await?;
        Ok((made, tx.commit().await?))
    }

    async fn common(&self, tx: &mut Tx, caller: &Caller, launch: &Launch) -> Result<Common> {
        self.still_there(tx, caller).await?;
        let image = images::find(tx, caller, launch.image).await?;
        let name = launch.instance_type.as_deref().unwrap_or("m1.small");
        let size = instance_type::find(name)
            .ok_or_else(|| ControlError::not_found(Kind::InstanceType, name))?;
        let project = &caller.project;
        let networks = networks_for(tx, caller).await?;
        let each = i64::try_from(networks.len()).unwrap_or(i64::MAX);
        let count = self.how_many(tx, caller, launch, size, each).await?;
        let key = match &launch.key_name {
            None => None,
            Some(name) => Some(
                key_pairs::by_name(tx, &caller.actor.who, name)
                    .await?
                    .ok_or_else(|| ControlError::not_found(Kind::KeyPair, name))?,
            ),
        };
        let mut ids = BTreeSet::new();
        for group in &launch.groups {
            ids.insert(groups::find(tx, caller, group).await?.id);
        }
        if ids.is_empty() {
            ids.insert(
                self.ensure_default_group(tx, &caller.actor, project, &caller.actor.who)
                    .await?,
            );
        }
        let groups: Vec<GroupId> = ids.into_iter().collect();
        Ok(Common {
            networks,
            combination: novanet_store::groups::combination(tx, &groups).await?,
            reservation: ReservationId(counters::next(tx, "reservations").await?),
            image,
            size,
            count,
            key,
            groups,
        })
    }

    /// As many as asked for, or as the quotas leave, but not less than `min` (nova's and EC2's rule).
    async fn how_many(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        launch: &Launch,
        size: &InstanceType,
        addresses: i64,
    ) -> Result<i64> {
        let project = &caller.project;
        let (used, cores, ram) = instances::usage(tx, project).await?;
        let limits = [
            ("instances", used, 1),
            ("cores", cores, i64::from(size.vcpus)),
            ("ram", ram, i64::from(size.memory_mb)),
            (
                "fixed_ips",
                fixed_ips::count_of(tx, project).await?,
                addresses,
            ),
        ];
        let mut count = launch.max;
        for (resource, used, each) in limits {
            let Some(room) = self.room(tx, project, resource, used).await? else {
                continue;
            };
            if room < launch.min * each {
                return Err(ControlError::Quota {
                    resource,
                    used,
                    wanted: launch.min * each,
                    limit: used + room,
                });
            }
            count = count.min(room / each);
        }
        Ok(count)
    }

    /// Inserts one instance with an address in each network; what has to be planned for it.
    async fn place(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        launch: &Launch,
        common: &Common,
        row: &Row,
    ) -> Result<BTreeSet<Thing>> {
        // Addresses first: when they run out, nothing of this instance is there yet.
        let addresses = take_addresses(tx, launch, &common.networks).await?;
        let float = if self.config().auto_assign_floating_ip {
            match self.take_address(tx, caller, None).await {
                Ok(float) => Some(float.address),
                Err(none_left) => {
                    for (id, _) in addresses {
                        fixed_ips::release(tx, id).await?;
                    }
                    return Err(none_left);
                }
            }
        } else {
            None
        };
        instances::insert(tx, row, &common.groups).await?;
        for ((index, network), (fixed, _)) in (0_u32..).zip(&common.networks).zip(&addresses) {
            let mac = unused_mac();
            let vif = instances::insert_interface(tx, row.id, network.id, index, mac).await?;
            fixed_ips::give(tx, *fixed, row.id, vif).await?;
        }
        let host = row.host.as_deref().unwrap_or_default();
        let things = members::arrive(tx, row.id, &row.project, &common.groups, host).await?;
        if let Some(address) = float {
            let to = Association::to(row.id);
            let float = self.point_address(tx, caller, address.into(), &to).await?;
            novanet_store::floating_ips::set_auto_assigned(tx, float.id).await?;
        }
        let project = Some(row.project.as_str());
        let object = row.id.to_string();
        let ips: Vec<String> = addresses.iter().map(|(_, ip)| ip.to_string()).collect();
        let detail = format!("{} on {host} with {}", row.instance_type, ips.join(" "));
        audit::record(tx, &caller.actor, "instance.run", project, &object, &detail).await?;
        Ok(things)
    }
}

fn check(launch: &Launch) -> Result<()> {
    if launch.min < 1 || launch.max < launch.min {
        return Err(ModelError::new(
            "MinCount and MaxCount",
            format!("{} and {}", launch.min, launch.max),
            "must be at least 1, and MaxCount not below MinCount",
        )
        .into());
    }
    if launch.private_address.is_some() && launch.max != 1 {
        return Err(
            ModelError::new("PrivateIpAddress", "", "can be given for one instance only").into(),
        );
    }
    let length = launch.user_data.as_ref().map_or(0, Vec::len);
    if length > USER_DATA_LIMIT {
        return Err(ModelError::new(
            "UserData",
            format!("{length} bytes"),
            format!("must be at most {USER_DATA_LIMIT} bytes"),
        )
        .into());
    }
    Ok(())
}

/// An address in each network, or none at all.
async fn take_addresses(
    tx: &mut Tx,
    launch: &Launch,
    networks: &[Network],
) -> Result<Vec<(i64, Ipv4Addr)>> {
    if let Some(ip) = launch.private_address {
        let [network] = networks else {
            return Err(ModelError::new(
                "PrivateIpAddress",
                ip,
                format!(
                    "the instance gets an address in {} networks",
                    networks.len()
                ),
            )
            .into());
        };
        return Ok(vec![(take_address(tx, network, ip).await?, ip)]);
    }
    let mut addresses = Vec::with_capacity(networks.len());
    for network in networks {
        let Some(address) = fixed_ips::allocate(tx, network).await? else {
            for (id, _) in addresses {
                fixed_ips::release(tx, id).await?;
            }
            return Err(ControlError::exhausted(
                Kind::FixedIp,
                format!(
                    "no free fixed IP in network {} (the operator adds a network: \
                     nova-manage network create, or frees addresses: nova-manage fixed list)",
                    network.cidr
                ),
            ));
        };
        addresses.push(address);
    }
    Ok(addresses)
}

/// A fixed IP that the caller chose.
async fn take_address(tx: &mut Tx, network: &Network, ip: Ipv4Addr) -> Result<i64> {
    let reserved = fixed_ips::reserved_ranges(tx, network.id).await?;
    if !network.cidr.contains(&ip) || reserved.iter().any(|r| r.first <= ip && ip <= r.last) {
        return Err(ModelError::new(
            "PrivateIpAddress",
            ip,
            format!(
                "must be an address for instances of network {}",
                network.cidr
            ),
        )
        .into());
    }
    fixed_ips::take(tx, network.id, ip)
        .await?
        .ok_or_else(|| ControlError::in_use(Kind::FixedIp, ip, "is taken or reserved"))
}

/// The networks that an instance of the caller's project gets an address in: the project's own, else
/// all shared flat ones (nova's rule for flat networks), else a VLAN network that nobody has yet.
async fn networks_for(tx: &mut Tx, caller: &Caller) -> Result<Vec<Network>> {
    let all = networks::list(tx).await?;
    let own: Vec<Network> = all
        .iter()
        .filter(|n| n.project.as_ref() == Some(&caller.project))
        .cloned()
        .collect();
    if !own.is_empty() {
        return Ok(own);
    }
    let shared: Vec<Network> = all
        .iter()
        .filter(|n| n.project.is_none() && n.kind != NetworkKind::Vlan)
        .cloned()
        .collect();
    if !shared.is_empty() {
        return Ok(shared);
    }
    let free = all.into_iter().find(|n| n.project.is_none());
    let mut network = free.ok_or_else(|| {
        ControlError::exhausted(
            Kind::Network,
            "there is no network for this project (the operator makes one: \
             nova-manage network create)",
        )
    })?;
    networks::set_project(tx, network.id, &caller.project).await?;
    let (project, object) = (Some(caller.project.as_str()), network.cidr.to_string());
    audit::record(tx, &caller.actor, "network.associate", project, &object, "").await?;
    network.project = Some(caller.project.clone());
    Ok(vec![network])
}

fn row_of(
    caller: &Caller,
    launch: &Launch,
    common: &Common,
    id: InstanceId,
    index: i64,
    (host, zone): (String, String),
) -> Row {
    Row {
        id,
        reservation: common.reservation,
        launch_index: index,
        client_token: launch.client_token.clone(),
        project: caller.project.clone(),
        user: caller.actor.who.clone(),
        image: common.image.id,
        image_digest: common.image.digest.clone(),
        instance_type: common.size.name.to_owned(),
        memory_mb: common.size.memory_mb,
        vcpus: common.size.vcpus,
        hostname: id.to_string(),
        key_name: common.key.as_ref().map(|k| k.name.clone()),
        key_data: common.key.as_ref().map(|k| k.public_key.clone()),
        user_data: launch.user_data.clone(),
        host: Some(host),
        availability_zone: zone,
        state: State::Pending,
        detail: None,
        boot: 1,
        combination: common.combination,
        created_at: 0,
        terminated_at: None,
    }
}
