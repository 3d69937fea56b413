//! The files that an instance of flat networks finds on its disk, as nova wrote them: addresses at
//! each boot; host name, keys and user-data before the first. Depends on the file system only.

use super::driver::{FirstBoot, InjectedFile};
use novanet_model::InstanceId;
use novanet_model::object::InjectedNetwork;
use novanet_reconcile::SubsystemError;
use rustix::fs::{Gid, Mode, Uid};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// An image's own keys are kept up to this size, in bytes.
const MAX_KEYS: u64 = 64 << 10;

/// Writes a file into the instance's layer `upper`. `owner` is the host's id of the instance's
/// root; `image` has the file that an appended one goes on.
pub(super) fn write_file(
    (upper, image): (&Path, &Path),
    owner: u32,
    file: &InjectedFile,
) -> Result<(), SubsystemError> {
    let path = upper.join(file.path);
    let failed = |e: std::io::Error| SubsystemError::kernel(path.display().to_string(), e);
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let mut parent = upper.to_owned();
    let mut folders: Vec<&str> = file.path.split('/').collect();
    folders.pop();
    for name in folders {
        parent.push(name);
        // The instance may have put a link there: never write through one.
        match std::fs::symlink_metadata(&parent) {
            Ok(meta) if meta.is_dir() => continue,
            Ok(_) => std::fs::remove_file(&parent).map_err(failed)?,
            Err(_) => {}
        }
        std::fs::create_dir(&parent).map_err(failed)?;
        let mode = if matches!(name, "root" | ".ssh") {
            0o700
        } else {
            0o755
        };
        rustix::fs::chown(&parent, Some(uid), Some(gid))
            .and_then(|()| rustix::fs::chmod(&parent, Mode::from(mode)))
            .map_err(|e| failed(e.into()))?;
    }
    let mut content = Vec::new();
    if file.append {
        content = of_image(image, file.path);
    }
    content.extend_from_slice(&file.content);
    let mut new = tempfile::NamedTempFile::new_in(&parent).map_err(failed)?;
    new.write_all(&content).map_err(failed)?;
    rustix::fs::fchown(new.as_file(), Some(uid), Some(gid)).map_err(|e| failed(e.into()))?;
    rustix::fs::fchmod(new.as_file(), Mode::from(file.mode)).map_err(|e| failed(e.into()))?;
    new.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The image's file with a line end, if it is a plain one on a path without links.
fn of_image(image: &Path, path: &str) -> Vec<u8> {
    let mut at: PathBuf = image.to_owned();
    for part in path.split('/') {
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() || meta.is_file() && meta.len() <= MAX_KEYS => {}
            _ => return Vec::new(),
        }
    }
    let mut content = std::fs::read(&at).unwrap_or_default();
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    content
}

/// `/etc/network/interfaces`.
pub(super) fn interfaces_file(text: String) -> InjectedFile {
    InjectedFile::new("etc/network/interfaces", 0o644, text.into_bytes())
}

/// The files of the first boot. `hostname` is the name without a domain.
pub(super) fn first_boot_files(
    instance: InstanceId,
    hostname: &str,
    first: &FirstBoot,
) -> Vec<InjectedFile> {
    let names = if first.full_name == hostname {
        hostname.to_owned()
    } else {
        format!("{} {hostname}", first.full_name)
    };
    let hosts = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{names}\n");
    let mut files = vec![
        // Says that no metadata service need be asked.
        InjectedFile::new(
            "etc/novanet/instance",
            0o644,
            format!("{instance}\n").into_bytes(),
        ),
        InjectedFile::new("etc/hostname", 0o644, format!("{hostname}\n").into_bytes()),
        InjectedFile::new("etc/hosts", 0o644, hosts.into_bytes()),
    ];
    if !first.keys.is_empty() {
        let mut keys = first.keys.join("\n");
        keys.push('\n');
        files.push(InjectedFile {
            append: true,
            ..InjectedFile::new("root/.ssh/authorized_keys", 0o600, keys.into_bytes())
        });
    }
    if let Some(data) = &first.user_data {
        let data = data.clone();
        files.push(InjectedFile::new("etc/novanet/user-data", 0o600, data));
    }
    files
}

