//! Use cases of fixed IPs: the operator's list and reservations.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::rows::Network;
use novanet_model::{MacAddr, ModelError, NetworkId, NetworkKind};
use novanet_store::fixed_ips;
pub use novanet_store::fixed_ips::{FixedIp, Usage};
use novanet_store::pool;
use novanet_store::{Committed, Conn, PlanOwner, Tx, audit, networks, vpns};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

impl Cloud {
    /// `fixed list [HOST]`: every address ever handed out or reserved.
    pub async fn fixed_ips(&self, host: Option<&str>) -> Result<Vec<FixedIp>> {
        let mut tx = self.db().read().await?;
        Ok(fixed_ips::list(&mut tx, host.unwrap_or_default()).await?)
    }

    /// What became of each network's addresses.
    pub async fn network_usage(&self) -> Result<BTreeMap<NetworkId, Usage>> {
        let mut tx = self.db().read().await?;
        Ok(fixed_ips::usage(&mut tx).await?)
    }

    /// `fixed reserve`: no instance gets these addresses from now on. All or none.
    pub async fn reserve_fixed_ips(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        for &ip in addresses {
            let network = network_of(&mut tx, ip).await?;
            if !pool::reserve(&mut tx, network, ip).await? {
                return Err(taken(&mut tx, network, ip).await?);
            }
            record(&mut tx, "fixed_ip.reserve", ip).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// `fixed reserve ADDRESS --mac`: the network's DHCP server gives this address to the machine
    /// with this MAC, from now on and at each renewal. Also an address below `dhcp_start` or of the
    /// VPN clients.
    pub async fn reserve_for_mac(&self, ip: Ipv4Addr, mac: MacAddr) -> Result<Committed> {
        let mut tx = self.db().begin_planned().await?;
        let network = network_with(&mut tx, ip).await?;
        refuse_own(&mut tx, &network, ip).await?;
        if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            let why = "is no machine's MAC (a group address, or all zeros)";
            return Err(ModelError::new("mac", mac, why).into());
        }
        let in_use = |reason: String| Err(ControlError::in_use(Kind::FixedIp, ip, reason));
        if let Some(other) = fixed_ips::of_mac(&mut tx, network.id, &mac).await?
            && other != ip
        {
            return in_use(format!(
                "MAC {mac} has {other} in this network (nova-manage fixed unreserve {other} frees it)"
            ));
        }
        if !pool::reserve(&mut tx, network.id, ip).await? {
            return Err(taken(&mut tx, network.id, ip).await?);
        }
        if !fixed_ips::reserve_for(&mut tx, network.id, ip, &mac).await? {
            return in_use(format!(
                "is reserved for another MAC (nova-manage fixed unreserve {ip} frees it)"
            ));
        }
        let (object, detail) = (ip.to_string(), format!("for {mac}"));
        audit::record(
            &mut tx,
            &operator(),
            "fixed_ip.reserve",
            None,
            &object,
            &detail,
        )
        .await?;
        self.plan(&mut tx, [PlanOwner::Network(network.id)]).await?;
        Ok(tx.commit().await?)
    }

    /// `fixed unreserve`: instances may get these addresses again. All or none.
    pub async fn unreserve_fixed_ips(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        let mut owners = BTreeSet::new();
        for &ip in addresses {
            let network = network_with(&mut tx, ip).await?;
            if let Some(project) = vpns::keeper(&mut tx, network.id, ip).await? {
                let reason = format!("is kept for the VPN of project {project}");
                return Err(ControlError::in_use(Kind::FixedIp, ip, reason));
            }
            if !pool::unreserve(&mut tx, network.id, ip).await? {
                return Err(not_reserved(ip));
            }
            owners.insert(PlanOwner::Network(network.id));
            record(&mut tx, "fixed_ip.unreserve", ip).await?;
        }
        self.plan(&mut tx, owners).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The network that has this address in its range.
async fn network_with(c: &mut Conn, ip: Ipv4Addr) -> Result<Network> {
    let all = networks::list(c).await?;
    let found = all.into_iter().find(|n| n.cidr.contains(&ip));
    Ok(found.ok_or_else(|| ModelError::new("address", ip, "is in none of the networks"))?)
}

/// Refuses an address that is the network's own, and any of a network without DHCP.
async fn refuse_own(c: &mut Conn, network: &Network, ip: Ipv4Addr) -> Result<()> {
    let refused = |why: String| Err(ModelError::new("address", ip, why).into());
    if network.kind == NetworkKind::Flat {
        return refused(format!(
            "is in flat network {}, which has no DHCP server: reserve it without --mac",
            network.cidr
        ));
    }
    let own = [
        (network.cidr.network(), "network address"),
        (network.cidr.broadcast(), "broadcast address"),
        (network.gateway, "gateway"),
    ];
    let vpn = network.vpn_private_address.map(|ip| (ip, "VPN instance"));
    let mut own = own.into_iter().chain(vpn);
    if let Some((_, what)) = own.find(|(one, _)| *one == ip) {
        return refused(format!("is the {what} of network {}", network.cidr));
    }
    let ranges = fixed_ips::reserved_ranges(c, network.id).await?;
    let hosts = novanet_store::host_addresses::is_hosts(&ranges, ip);
    match hosts {
        Some(why) => refused(format!("is not free: {why}")),
        None => Ok(()),
    }
}

async fn taken(c: &mut Conn, network: NetworkId, ip: Ipv4Addr) -> Result<ControlError> {
    let row = fixed_ips::by_address(c, network, ip).await?;
    let who = row.and_then(|f| f.instance).map_or_else(
        || "an instance".to_owned(),
        |instance| format!("instance {instance}"),
    );
    let reason = format!("{who} has it (terminate it first)");
    Ok(ControlError::in_use(Kind::FixedIp, ip, reason))
}

pub(crate) async fn record(tx: &mut Tx, action: &str, ip: Ipv4Addr) -> Result<()> {
    Ok(audit::record(tx, &operator(), action, None, &ip.to_string(), "").await?)
}

/// Refuses to unreserve an address that is not reserved.
pub(crate) fn not_reserved(ip: Ipv4Addr) -> ControlError {
    let reason = "is not reserved by hand (nova-manage fixed list shows what is)";
    ControlError::in_use(Kind::FixedIp, ip, reason)
}

/// The network that an address is an address of.
async fn network_of(c: &mut Conn, ip: Ipv4Addr) -> Result<NetworkId> {
    let network = network_with(c, ip).await?;
    within(c, &network, ip).await?;
    Ok(network.id)
}

/// Refuses an address that instances of a network cannot have.
pub(crate) async fn within(c: &mut Conn, network: &Network, ip: Ipv4Addr) -> Result<()> {
    let refused = |reason: String| Err(ModelError::new("address", ip, reason).into());
    if !network.cidr.contains(&ip) {
        return refused(format!("is not in network {}", network.cidr));
    }
    let ranges = fixed_ips::reserved_ranges(c, network.id).await?;
    match ranges.iter().find(|r| r.first <= ip && ip <= r.last) {
        Some(range) => refused(format!("is kept by the network itself ({})", range.reason)),
        None => Ok(()),
    }
}
