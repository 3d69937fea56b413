//! The public side of a VPN: `vpn change` moves it. Depends on the rows of VPNs and networks.

use super::{no_vpn, record};
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::rows::Vpn;
use novanet_model::{ModelError, NetworkKind, ProjectId};
use novanet_store::{Committed, Conn, PlanOwner, floating_ips, networks, vpns};
use std::net::Ipv4Addr;

impl Cloud {
    /// `vpn change`: another public address and UDP port for a project's VPN. Its clients need a
    /// new file.
    pub async fn change_vpn(
        &self,
        project: &ProjectId,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<(Vpn, Committed)> {
        if port == 0 {
            return Err(ModelError::new("port", port, "must be 1 to 65535").into());
        }
        let mut tx = self.db().begin_planned().await?;
        let missing = || no_vpn(project);
        let vpn = vpns::of_project(&mut tx, project).await?;
        let mut vpn = vpn.filter(|vpn| !vpn.deleting).ok_or_else(missing)?;
        let vpn_ip = self.config().settings.vpn_ip;
        require_public(&mut tx, address).await?;
        if let Some(other) = holder(&mut tx, &vpn, (address, port), vpn_ip).await? {
            let side = format!("{address}:{port}");
            let reason = format!("the public side {side} is that of {other} (choose another)");
            return Err(ControlError::in_use(Kind::Vpn, project, reason));
        }
        vpns::set_public_side(&mut tx, &vpn, address, port).await?;
        record(&mut tx, "vpn.change", project, &format!("{address}:{port}")).await?;
        let owners = [PlanOwner::Vpn(vpn.id), PlanOwner::Network(vpn.network)];
        self.plan(&mut tx, owners).await?;
        let change = tx.commit().await?;
        (vpn.public_address, vpn.public_port) = (address, port);
        Ok((vpn, change))
    }
}

/// Refuses an address that is a floating IP: while it is associated, its packets would be the
/// instance's.
pub(super) async fn require_public(c: &mut Conn, address: Ipv4Addr) -> Result<()> {
    if floating_ips::by_address(c, address).await?.is_none() {
        return Ok(());
    }
    let reason = "is a floating IP, and packets to it are its instance's (choose an address of \
                  the host that is none; the flag vpn_ip is for new VPNs)";
    Err(ControlError::in_use(Kind::FloatingIp, address, reason))
}

/// What else has a public side: the VPN of a project, or a VLAN network that no VPN is in yet.
async fn holder(
    c: &mut Conn,
    own: &Vpn,
    side: (Ipv4Addr, u16),
    vpn_ip: Ipv4Addr,
) -> Result<Option<String>> {
    for vpn in vpns::list(c).await? {
        if vpn.id != own.id && (vpn.public_address, vpn.public_port) == side {
            return Ok(Some(format!("the VPN of project {}", vpn.project)));
        }
    }
    for network in networks::list(c).await? {
        let is_own = network.id == own.network && own.kind == NetworkKind::Vlan;
        let address = network.vpn_public_address.unwrap_or(vpn_ip);
        if !is_own && (address, network.vpn_public_port) == (side.0, Some(side.1)) {
            return Ok(Some(format!("network {}", network.cidr)));
        }
    }
    Ok(None)
}