/// The content of `/etc/network/interfaces` for these networks, and for `dhcp`, the cards in
/// networks with a DHCP server. With several cards, a routing table for each sends answers out of
/// the card that got the question (Debian needs iproute2 for it); the first card with a gateway
/// has the default route.
pub(super) fn interfaces(nets: &[&InjectedNetwork], dhcp: &BTreeSet<u32>) -> String {
    let mut text = "auto lo\niface lo inet loopback\n".to_owned();
    let mut default = false;
    let several = nets.len() + dhcp.len() > 1;
    for port in dhcp {
        let card = format!("eth{port}");
        text.extend(["\nauto ", &card, "\niface ", &card, " inet dhcp\n"]);
    }
    for net in nets {
        let card = format!("eth{}", net.port);
        let address = net.address;
        text.extend(["\nauto ", &card, "\niface ", &card, " inet static\n"]);
        let mut line = |line: String| text.extend(["\t", &line, "\n"]);
        line(format!("address {}", address.addr()));
        line(format!("netmask {}", address.netmask()));
        line(format!("broadcast {}", address.broadcast()));
        if let Some(gateway) = net.gateway {
            if !default && dhcp.first().is_none_or(|first| *first > net.port) {
                line(format!("gateway {gateway}"));
            }
            default = true;
            if several {
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
        insta::assert_snapshot!(interfaces(&[&net], &BTreeSet::new()).replace('\t', "  "), @r"
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
        insta::assert_snapshot!(interfaces(&[&net(0), &net(2)], &BTreeSet::new()).replace('\t', "  "), @r"
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

    #[test]
    fn cards_of_other_networks_ask_for_their_addresses_and_keep_the_default_route() {
        insta::assert_snapshot!(interfaces(&[&net(1)], &[0].into()).replace('\t', "  "), @r"
        auto lo
        iface lo inet loopback

        auto eth0
        iface eth0 inet dhcp

        auto eth1
        iface eth1 inet static
          address 10.1.0.5
          netmask 255.255.255.0
          broadcast 10.1.0.255
          up ip route replace 10.1.0.0/24 dev eth1 table 101
          up ip route replace default via 10.1.0.1 dev eth1 table 101
          up ip rule add from 10.1.0.5 lookup 101 pref 101
          down ip rule del pref 101
        ");
    }

    #[test]
    fn keys_are_added_to_those_of_the_image_and_never_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [image, upper, outside] = ["image", "upper", "outside"].map(|n| folder.path().join(n));
        for path in [&image.join("root/.ssh"), &upper, &outside] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(image.join("root/.ssh/authorized_keys"), "ssh-rsa image").unwrap();
        std::os::unix::fs::symlink(&outside, upper.join("root")).unwrap();
        let first = FirstBoot {
            full_name: "vm.novalocal".to_owned(),
            keys: vec!["ssh-rsa key".to_owned()],
            user_data: Some(b"secret".to_vec()),
        };
        let files = first_boot_files(InstanceId(1), "vm", &first);
        assert!(!format!("{files:?}").contains("secret"), "{files:?}");
        for file in &files {
            write_file((&upper, &image), 0, file).unwrap();
        }
        let read = |path: &str| std::fs::read_to_string(upper.join(path)).unwrap();
        assert_eq!(
            read("root/.ssh/authorized_keys"),
            "ssh-rsa image\nssh-rsa key\n"
        );
        assert_eq!(read("etc/novanet/user-data"), "secret");
        assert_eq!(read("etc/hostname"), "vm\n");
        assert_eq!(
            read("etc/hosts"),
            "127.0.0.1\tlocalhost\n127.0.1.1\tvm.novalocal vm\n"
        );
        assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
    }
}
