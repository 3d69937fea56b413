//! The flags as types. Nothing here can fail: [`Flags::resolve`] has checked every value.

use super::Flags;
use crate::carve::Defaults;
use crate::plan::CloudSettings;
use crate::quota::Quotas;
use crate::wire::HostRole;
use crate::{IfName, NetworkKind};
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;

impl Flags {
    /// The text of a flag of the registry.
    pub fn text(&self, name: &'static str) -> &str {
        self.get(name)
            .map_or_else(|| unreachable!("{name} is not a flag"), |v| v.text.as_str())
    }

    /// A flag's value as a type; `None` when it is empty.
    fn optional<T: FromStr>(&self, name: &'static str) -> Option<T> {
        let text = self.text(name);
        if text.is_empty() {
            return None;
        }
        Some(
            text.parse()
                .unwrap_or_else(|_| unreachable!("{name} was checked: {text}")),
        )
    }

    fn required<T: FromStr>(&self, name: &'static str) -> T {
        self.optional(name)
            .unwrap_or_else(|| unreachable!("{name} is never empty"))
    }

    fn list<T: FromStr>(&self, name: &'static str) -> Vec<T> {
        let words = self.text(name).split(',').filter(|w| !w.is_empty());
        words
            .map(|w| {
                w.parse()
                    .unwrap_or_else(|_| unreachable!("{name} was checked: {w}"))
            })
            .collect()
    }

    /// A switch of the registry.
    pub fn switch(&self, name: &'static str) -> bool {
        self.text(name) == "true"
    }

    /// A number of the registry.
    pub fn number(&self, name: &'static str) -> i64 {
        self.required(name)
    }

    /// A path of the registry.
    pub fn path(&self, name: &'static str) -> PathBuf {
        PathBuf::from(self.text(name))
    }

    /// An address of the registry.
    pub fn address(&self, name: &'static str) -> Ipv4Addr {
        self.required(name)
    }

    /// `state_path`.
    pub fn state_path(&self) -> PathBuf {
        self.path("state_path")
    }

    /// `host`.
    pub fn host(&self) -> &str {
        self.text("host")
    }

    /// `my_ip`.
    pub fn my_ip(&self) -> Ipv4Addr {
        self.address("my_ip")
    }

    /// `sql_connection`: `sqlite:///abs/file` or `postgresql://…`. May hold a password.
    pub fn database_url(&self) -> &str {
        self.text("sql_connection")
    }

    /// `firewall_driver`: iptables has the IP families. All of nova's drivers mean that.
    pub fn firewall_is_iptables(&self) -> bool {
        self.text("firewall_driver") != "nftables"
    }

    /// `network_manager`: the kind that `network create` makes.
    pub fn network_kind(&self) -> NetworkKind {
        self.required("network_manager")
    }

    /// `network_host`.
    pub fn network_host(&self) -> Option<String> {
        self.optional("network_host")
    }

    /// `fixed_range`.
    pub fn fixed_range(&self) -> Option<Ipv4Net> {
        self.optional("fixed_range")
    }

    /// `floating_range`.
    pub fn floating_range(&self) -> Option<Ipv4Net> {
        self.optional("floating_range")
    }

    /// `public_interface`.
    pub fn public_interface(&self) -> IfName {
        self.required("public_interface")
    }

    /// `flat_interface`.
    pub fn flat_interface(&self) -> Option<IfName> {
        self.optional("flat_interface")
    }

    /// `vlan_interface`.
    pub fn vlan_interface(&self) -> IfName {
        self.required("vlan_interface")
    }

    /// `dmz_cidr`.
    pub fn dmz_cidr(&self) -> Vec<Ipv4Net> {
        self.list("dmz_cidr")
    }

    /// `force_snat_range`.
    pub fn force_snat_range(&self) -> Vec<Ipv4Net> {
        self.list("force_snat_range")
    }

    /// `blocked_cidr`.
    pub fn blocked_cidr(&self) -> Vec<Ipv4Net> {
        self.list("blocked_cidr")
    }

