//! Interfaces of instances (table `virtual_interfaces`): their MACs, and as ports with the networks
//! and addresses that they have.

use crate::read::Reader;
use crate::{Conn, Result, StoreError, Tx, chunks};
use novanet_model::object::InjectedNetwork;
use novanet_model::rows::InstancePort;
use novanet_model::{IfName, InstanceId, Ipv4Net, MacAddr, NetworkId, NetworkKind};
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

/// An interface to be added. The MAC must be new in the whole cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The instance that has it.
    pub instance: InstanceId,
    /// Its number in the instance.
    pub index: u32,
    /// Where it is.
    pub network: NetworkId,
    /// Its address.
    pub mac: MacAddr,
}

impl Interface {
    /// Its row id. An index occurs once per instance, and no instance's id comes back: an id
    /// without a counter.
    pub fn id(&self) -> i64 {
        self.instance.0 * (1 << 20) + i64::from(self.index)
    }
}

/// Gives instances interfaces in networks.
pub async fn insert(tx: &mut Tx, all: &[Interface]) -> Result<()> {
    for some in chunks::exact(all) {
        let sql = format!(
            "INSERT INTO virtual_interfaces (id, address, network_id, instance_id, device_index) \
             VALUES {}",
            chunks::rows(1, 5, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for interface in some {
            query = query
                .bind(interface.id())
                .bind(interface.mac.to_string())
                .bind(interface.network.0)
                .bind(interface.instance.0)
                .bind(i64::from(interface.index));
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// An instance's ports by index.
pub async fn ports(c: &mut Conn, id: InstanceId) -> Result<Vec<InstancePort>> {
    sqlx::query(
        "SELECT v.id, v.device_index, v.network_id, v.address AS mac, f.address, n.bridge, n.host, \
         n.kind, n.cidr, n.gateway, n.injected, n.dns1, n.dns2 FROM virtual_interfaces v \
         JOIN networks n ON n.id = v.network_id \
         JOIN fixed_ips f ON f.virtual_interface_id = v.id \
         WHERE v.instance_id = $1 AND f.instance_id = $1 ORDER BY v.device_index",
    )
    .bind(id.0)
    .fetch_all(c)
    .await?
    .iter()
    .map(shown_port)
    .collect()
}

/// [`port`], also when its network's row does not validate: whose address it is, is known still.
pub(crate) fn shown_port(row: &AnyRow) -> Result<InstancePort> {
    match port(row) {
        Err(StoreError::BadRow { .. }) => {}
        read => return read,
    }
    let r = Reader::new("virtual_interface", row);
    Ok(InstancePort {
        index: r.number("device_index")?,
        network: NetworkId(r.int("network_id")?),
        bridge: r.parse("bridge").unwrap_or_else(|_| IfName::vlan_bridge(0)),
        network_host: r.maybe_text("host")?,
        kind: r.parse("kind")?,
        mac: r.parse("mac")?,
        address: r.parse("address")?,
        injected: None,
    })
}

pub(crate) fn port(row: &AnyRow) -> Result<InstancePort> {
    let r = Reader::new("virtual_interface", row);
    let address: Ipv4Addr = r.parse("address")?;
    let kind: NetworkKind = r.parse("kind")?;
    let cidr = r.cidr("cidr")?;
    let injected = if kind == NetworkKind::Flat && r.flag("injected")? {
        Some(InjectedNetwork {
            port: r.number("device_index")?,
            address: Ipv4Net::new(address, cidr.prefix_len()).unwrap_or(cidr),
            gateway: r.maybe("gateway")?,
            dns: [r.maybe("dns1")?, r.maybe("dns2")?]
                .into_iter()
                .flatten()
                .collect(),
        })
    } else {
        None
    };
    Ok(InstancePort {
        index: r.number("device_index")?,
        network: NetworkId(r.int("network_id")?),
        bridge: r.parse("bridge")?,
        network_host: r.maybe_text("host")?,
        kind,
        mac: r.parse("mac")?,
        address,
        injected,
    })
}
