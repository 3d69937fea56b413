//! Files that the host writes into an instance's disk before a boot, as nova did: the addresses of a flat
//! network.

use crate::room::RoomError;
use novanet_model::object::InjectedNetwork;
use rustix::fs::{Gid, Mode, Uid};
use std::io::Write;
use std::path::Path;

/// Writes `text` as `/etc/network/interfaces` into the instance's layer `upper`: the file that Debian's
/// ifupdown and busybox's `ifup` read. `owner` is the host's id of the instance's root.
pub(super) fn write_interfaces(upper: &Path, owner: u32, text: &str) -> Result<(), RoomError> {
    let etc = upper.join("etc");
    let network = etc.join("network");
    let path = network.join("interfaces");
    let failed = |e: std::io::Error| RoomError::kernel(path.display().to_string(), e);
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    // The disk is the instance's to fill: never write through a link it may have put there.
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

/// What `/etc/network/interfaces` says of a network's addresses.
pub(super) fn interfaces(net: &InjectedNetwork) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress {}\n\tnetmask {}\n\tbroadcast {}\n",
        net.address.addr(),
        net.address.netmask(),
        net.address.broadcast(),
    );
    if let Some(gateway) = net.gateway {
        let _ = writeln!(text, "\tgateway {gateway}");
    }
    if !net.dns.is_empty() {
        let servers: Vec<_> = net.dns.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "\tdns-nameservers {}", servers.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flat_instance_finds_its_addresses_as_ifupdown_reads_them() {
        let net = InjectedNetwork {
            address: "10.0.0.5/24".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            dns: vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()],
        };
        insta::assert_snapshot!(interfaces(&net).replace('\t', "  "), @r"
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
}
