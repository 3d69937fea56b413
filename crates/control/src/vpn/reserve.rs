//! What a project's VPN needs before its Cloudpipe can start: addresses and a public port, a key
//! pair, a security group, a server certificate. Keys are made before the transaction.

use super::change::require_public;
use super::{manager, name_of, record};
use crate::certificates::require_access;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::object::AddressRange;
use novanet_model::plan::VPN_PORT;
use novanet_model::rows::{Network, Vpn};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{GroupId, Ipv4Net, ModelError, NetworkKind, ProjectId, VpnId};
use novanet_pki::ssh::{KeyKind, KeyPair as MadeKeyPair};
use novanet_pki::x509::Purpose;
use novanet_store::key_pairs::{self, KeyPair};
use novanet_store::vpns::Secrets;
use novanet_store::{Conn, PlanOwner, StoreError, Tx, groups, networks, pool, vpns};
use std::net::Ipv4Addr;
use time::OffsetDateTime;

/// How many clients a VPN has when `cnt_vpn_clients` is 0: the manual's number.
const CLIENTS: u32 = 5;

/// OpenVPN's own limit.
const MAX_CLIENTS: u32 = 1024;

/// The words that a VPN's secrets are sealed with, so that one project's are no use in another.
pub(super) fn context(project: &ProjectId, what: &str) -> String {
    format!("vpns/{project}/{what}")
}

impl Cloud {
    /// Reserves a VPN for a project; if another call was faster, answers with that one.
    pub(super) async fn reserve_vpn(&self, project: &ProjectId, user: Option<&str>) -> Result<Vpn> {
        let manager = {
            let mut tx = self.db().read().await?;
            manager(&mut tx, project).await?
        };
        let user = user.unwrap_or(&manager);
        let vault = self.vault()?;
        let key = self.make_key(KeyKind::Ed25519).await?;
        let authority = self.authority(project).await?;
        let now = OffsetDateTime::now_utc();
        let server = authority.issue(project.as_str(), "server", Purpose::Server, now)?;
        let seal = |what, plain: &str| vault.seal(&context(project, what), plain.as_bytes());
        let secrets = Secrets {
            user: user.to_owned(),
            ssh_key: seal("ssh_key", &key.private_pem),
            certificate: server.certificate.clone(),
            server_key: seal("server_key", &server.private_key),
        };
        let mut tx = self.db().begin_planned().await?;
        if let Some(faster) = vpns::of_project(&mut tx, project).await? {
            // What it wrote may wait for the commit that both share.
            tx.commit().await?;
            return Ok(faster);
        }
        require_access(&mut tx, project, user).await?;
        self.add_certificate(&mut tx, &authority, project, None, &server)
            .await?;
        add_key(&mut tx, project, user, &key).await?;
        let group = ensure_group(&mut tx, project, user).await?;
        let mut vpn = self.reserve_addresses(&mut tx, project).await?;
        vpn.id = vpns::insert(&mut tx, &vpn, &secrets).await?;
        let detail = format!(
            "{}:{} to {} with clients {}",
            vpn.public_address, vpn.public_port, vpn.private_address, vpn.clients
        );
        record(&mut tx, "vpn.create", project, &detail).await?;
        let mut owners = vec![PlanOwner::Vpn(vpn.id), PlanOwner::Group(group)];
        // The clients reach the members of every group of the project.
        for group in groups::of_project(&mut tx, project).await? {
            owners.push(PlanOwner::Group(group.id));
        }
        self.plan(&mut tx, owners).await?;
        tx.commit().await?;
        Ok(vpn)
    }

    async fn reserve_addresses(&self, tx: &mut Tx, project: &ProjectId) -> Result<Vpn> {
        let network = network_for(tx, project).await?;
        let vpn_ip = self.config().settings.vpn_ip;
        let (private_address, clients, public_address, public_port) =
            if network.kind == NetworkKind::Vlan {
                let clients = match clients_at_the_top(&network) {
                    Some(kept) => kept,
                    None => self.reserve_clients(tx, &network).await?.1,
                };
                let missing = || {
                    let why = "has no second address or no port for a VPN in its row";
                    ControlError::in_use(Kind::Network, network.cidr, why)
                };
                (
                    network.vpn_private_address.ok_or_else(missing)?,
                    clients,
                    network.vpn_public_address.unwrap_or(vpn_ip),
                    network.vpn_public_port.ok_or_else(missing)?,
                )
            } else {
                let (private, clients) = self.reserve_clients(tx, &network).await?;
                let port = free_port(tx, self.config().network_defaults.vpn_start).await?;
                (private, clients, vpn_ip, port)
            };
        require_public(tx, public_address).await?;
        if !pool::reserve(tx, network.id, private_address).await? {
            let reason = "is kept for the Cloudpipe, but an instance has it (terminate it first)";
            return Err(ControlError::in_use(Kind::FixedIp, private_address, reason));
        }
        Ok(Vpn {
            id: VpnId(0),
            project: project.clone(),
            network: network.id,
            kind: network.kind,
            host: network.host.clone(),
            public_address,
            public_port,
            private_address,
            clients,
            instance: None,
            deleting: false,
        })
    }
}

