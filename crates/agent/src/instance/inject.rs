//! Writes the addresses of flat networks into an instance's disk before a boot, as nova did.
//! Depends on the file system only.

use novanet_model::object::InjectedNetwork;
use novanet_reconcile::SubsystemError;
use rustix::fs::{Gid, Mode, Uid};
use std::io::Write;
use std::path::Path;

/// Writes `text` as `/etc/network/interfaces` into the instance's layer `upper`: the file that
/// Debian's ifupdown and busybox's `ifup` read. `owner` is the host's id of the instance's root.
pub(super) fn write_interfaces(upper: &Path, owner: u32, text: &str) -> Result<(), SubsystemError> {
    let etc = upper.join("etc");
    let network = etc.join("network");
    let path = network.join("interfaces");
    let failed = |e: std::io::Error| SubsystemError::kernel(path.display().to_string(), e);
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    // The instance may have put a link there: never write through one.
    for parent in [&etc, &network] {
        match std::fs::symlink_metadata(parent) {
            Ok(meta) if meta.is_dir() => continue,
            Ok(_) => std::fs::remove_file(parent).map_err(failed)?,
            Err(_) => {}
        }
        std::fs::create_dir(parent).map_err(failed)?;
        rustix::fs::chown(parent, Some(uid), Some(gid))
            .and_then(|()| rustix::fs::chmod(parent, Mode::from(0o755)))
            .map_err(|e| failed(e.into()))?;
    }
    let mut file = tempfile::NamedTempFile::new_in(&network).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    rustix::fs::fchown(file.as_file(), Some(uid), Some(gid)).map_err(|e| failed(e.into()))?;
    rustix::fs::fchmod(file.as_file(), Mode::from(0o644)).map_err(|e| failed(e.into()))?;
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The content of `/etc/network/interfaces` for these networks. With several, a routing table for
/// each card sends answers out of the card that got the question (Debian needs iproute2 for it);
/// the first card with a gateway has the default route.
pub(super) fn interfaces(nets: &[&InjectedNetwork]) -> String {
    let mut text = "auto lo\niface lo inet loopback\n".to_owned();
    let mut default = false;
    for net in nets {
        let card = format!("eth{}", net.port);
        let address = net.address;
        text.extend(["\nauto ", &card, "\niface ", &card, " inet static\n"]);
        let mut line = |line: String| text.extend(["\t", &line, "\n"]);
        line(format!("address {}", address.addr()));
        line(format!("netmask {}", address.netmask()));
        line(format!("broadcast {}", address.broadcast()));
        if let Some(gateway) = net.gateway {
            if !default {
                line(format!("gateway {gateway}"));
            }
            default = true;
            if nets.len() > 1 {
                let table = 100 + net.port;
                let route = |to| format!("up ip route replace {to} dev {card} table {table}");
                line(route(address.trunc().to_string()));
                line(route(format!("default via {gateway}")));
                let rule = format!("from {} lookup {table} pref {table}", address.addr());
                line(format!("up ip rule add {rule}"));
                line(format!("down ip rule del pref {table}"));
            }
        }
        if !net.dns.is_empty() {
            let servers: Vec<_> = net.dns.iter().map(ToString::to_string).collect();
            line(format!("dns-nameservers {}", servers.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn net(port: u32) -> InjectedNetwork {
        InjectedNetwork {
            port,
            address: format!("10.{port}.0.5/24").parse().unwrap(),
            gateway: Some(format!("10.{port}.0.1").parse().unwrap()),
            dns: Vec::new(),
        }
    }

    #[test]
    fn an_instance_of_a_flat_network_gets_its_address_by_ifupdown() {
        let net = InjectedNetwork {
            dns: vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()],
            ..net(0)
        };
        insta::assert_snapshot!(interfaces(&[&net]).replace('\t', "  "), @r"
        auto lo
        iface lo inet loopback

        auto eth0
        iface eth0 inet static
          address 10.0.0.5
          netmask 255.255.255.0
          broadcast 10.0.0.255
          gateway 10.0.0.1
          dns-nameservers 9.9.9.9 1.1.1.1
        ");
    }

    #[test]
    fn each_card_of_several_answers_by_itself() {
        insta::assert_snapshot!(interfaces(&[&net(0), &net(2)]).replace('\t', "  "), @r"
        auto lo
        iface lo inet loopback

        auto eth0
        iface eth0 inet static
          address 10.0.0.5
          netmask 255.255.255.0
          broadcast 10.0.0.255
          gateway 10.0.0.1
          up ip route replace 10.0.0.0/24 dev eth0 table 100
          up ip route replace default via 10.0.0.1 dev eth0 table 100
          up ip rule add from 10.0.0.5 lookup 100 pref 100
          down ip rule del pref 100

        auto eth2
        iface eth2 inet static
          address 10.2.0.5
          netmask 255.255.255.0
          broadcast 10.2.0.255
          up ip route replace 10.2.0.0/24 dev eth2 table 102
          up ip route replace default via 10.2.0.1 dev eth2 table 102
          up ip rule add from 10.2.0.5 lookup 102 pref 102
          down ip rule del pref 102
        ");
    }
}
