//! Use cases of fixed IPs: the operator's list and reservations.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::rows::Network;
use novanet_model::{ModelError, NetworkId};
use novanet_store::fixed_ips;
pub use novanet_store::fixed_ips::{FixedIp, Usage};
use novanet_store::pool;
use novanet_store::{Conn, Tx, audit, networks};
use std::collections::BTreeMap;
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

    /// `fixed unreserve`: instances may get these addresses again. All or none.
    pub async fn unreserve_fixed_ips(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        for &ip in addresses {
            let network = network_of(&mut tx, ip).await?;
            if !pool::unreserve(&mut tx, network, ip).await? {
                return Err(not_reserved(ip));
            }
            record(&mut tx, "fixed_ip.unreserve", ip).await?;
        }
        tx.commit().await?;
        Ok(())
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
    let all = networks::list(c).await?;
    let network = all
        .iter()
        .find(|n| n.cidr.contains(&ip))
        .ok_or_else(|| ModelError::new("address", ip, "is in none of the networks"))?;
    within(c, network, ip).await?;
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