impl Cloud {
    /// Takes free addresses of a network for VPN clients; with the lowest free address.
    async fn reserve_clients(
        &self,
        tx: &mut Tx,
        network: &Network,
    ) -> Result<(Ipv4Addr, AddressRange)> {
        let (cidr, count) = (network.cidr, self.config().network_defaults.cnt_vpn_clients);
        if count > MAX_CLIENTS {
            let reason = format!("a VPN has at most {MAX_CLIENTS} clients");
            return Err(ModelError::new("cnt_vpn_clients", count, reason).into());
        }
        let count = if count == 0 { CLIENTS } else { count };
        let (lowest, clients) =
            vpns::free_addresses(tx, network, count)
                .await?
                .ok_or_else(|| {
                    let what = format!(
                        "network {cidr} has no {count} free addresses in a row for VPN clients and \
                     one for the Cloudpipe (cnt_vpn_clients says how many; nova-manage fixed list \
                     shows which are in use)"
                    );
                    ControlError::exhausted(Kind::FixedIp, what)
                })?;
        for client in clients.addresses() {
            pool::reserve(tx, network.id, client).await?;
        }
        Ok((lowest, clients))
    }
}

/// The network of a project's VPN: its own VLAN network, else the first shared flat-DHCP one.
async fn network_for(c: &mut Conn, project: &ProjectId) -> Result<Network> {
    let all = networks::list(c).await?;
    let own = |n: &&Network| n.project.as_ref() == Some(project) && n.kind != NetworkKind::Flat;
    let shared = |n: &&Network| n.project.is_none() && n.kind == NetworkKind::FlatDhcp;
    let found = all.iter().find(own).or_else(|| all.iter().find(shared));
    found.cloned().ok_or_else(|| {
        ControlError::exhausted(
            Kind::Network,
            format!(
                "project {project} has no network with DHCP for a VPN (nova-manage network create \
                 makes one; a VLAN network becomes the project's with its first instance)"
            ),
        )
    })
}

/// The addresses that `network create` kept for VPN clients; `None`: none.
fn clients_at_the_top(network: &Network) -> Option<AddressRange> {
    let last = u32::from(network.cidr.broadcast()).saturating_sub(1);
    let first = last - network.vpn_clients.checked_sub(1)?;
    Some(AddressRange {
        first: Ipv4Addr::from(first),
        last: Ipv4Addr::from(last),
    })
}

async fn free_port(c: &mut Conn, start: u16) -> Result<u16> {
    let used = vpns::ports(c).await?;
    (start..=u16::MAX)
        .find(|port| !used.contains(port))
        .ok_or_else(|| {
            ControlError::exhausted(
                Kind::Vpn,
                format!("all public UDP ports from vpn_start ({start}) up are in use"),
            )
        })
}

async fn add_key(tx: &mut Tx, project: &ProjectId, user: &str, key: &MadeKeyPair) -> Result<()> {
    let pair = KeyPair {
        name: name_of(project),
        fingerprint: key.fingerprint_md5.clone(),
        public_key: key.public_openssh.clone(),
    };
    match key_pairs::insert(tx, user, &pair).await {
        Err(StoreError::Conflict(_)) => Err(ControlError::in_use(
            Kind::KeyPair,
            &pair.name,
            format!(
                "is user {user}'s already, and its private half is not here (delete it: \
                 euca-delete-keypair {})",
                pair.name
            ),
        )),
        other => Ok(other?),
    }
}

/// The group of the VPN: OpenVPN and ping from everywhere.
async fn ensure_group(tx: &mut Tx, project: &ProjectId, user: &str) -> Result<GroupId> {
    let name = name_of(project);
    let id = match groups::by_name(tx, project, &name).await? {
        Some(group) => group.id,
        None => groups::insert(tx, project, user, &name, "Group for vpn").await?,
    };
    let anywhere = Source::Cidr(Ipv4Net::default());
    let openvpn = Ports {
        from: VPN_PORT,
        to: VPN_PORT,
    };
    let ping = Traffic::Icmp {
        icmp_type: None,
        code: None,
    };
    let rules = groups::rules_of(tx, id).await?;
    for traffic in [Traffic::Udp(openvpn), ping] {
        if !rules
            .iter()
            .any(|r| r.traffic == traffic && r.source == anywhere)
        {
            groups::insert_rule(tx, id, traffic, anywhere).await?;
        }
    }
    Ok(id)
}
