//! The settings for `host plan` and `host cleanup` while no agent runs: the flags that are given,
//! and for the rest the saved settings of the agent that ran here last. That agent's flags may have
//! stood on its command line only, and a plan made with others would show differences that are
//! none.

use crate::environment::given;
use crate::failure::Failure;
use novanet_agent::runtime::{saved_settings, saved_settings_path};
use novanet_agent::settings::Settings;
use novanet_model::flags::Flags;

/// The settings. Says on stderr which of them are the last agent's.
pub(crate) fn settings(flags: &Flags) -> Result<Settings, Failure> {
    let mut settings = crate::daemon::agent_settings(flags)?;
    let state_path = flags.state_path();
    let Some(saved) = saved_settings(&state_path) else {
        return Ok(settings);
    };
    let taken = take(&mut settings, saved, |name| given(flags, name));
    if !taken.is_empty() {
        let (taken, path) = (taken.join(", "), saved_settings_path(&state_path));
        crate::say::note(&format!(
            "no agent runs here: {taken} as the last one had it ({}); a flag counts more",
            path.display()
        ));
    }
    Ok(settings)
}

/// Takes the last agent's value of every flag that is not given; answers the names of those that
/// differ.
fn take(
    settings: &mut Settings,
    saved: Settings,
    given: impl Fn(&'static str) -> bool,
) -> Vec<&'static str> {
    // Its default is my_ip.
    let source_given =
        given("routing_source_ip") || given("my_ip") && saved.routing_source_ip == saved.my_ip;
    // Whether they follow the host's address is said by the same flags.
    if !source_given {
        settings.source_follows = saved.source_follows;
    }
    if !given("my_ip") {
        settings.my_ip_follows = saved.my_ip_follows;
    }
    let given = |name| match name {
        "routing_source_ip" => source_given,
        _ => given(name),
    };
    let mut taken = Vec::new();
    // A setting has the name of its flag.
    macro_rules! each {
        ($($field:ident)*) => {$(
            if !given(stringify!($field)) && settings.$field != saved.$field {
                settings.$field = saved.$field;
                taken.push(stringify!($field));
            }
        )*};
    }
    each! {
        host my_ip networks_path public_interface flat_interface vlan_interface routing_source_ip dmz_cidr
        blocked_cidr firewall_driver floating_address_mode network_device_mtu dns_server
        dnsmasq_config_file metadata_port dhcpbridge
        instance_uid_base tiny_disk_mb send_arp_for_ha send_arp_for_ha_count
        force_snat_range
    }
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use novanet_model::flags::{Facts, Given, Origin};

    fn flags(given: &[(&str, &str)]) -> Flags {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| Given {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                origin: Origin::CommandLine,
            })
            .collect();
        let facts = Facts {
            hostname: "node1".to_owned(),
            address: [127, 0, 0, 1].into(),
            current_dir: "/".into(),
        };
        Flags::resolve(&given, &facts).unwrap()
    }

    /// What the flags of the last agent and those of now make together, and which are the agent's.
    fn both(before: &[(&str, &str)], now: &[(&str, &str)]) -> (Settings, Vec<&'static str>) {
        let saved = crate::daemon::agent_settings(&flags(before)).unwrap();
        let flags = flags(now);
        let mut settings = crate::daemon::agent_settings(&flags).unwrap();
        let taken = take(&mut settings, saved, |name| given(&flags, name));
        (settings, taken)
    }

    #[test]
    fn what_nobody_gives_is_what_the_last_agent_had() {
        let last = [
            ("my_ip", "192.0.2.1"),
            ("public_interface", "eth7"),
            ("networks_path", "/elsewhere"),
            ("floating_address_mode", "address"),
        ];
        let (settings, taken) = both(&last, &[]);
        assert_eq!(
            settings,
            crate::daemon::agent_settings(&flags(&last)).unwrap()
        );
        let names = [
            "my_ip",
            "networks_path",
            "public_interface",
            "routing_source_ip",
            "floating_address_mode",
        ];
        assert_eq!(taken, names);

        let now = [("public_interface", "eth8"), ("my_ip", "192.0.2.2")];
        let (settings, taken) = both(&last, &now);
        assert_eq!(taken, ["networks_path", "floating_address_mode"]);
        assert_eq!(settings.public_interface.as_str(), "eth8");
        assert_eq!(settings.routing_source_ip.to_string(), "192.0.2.2");
        assert_eq!(both(&[], &[]).1, Vec::<&str>::new());
    }

    #[test]
    fn every_setting_that_a_flag_gives_is_taken() {
        let mut settings = both(&[], &[]).0;
        let other = serde_json::json!({
            "host": "other", "my_ip": "192.0.2.9", "state_path": settings.state_path,
            "networks_path": "/n", "public_interface": "p", "flat_interface": "f",
            "vlan_interface": "v",
            "routing_source_ip": "192.0.2.8", "dmz_cidr": ["10.9.0.0/24"],
            "blocked_cidr": ["192.0.2.0/24"], "floating_address_mode": "Address", "network_device_mtu": 1400,
            "firewall_driver": "Iptables",
            "dns_server": ["9.9.9.9"], "metadata_port": 1, "dhcpbridge": ["x"],
            "instance_uid_base": 7, "tiny_disk_mb": 64,
            "force_snat_range": ["192.0.2.0/28"], "send_arp_for_ha": false, "send_arp_for_ha_count": 9,
        });
        let other: Settings = serde_json::from_value(other).unwrap();
        take(&mut settings, other.clone(), |_| false);
        assert_eq!(settings, other);
    }
}