    /// `dnsmasq_config_file`.
    pub fn dnsmasq_config_file(&self) -> Option<PathBuf> {
        let text = self.text("dnsmasq_config_file");
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    /// `dns_server`.
    pub fn dns_server(&self) -> Vec<Ipv4Addr> {
        self.list("dns_server")
    }

    /// `send_arp_for_ha_count`.
    pub fn send_arp_for_ha_count(&self) -> u32 {
        self.required("send_arp_for_ha_count")
    }

    /// `network_device_mtu`.
    pub fn network_device_mtu(&self) -> Option<u32> {
        self.optional("network_device_mtu")
    }

    /// `metadata_port`.
    pub fn metadata_port(&self) -> u16 {
        self.required("metadata_port")
    }

    /// `instance_uid_base`.
    pub fn instance_uid_base(&self) -> u32 {
        self.required("instance_uid_base")
    }

    /// `tiny_disk_mb`.
    pub fn tiny_disk_mb(&self) -> u64 {
        self.required("tiny_disk_mb")
    }

    /// `state_reserve_mb`.
    pub fn state_reserve_mb(&self) -> u64 {
        self.required("state_reserve_mb")
    }

    /// `roles`, ascending.
    pub fn roles(&self) -> Vec<HostRole> {
        let mut roles: Vec<HostRole> = self
            .list::<String>("roles")
            .iter()
            .map(|word| {
                if word == "compute" {
                    HostRole::Compute
                } else {
                    HostRole::Network
                }
            })
            .collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// `ec2_listen` and `ec2_listen_port`.
    pub fn ec2_listen(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address("ec2_listen"), self.required("ec2_listen_port"))
    }

    /// The EC2 API's address for clients, e.g. `http://10.0.0.1:8773/services/Cloud`.
    pub fn ec2_url(&self) -> String {
        self.ec2_url_at(self.text("ec2_dmz_host"))
    }

    /// The same at another host.
    pub fn ec2_url_at(&self, host: &str) -> String {
        format!(
            "{}://{host}:{}{}",
            self.text("ec2_scheme"),
            self.text("ec2_port"),
            self.text("ec2_path")
        )
    }

    /// `region_list` as names and hosts; `nova` at `ec2_host` when it is empty.
    pub fn regions(&self) -> Vec<(String, String)> {
        let regions: Vec<(String, String)> = self
            .list::<String>("region_list")
            .iter()
            .map(|word| match word.split_once('=') {
                Some((name, host)) => (name.to_owned(), host.to_owned()),
                None => (word.clone(), self.text("ec2_host").to_owned()),
            })
            .collect();
        if regions.is_empty() {
            return vec![("nova".to_owned(), self.text("ec2_host").to_owned())];
        }
        regions
    }

    /// What `plan` needs.
    pub fn cloud_settings(&self) -> CloudSettings {
        CloudSettings {
            vpn_ip: self.address("vpn_ip"),
            dhcp_lease_time: self.required("dhcp_lease_time"),
            dhcp_domain: self.text("dhcp_domain").to_owned(),
        }
    }

    /// What `network create` fills in.
    pub fn network_defaults(&self) -> Defaults {
        Defaults {
            network_size: self.required("network_size"),
            flat_network_bridge: self.required("flat_network_bridge"),
            flat_network_dns: self.optional("flat_network_dns"),
            flat_injected: self.switch("flat_injected"),
            vlan_start: self.required("vlan_start"),
            vpn_start: self.required("vpn_start"),
            cnt_vpn_clients: self.required("cnt_vpn_clients"),
            multi_host: self.switch("multi_host"),
            interfaces: self.interfaces(),
            host_vlans: std::collections::BTreeMap::new(),
            vpn_ports: std::collections::BTreeSet::new(),
        }
    }

    fn interfaces(&self) -> Vec<(&'static str, IfName)> {
        let named = [
            ("public_interface", Some(self.public_interface())),
            ("flat_interface", self.flat_interface()),
            ("vlan_interface", Some(self.vlan_interface())),
        ];
        let set = named
            .into_iter()
            .filter_map(|(flag, name)| Some((flag, name?)));
        set.collect()
    }

    /// `quota_*`.
    pub fn quotas(&self) -> Quotas {
        let limit = |name| u32::try_from(self.number(name)).ok();
        Quotas {
            instances: limit("quota_instances"),
            cores: limit("quota_cores"),
            ram_mb: limit("quota_ram"),
            floating_ips: limit("quota_floating_ips"),
            fixed_ips: limit("quota_fixed_ips"),
            security_groups: limit("quota_security_groups"),
            security_group_rules: limit("quota_security_group_rules"),
            key_pairs: limit("quota_key_pairs"),
        }
    }
}
