//! Use cases of floating IPs that are the operator's: the pools, and the end of an association.

use crate::caller::operator;
use crate::floating_ips::point;
use crate::host_addresses;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::rows::FloatingIp;
use novanet_model::{HostAddresses, IfName, Ipv4Net, ModelError, ProjectId};
use novanet_store::host_addresses::HostReserved;
use novanet_store::{Conn, Tx, audit, floating_ips, networks};
use std::net::Ipv4Addr;

/// The most addresses that one `floating create` adds.
const MAX_RANGE_ADDRESSES: usize = 65_536;

impl Cloud {
    /// `floating create RANGE`: adds the range's host addresses to a pool. How many are new.
    /// Refused where instances have their own addresses, and where a host has one of them itself.
    pub async fn create_floating_ips(
        &self,
        range: Ipv4Net,
        pool: Option<&str>,
        interface: Option<&IfName>,
    ) -> Result<u64> {
        let addresses = addresses_of(range)?;
        let mut tx = self.db().begin_planned().await?;
        let reserved = host_addresses::all_reserved(&mut tx).await?;
        host_addresses::refuse_floating(&reserved, &addresses)?;
        self.add_floating_ips(tx, range, &addresses, (pool, interface))
            .await
    }

    /// As [`Self::create_floating_ips`] with the default pool, but leaves out the addresses of
    /// hosts, `here` included, whose host may not have reported them yet. Returns the number of new
    /// ones, and the left-out ones with the reasons.
    pub async fn create_floating_ips_around(
        &self,
        range: Ipv4Net,
        (host, here): (&str, &HostAddresses),
    ) -> Result<(u64, HostReserved)> {
        let mut addresses = addresses_of(range)?;
        let mut tx = self.db().begin_planned().await?;
        let mut reports = novanet_store::host_addresses::all(&mut tx).await?;
        reports.insert(host.to_owned(), here.clone());
        let mut reserved = host_addresses::reserved(&reports);
        reserved.retain(|ip, _| addresses.contains(ip));
        addresses.retain(|ip| !reserved.contains_key(ip));
        let new = self
            .add_floating_ips(tx, range, &addresses, (None, None))
            .await?;
        Ok((new, reserved))
    }

    async fn add_floating_ips(
        &self,
        mut tx: Tx,
        range: Ipv4Net,
        addresses: &[Ipv4Addr],
        (pool, interface): (Option<&str>, Option<&IfName>),
    ) -> Result<u64> {
        let pool = pool.unwrap_or(&self.config().floating_pool);
        refuse_fixed(&mut tx, range).await?;
        let new = floating_ips::insert(&mut tx, addresses, pool, interface).await?;
        if new > 0 {
            let detail = format!("{new} addresses in pool {pool}");
            let object = range.to_string();
            audit::record(
                &mut tx,
                &operator(),
                "floating_ip.create",
                None,
                &object,
                &detail,
            )
            .await?;
            tx.commit().await?;
        }
        Ok(new)
    }

    /// `floating delete RANGE`: all or nothing; refused while a project has one of them.
    pub async fn delete_floating_ips(&self, range: Ipv4Net) -> Result<u64> {
        let mut tx = self.db().begin_planned().await?;
        let all = floating_ips::list(&mut tx).await?;
        let hit: Vec<&FloatingIp> = all.iter().filter(|f| range.contains(&f.address)).collect();
        if hit.is_empty() {
            return Err(ControlError::not_found(Kind::FloatingIp, range));
        }
        for float in &hit {
            if let Some(project) = &float.project {
                return Err(ControlError::in_use(
                    Kind::FloatingIp,
                    float.address,
                    format!("project {project} has it (release it first)"),
                ));
            }
            floating_ips::delete(&mut tx, float.id).await?;
        }
        let object = range.to_string();
        let detail = format!("{} addresses", hit.len());
        audit::record(
            &mut tx,
            &operator(),
            "floating_ip.delete",
            None,
            &object,
            &detail,
        )
        .await?;
        tx.commit().await?;
        Ok(u64::try_from(hit.len()).unwrap_or(u64::MAX))
    }

    /// `floating list`.
    pub async fn floating_ips(&self) -> Result<Vec<FloatingIp>> {
        let mut tx = self.db().read().await?;
        Ok(floating_ips::list(&mut tx).await?)
    }

    /// `floating disassociate`: the operator ends an association, whatever project it is of.
    /// `false`: the address led nowhere.
    pub async fn end_association(&self, address: Ipv4Addr) -> Result<bool> {
        let mut tx = self.db().begin_planned().await?;
        let float = floating_ips::by_address(&mut tx, address)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::FloatingIp, address))?;
        let Some(target) = &float.fixed else {
            return Ok(false);
        };
        let moved = point(&mut tx, float.id, None).await?;
        let action = "floating_ip.disassociate";
        let (object, detail) = (address.to_string(), format!("from {}", target.instance));
        let project = float.project.as_ref().map(ProjectId::as_str);
        audit::record(&mut tx, &operator(), action, project, &object, &detail).await?;
        self.plan(&mut tx, [moved]).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// nova leaves out the network and broadcast addresses of a range, and takes a /32 as it is.
fn addresses_of(range: Ipv4Net) -> Result<Vec<Ipv4Addr>> {
    let addresses: Vec<Ipv4Addr> = range.hosts().take(MAX_RANGE_ADDRESSES + 1).collect();
    if addresses.len() > MAX_RANGE_ADDRESSES {
        return Err(ModelError::new(
            "range",
            range,
            format!("has more than {MAX_RANGE_ADDRESSES} addresses (add it in parts)"),
        )
        .into());
    }
    Ok(addresses)
}

/// Refuses a range that has addresses of a network, one that is being deleted too.
async fn refuse_fixed(c: &mut Conn, range: Ipv4Net) -> Result<()> {
    let all = networks::in_the_way(c).await?.all();
    match all
        .iter()
        .find(|n| n.cidr.contains(&range) || range.contains(&n.cidr))
    {
        None => Ok(()),
        Some(network) => Err(ControlError::in_use(
            Kind::FloatingIp,
            range,
            format!(
                "overlaps network {} ({}), whose addresses are the instances' own: choose another \
                 range",
                network.cidr, network.label
            ),
        )),
    }
}
