//! The agent's settings, made from the flags. Depends on this host's list of interfaces.

use crate::environment::given;
use crate::failure::Failure;
use crate::say;
use novanet_agent::settings::{FirewallDriver, FloatingAddressMode, Settings};
use novanet_model::flags::Flags;
use std::path::{Path, PathBuf};

/// The agent's settings. Whether the interfaces are there is the agent's to say: they may come
/// later.
pub(crate) fn agent_settings(flags: &Flags) -> Result<Settings, Failure> {
    Ok(Settings {
        host: flags.host().to_owned(),
        my_ip: flags.my_ip(),
        state_path: flags.state_path(),
        networks_path: flags.path("networks_path"),
        public_interface: flags.public_interface(),
        flat_interface: flags.flat_interface(),
        vlan_interface: flags.vlan_interface(),
        routing_source_ip: flags.address("routing_source_ip"),
        source_follows: !given(flags, "routing_source_ip") && my_ip_follows(flags),
        my_ip_follows: my_ip_follows(flags),
        dmz_cidr: flags.dmz_cidr(),
        force_snat_range: flags.force_snat_range(),
        blocked_cidr: flags.blocked_cidr(),
        firewall_driver: if flags.firewall_is_iptables() {
            FirewallDriver::Iptables
        } else {
            FirewallDriver::Nftables
        },
        floating_address_mode: floating_address_mode(flags),
        send_arp_for_ha: flags.switch("send_arp_for_ha"),
        send_arp_for_ha_count: flags.send_arp_for_ha_count(),
        network_device_mtu: flags.network_device_mtu(),
        dns_server: flags.dns_server(),
        dnsmasq_config_file: dnsmasq_config_file(flags)?,
        metadata_port: flags.metadata_port(),
        dhcpbridge: dhcpbridge(flags)?,
        instance_uid_base: flags.instance_uid_base(),
        tiny_disk_mb: flags.tiny_disk_mb(),
    })
}

/// The manual looks for floating IPs with `ip addr` beside the lines of iptables.
fn floating_address_mode(flags: &Flags) -> FloatingAddressMode {
    let given = given(flags, "floating_address_mode");
    match flags.text("floating_address_mode") {
        "route" if !given && flags.firewall_is_iptables() => FloatingAddressMode::Address,
        "address" => FloatingAddressMode::Address,
        _ => FloatingAddressMode::Route,
    }
}

/// dnsmasq has another current folder than this program.
fn dnsmasq_config_file(flags: &Flags) -> Result<Option<PathBuf>, Failure> {
    match flags.dnsmasq_config_file() {
        Some(path) if !path.is_absolute() => Err(Failure::usage(format!(
            "dnsmasq_config_file {}: must be an absolute path, like /etc/nova/dnsmasq.conf",
            path.display()
        ))),
        path => Ok(path),
    }
}

/// Whether `my_ip` is missing, or is a loopback address: then it follows the host's address.
pub(super) fn my_ip_follows(flags: &Flags) -> bool {
    !given(flags, "my_ip") || flags.my_ip().is_loopback()
}

/// The program that dnsmasq calls: the flag's, else this one.
fn dhcpbridge(flags: &Flags) -> Result<Vec<String>, Failure> {
    let given = flags.text("dhcpbridge");
    if !given.is_empty() {
        return Ok(given.split_whitespace().map(str::to_owned).collect());
    }
    let me = std::env::current_exe()
        .map_err(|e| Failure::failed(format!("cannot find this program's own path: {e}")))?;
    Ok(vec![me.display().to_string(), "dhcpbridge".to_owned()])
}

/// Names the interfaces that do not exist yet: the agent waits for them, and a typing error must
/// not show only as a cloud without connections.
pub(super) fn say_what_is_missing(flags: &Flags) {
    let there = |name: &str| Path::new("/sys/class/net").join(name).exists();
    let wanted = [
        ("public_interface", Some(flags.public_interface())),
        ("flat_interface", flags.flat_interface()),
        (
            "vlan_interface",
            crate::environment::origin(flags, "vlan_interface").map(|_| flags.vlan_interface()),
        ),
    ];
    for (flag, name) in wanted {
        if let Some(name) = name.filter(|n| !there(n.as_str())) {
            say::line(&format!(
                "{flag} {name}: no such interface yet, waiting for it: there are {} (give another \
                 one with --{flag}=NAME)",
                interfaces().join(", ")
            ));
        }
    }
}

fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "lo")
        .collect();
    names.sort();
    names
}
