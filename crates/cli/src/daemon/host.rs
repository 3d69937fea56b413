//! What the agent needs to know of this host, from the flags.

use crate::failure::Failure;
use novanet_agent::settings::{FloatingAddressMode, Settings};
use novanet_model::flags::Flags;
use std::path::Path;

/// The agent's settings. Whether the interfaces are there is the agent's to say: they may come later.
pub(crate) fn agent_settings(flags: &Flags) -> Result<Settings, Failure> {
    Ok(Settings {
        host: flags.host().to_owned(),
        my_ip: flags.my_ip(),
        state_path: flags.state_path(),
        networks_path: flags.path("networks_path"),
        public_interface: flags.public_interface(),
        flat_interface: flags.flat_interface(),
        routing_source_ip: flags.address("routing_source_ip"),
        dmz_cidr: flags.dmz_cidr(),
        blocked_cidr: flags.blocked_cidr(),
        floating_address_mode: match flags.text("floating_address_mode") {
            "address" => FloatingAddressMode::Address,
            _ => FloatingAddressMode::Route,
        },
        network_device_mtu: flags.network_device_mtu(),
        dns_server: flags.dns_server(),
        metadata_port: flags.metadata_port(),
        dhcpbridge: dhcpbridge(flags)?,
        instance_uid_base: flags.instance_uid_base(),
        tiny_disk_mb: flags.tiny_disk_mb(),
    })
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

/// Refuses a public interface that is not there, naming those that are: a typing error here would
/// otherwise show as a cloud that nobody can reach.
pub(super) fn check_interfaces(flags: &Flags) -> Result<(), Failure> {
    let there = |name: &str| Path::new("/sys/class/net").join(name).exists();
    let wanted = [
        ("public_interface", Some(flags.public_interface())),
        ("flat_interface", flags.flat_interface()),
    ];
    for (flag, name) in wanted {
        let Some(name) = name.filter(|n| !there(n.as_str())) else {
            continue;
        };
        return Err(Failure::failed(format!(
            "{flag} {name}: no such interface: there are {} (give one with --{flag}=NAME)",
            interfaces().join(", ")
        )));
    }
    Ok(())
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
