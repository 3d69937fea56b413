//! The configuration of one host, parsed. Depends on the types of the model; the crate `cli` makes
//! it from flags, and the agent saves it.

use ipnet::Ipv4Net;
use novanet_model::{IfName, MacAddr};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Settings of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The host's name (`host`).
    pub host: String,
    /// `my_ip`.
    pub my_ip: Ipv4Addr,
    /// `state_path`, e.g. `/var/lib/nova`.
    pub state_path: PathBuf,
    /// `networks_path`: dnsmasq's files.
    pub networks_path: PathBuf,
    /// `public_interface`: answers at floating IPs, and sends translated packets out.
    pub public_interface: IfName,
    /// `flat_interface`: becomes a port of flat bridges; `None`: no interface does.
    pub flat_interface: Option<IfName>,
    /// `vlan_interface`: carries the VLANs of networks that name no interface of their own.
    #[serde(default = "default_vlan_interface")]
    pub vlan_interface: IfName,
    /// `routing_source_ip`: source address of instances without a floating IP.
    pub routing_source_ip: Ipv4Addr,
    /// `routing_source_ip` has no value of its own and follows the host's address.
    #[serde(default)]
    pub source_follows: bool,
    /// `my_ip` has no value of its own and follows the host's address.
    #[serde(default)]
    pub my_ip_follows: bool,
    /// `dmz_cidr`: destinations that see the real fixed IP.
    pub dmz_cidr: Vec<Ipv4Net>,
    /// `force_snat_range`: destinations that are translated for networks without SNAT too.
    #[serde(default)]
    pub force_snat_range: Vec<Ipv4Net>,
    /// `blocked_cidr`: destinations that instances never reach, besides link-local ones. The first
    /// release had no such setting.
    #[serde(default)]
    pub blocked_cidr: Vec<Ipv4Net>,
    /// `floating_address_mode`.
    pub floating_address_mode: FloatingAddressMode,
    /// `send_arp_for_ha`: a floating IP that comes to this host is announced more than once.
    #[serde(default = "default_send_arp")]
    pub send_arp_for_ha: bool,
    /// `send_arp_for_ha_count`: how often then, a second apart.
    #[serde(default = "default_send_arp_count")]
    pub send_arp_for_ha_count: u32,
    /// `firewall_driver`. Settings that an older agent left have nftables.
    #[serde(default)]
    pub firewall_driver: FirewallDriver,
    /// `network_device_mtu`.
    pub network_device_mtu: Option<u32>,
    /// `dns_server`: dnsmasq forwards to these; empty: to the host's resolver.
    pub dns_server: Vec<Ipv4Addr>,
    /// `dnsmasq_config_file`: further settings of dnsmasq.
    #[serde(default)]
    pub dnsmasq_config_file: Option<PathBuf>,
    /// Port on this host to which 169.254.169.254:80 is redirected (`metadata_port`).
    pub metadata_port: u16,
    /// The program that dnsmasq calls on lease events (`dhcpbridge`), with leading arguments.
    pub dhcpbridge: Vec<String>,
    /// The user id on the host that the first user id of instances is mapped to.
    pub instance_uid_base: u32,
    /// `tiny_disk_mb`: for instance types without a disk size, how much larger than its image a
    /// disk is, in MiB.
    #[serde(default = "default_tiny_disk_mb")]
    pub tiny_disk_mb: u64,
}

/// The flag's default, for settings that an older agent saved.
fn default_vlan_interface() -> IfName {
    IfName::new("eth0").unwrap_or_else(|_| unreachable!("a valid name"))
}

/// The flag's default, for settings that an older agent saved.
fn default_tiny_disk_mb() -> u64 {
    1024
}

/// The flag's default, for settings that an older agent saved.
fn default_send_arp() -> bool {
    true
}

/// The flag's default, for settings that an older agent saved.
fn default_send_arp_count() -> u32 {
    3
}

impl Settings {
    /// The settings of a host whose flags all have their defaults, but for these: what tests and
    /// benchmarks begin with.
    pub fn with_defaults(
        host: &str,
        my_ip: Ipv4Addr,
        public_interface: IfName,
        state_path: &Path,
    ) -> Self {
        Self {
            host: host.to_owned(),
            my_ip,
            state_path: state_path.to_owned(),
            networks_path: state_path.join("networks"),
            public_interface,
            flat_interface: None,
            vlan_interface: default_vlan_interface(),
            routing_source_ip: my_ip,
            source_follows: false,
            my_ip_follows: false,
            dmz_cidr: Vec::new(),
            force_snat_range: Vec::new(),
            blocked_cidr: Vec::new(),
            floating_address_mode: FloatingAddressMode::Route,
            send_arp_for_ha: default_send_arp(),
            send_arp_for_ha_count: default_send_arp_count(),
            firewall_driver: FirewallDriver::default(),
            network_device_mtu: None,
            dns_server: Vec::new(),
            dnsmasq_config_file: None,
            metadata_port: 8775,
            dhcpbridge: Vec::new(),
            instance_uid_base: 100_000,
            tiny_disk_mb: default_tiny_disk_mb(),
        }
    }

    /// How often a floating IP that comes to this host is announced.
    pub fn announcements(&self) -> u32 {
        if self.send_arp_for_ha {
            self.send_arp_for_ha_count
        } else {
            1
        }
    }

    /// MAC of a bridge: fixed by its name, so that it stays when ports come and go and when the
    /// bridge is made again (Linux takes the lowest MAC of the ports otherwise; nova lp1488686).
    pub fn bridge_mac(name: &IfName) -> MacAddr {
        let [_, a, b, c] = Self::hash(name).to_be_bytes();
        MacAddr([0x02, 0x16, 0x3d, a, b, c])
    }

    /// Fowler, Noll and Vo's 1a, of 32 bits: MACs of devices are made from it.
    pub(crate) fn hash(name: &IfName) -> u32 {
        name.as_str().bytes().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        })
    }
}

/// What renders the rules of the IP families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirewallDriver {
    /// nftables.
    #[default]
    Nftables,
    /// iptables and IP sets; the manual's lines.
    Iptables,
}

/// How floating IPs answer on the public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloatingAddressMode {
    /// A `local` route each: 35 µs at any number.
    Route,
    /// The manual's `/32` on the device: 48 µs at 10, 400 µs at 10,000.
    Address,
}
