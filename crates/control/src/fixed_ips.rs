//! Use cases of fixed IPs: the operator's list and reservations.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::ModelError;
use novanet_store::fixed_ips::{self, FixedIp};
use novanet_store::{Conn, audit, networks};
use std::net::Ipv4Addr;

impl Cloud {
    /// `fixed list [HOST]`: every address ever handed out or reserved.
    pub async fn fixed_ips(&self, host: Option<&str>) -> Result<Vec<FixedIp>> {
        let mut tx = self.db().read().await?;
        Ok(fixed_ips::list(&mut tx, host.unwrap_or_default()).await?)
    }

    /// `fixed reserve`: no instance gets the address from now on.
    pub async fn reserve_fixed_ip(&self, ip: Ipv4Addr) -> Result<()> {
        let mut tx = self.db().change().await?;
        let network = network_of(&mut tx, ip).await?;
        if !fixed_ips::reserve(&mut tx, network, ip).await? {
            let owner = fixed_ips::by_address(&mut tx, ip).await?;
            let who = owner.and_then(|f| f.instance).map_or_else(
                || "an instance".to_owned(),
                |instance| format!("instance {instance}"),
            );
            return Err(ControlError::in_use(
                Kind::FixedIp,
                ip,
                format!("{who} has it (terminate it first)"),
            ));
        }
        audit::record(
            &mut tx,
            &operator(),
            "fixed_ip.reserve",
            None,
            &ip.to_string(),
            "",
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// `fixed unreserve`: instances may get the address again.
    pub async fn unreserve_fixed_ip(&self, ip: Ipv4Addr) -> Result<()> {
        let mut tx = self.db().change().await?;
        let network = network_of(&mut tx, ip).await?;
        if !fixed_ips::unreserve(&mut tx, network, ip).await? {
            return Err(ControlError::in_use(
                Kind::FixedIp,
                ip,
                "is not reserved by hand (nova-manage fixed list shows what is)",
            ));
        }
        audit::record(
            &mut tx,
            &operator(),
            "fixed_ip.unreserve",
            None,
            &ip.to_string(),
            "",
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The network that an address is an address of.
async fn network_of(c: &mut Conn, ip: Ipv4Addr) -> Result<novanet_model::NetworkId> {
    let all = networks::list(c).await?;
    let network = all
        .iter()
        .find(|n| n.cidr.contains(&ip))
        .ok_or_else(|| ModelError::new("address", ip, "is in none of the networks"))?;
    for range in fixed_ips::reserved_ranges(c, network.id).await? {
        if range.first <= ip && ip <= range.last {
            return Err(ModelError::new(
                "address",
                ip,
                format!("is kept by the network itself ({})", range.reason),
            )
            .into());
        }
    }
    Ok(network.id)
}
