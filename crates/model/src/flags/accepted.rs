//! nova's flags that are accepted without effect, so that an old nova.conf works, and the reason
//! that the user reads for each. Their values are checked all the same: an unnoticed mistake
//! becomes a fault on the day the flag takes effect.

use super::{Given, Kind};

const NOT_YET: &str = "not built yet";
const ALWAYS: &str = "novanet always does this";
const NOT_HERE: &str = "novanet has no such part";
const OWN_WAY: &str = "novanet does this its own way";

const ACCEPTED: &[(&str, &[&str])] = &[
    (
        NOT_YET,
        &[
            "use_ipv6",
            "ipv6_backend",
            "fixed_range_v6",
            "gateway_v6",
            "share_dhcp_address",
            "forward_bridge_interface",
            "iptables_top_regex",
            "iptables_bottom_regex",
            "iptables_drop_action",
            "vpn_key_suffix",
            "vpn_instance_type",
            "vpn_flavor",
            "boot_script_template",
            "dmz_net",
            "dmz_mask",
            "ca_file",
            "key_file",
            "crl_file",
            "user_cert_subject",
            "project_cert_subject",
            "vpn_cert_subject",
            "vpn_client_template",
            "credential_rc_file",
            "credential_key_file",
            "credential_cert_file",
            "credential_vpn_file",
            "use_single_default_gateway",
            "use_network_dns_servers",
            "update_dns_entries",
            "dns_update_periodic_interval",
            "allowed_roles",
            "superuser_roles",
            "global_roles",
            "allow_same_net_traffic",
            "osapi_port",
            "osapi_path",
            "osapi_listen",
            "osapi_listen_port",
            "enabled_apis",
            "floating_ip_dns_manager",
            "instance_dns_manager",
            "instance_dns_domain",
        ],
    ),
    (
        ALWAYS,
        &[
            "force_dhcp_release",
            "update_dhcp_on_disassociate",
            "teardown_unused_network_gateway",
            "defer_iptables_apply",
            "ec2_strict_validation",
            "use_deprecated_auth",
        ],
    ),
    (
        OWN_WAY,
        &[
            // An address is free when its host says so, never by the clock.
            "fixed_ip_disassociate_timeout",
            "instances_path",
            "network_driver",
            "network_topic",
            "lock_path",
            "root_helper",
            "rootwrap_config",
            "sudo",
            "periodic_interval",
            "input_chain",
            "create_unique_mac_address_attempts",
            "ebtables_exec_attempts",
            "ebtables_retry_interval",
            "l3_lib",
            "linuxnet_interface_driver",
            "linuxnet_ovs_integration_bridge",
            "flat_network_dhcp_start",
            "dhcpbridge_flagfile",
            "credentials_template",
            "s3_host",
            "s3_dmz",
            "s3_port",
            "metadata_host",
            "metadata_listen",
            "metadata_cache_expiration",
            "use_forwarded_for",
            "auth_driver",
            "ec2_private_dns_show_ip",
            "connection_type",
            "compute_driver",
            "libvirt_type",
            "libvirt_use_virtio_for_bridges",
            "libvirt_vif_driver",
            "logdir",
            "log_dir",
            "logfile",
            "log_file",
            "use_syslog",
            "nodaemon",
            "daemonize",
            "api_paste_config",
            "network_api_class",
            "security_group_api",
            "image_service",
            "glance_host",
            "glance_port",
            "glance_api_servers",
            "scheduler_driver",
            "node_availability_zone",
        ],
    ),
    (
        NOT_HERE,
        &[
            "fake_network",
            "fake_call",
            "fake_rabbit",
            "stub_network",
            "rabbit_host",
            "rabbit_port",
            "rabbit_userid",
            "rabbit_password",
            "rabbit_virtual_host",
            "rpc_backend",
            "qpid_hostname",
            "cc_host",
            "volume_group",
            "iscsi_ip_prefix",
            "iscsi_helper",
            "num_targets",
            "quota_volumes",
            "quota_gigabytes",
            "quota_metadata_items",
            "quota_max_injected_files",
            "quota_max_injected_file_content_bytes",
            "quota_max_injected_file_path_bytes",
            "vncproxy_url",
            "vncserver_host",
            "novncproxy_base_url",
            "vnc_enabled",
            "ajax_console_proxy_url",
            "osapi_extensions_path",
            "auth_strategy",
            "keystone_ec2_url",
            "pybasedir",
            "bindir",
            "sql_idle_timeout",
            "sql_max_retries",
            "sql_retry_interval",
            "resume_guests_state_on_host_boot",
            "start_guests_on_host_boot",
        ],
    ),
];

/// What their values have to be. Of the flags that are not built yet, those that are not here take
/// any text; of the others nothing is known, and nothing is checked.
const KINDS: &[(Kind, &[&str])] = &[
    (
        Kind::Switch,
        &[
            "use_ipv6",
            "share_dhcp_address",
            "use_single_default_gateway",
            "use_network_dns_servers",
            "update_dns_entries",
            "allow_same_net_traffic",
            "force_dhcp_release",
            "update_dhcp_on_disassociate",
            "teardown_unused_network_gateway",
            "defer_iptables_apply",
            "ec2_strict_validation",
            "use_deprecated_auth",
            "use_forwarded_for",
            "ec2_private_dns_show_ip",
            "libvirt_use_virtio_for_bridges",
            "use_syslog",
            "nodaemon",
            "daemonize",
            "fake_network",
            "fake_call",
            "fake_rabbit",
            "stub_network",
            "vnc_enabled",
            "resume_guests_state_on_host_boot",
            "start_guests_on_host_boot",
        ],
    ),
    (
        Kind::Number(-1, 1_000_000_000),
        &["dns_update_periodic_interval"],
    ),
    (
        Kind::Number(1, 65_535),
        &["osapi_port", "osapi_listen_port"],
    ),
    (
        Kind::OptionalAddress,
        &["dmz_net", "dmz_mask", "osapi_listen"],
    ),
    (
        Kind::Choice(&["rfc2462", "account_identifier"]),
        &["ipv6_backend"],
    ),
];

/// What the value of a flag without effect has to be; `None`: it is not checked.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let listed = KINDS.iter().find(|(_, names)| names.contains(&name));
    listed
        .map(|(kind, _)| *kind)
        .or_else(|| (accepted(name) == Some(NOT_YET)).then_some(Kind::Text))
}

/// Whether a flag without effect stands alone, as `--use_ipv6`; the others take a value.
pub fn is_accepted_switch(name: &str) -> bool {
    kind(name) == Some(Kind::Switch)
}

/// Why a flag of nova has no effect here; `None` if nova had no such flag either.
pub fn accepted(name: &str) -> Option<&'static str> {
    ACCEPTED
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(why, _)| *why)
}

/// Whether a flag asks for what is not built yet. A switch that is off (`--nouse_ipv6`,
/// `--use_ipv6=false`) asks for nothing.
pub(super) fn is_missed(given: &Given) -> bool {
    let name = given.name.as_str();
    let off = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no");
    let is_off = is_accepted_switch(name) && given.value.as_deref().is_some_and(off);
    accepted(name) == Some(NOT_YET) && !is_off
}

/// All names, for suggestions.
pub fn accepted_names() -> impl Iterator<Item = &'static str> {
    ACCEPTED.iter().flat_map(|(_, names)| names.iter().copied())
}
