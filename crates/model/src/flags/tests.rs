//! The syntax of nova.conf, and the messages about mistakes in it.

use super::*;

fn facts() -> Facts {
    Facts {
        hostname: "cloud1".to_owned(),
        address: Ipv4Addr::new(192, 0, 2, 7),
        current_dir: PathBuf::from("/home/op"),
    }
}

fn resolve(text: &str, command_line: &[&str]) -> Result<Flags, FlagErrors> {
    let mut parsed = parse_file("nova.conf", text);
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    parsed.given.extend(command_line.iter().map(|arg| {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (*arg, None),
        };
        Given {
            name: name.to_owned(),
            value,
            origin: Origin::CommandLine,
        }
    }));
    Flags::resolve(&parsed.given, &facts())
}

/// What differs from the defaults, and the notes; or the errors.
fn check(text: &str, command_line: &[&str]) -> String {
    match resolve(text, command_line) {
        Err(errors) => errors.to_string(),
        Ok(flags) => flags
            .all()
            .filter(|(_, v)| v.origin != Origin::Default)
            .map(|(flag, v)| format!("{} = {:?} ({})", flag.name, v.text, v.origin))
            .chain(flags.notes().iter().map(|n| format!("note: {n}")))
            .chain(flags.warnings().iter().map(|w| format!("warning: {w}")))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn the_gflags_spelling_is_read() {
    let text = "# the manual's\n--network_manager=nova.network.manager.FlatDHCPManager\n--flat_interface=eth1\n--multi_host\n\n--noverbose\n--public_interface=vlan100\n";
    insta::assert_snapshot!(check(text, &[]), @r#"
    verbose = "false" (nova.conf:6)
    network_manager = "nova.network.manager.FlatDHCPManager" (nova.conf:2)
    flat_interface = "eth1" (nova.conf:3)
    multi_host = "true" (nova.conf:4)
    public_interface = "vlan100" (nova.conf:7)
    "#);
}

#[test]
fn the_ini_spelling_is_read_and_other_sections_are_not_ours() {
    let text = "[DEFAULT]\nnetwork_manager = FlatManager\nmy_ip=\"10.1.1.1\"\nmulti-host = yes\ndns_server = 9.9.9.9\n  1.1.1.1\n[conductor]\nuse_local = true\n[database]\nconnection = postgresql+psycopg2://nova:s3@db/nova\n";
    insta::assert_snapshot!(check(text, &[]), @r#"
    my_ip = "10.1.1.1" (nova.conf:3)
    sql_connection = "postgresql://nova:s3@db/nova" (nova.conf:10)
    network_manager = "FlatManager" (nova.conf:2)
    multi_host = "true" (nova.conf:4)
    dns_server = "9.9.9.9,1.1.1.1" (nova.conf:5)
    "#);
}

#[test]
fn the_manuals_line_without_dashes_or_section_is_read() {
    insta::assert_snapshot!(check("network_manager=nova.network.manager.FlatManager", &[]), @r#"network_manager = "nova.network.manager.FlatManager" (nova.conf:1)"#);
}

#[test]
fn every_slip_is_reported_at_once_with_file_line_and_the_name_that_was_meant() {
    let text = "--usr_project_ca\n--vlan_intreface=eth1\n--my_ip=10.0.0\n--vlan_start=5000\n--quantum_url=x\n--public_interface\n--nohost\n--noverbose=1\n--multi_host=maybe\n";
    insta::assert_snapshot!(check(text, &["netwrk_size=8", "dmz_cidr=10.0.0.0/24,x"]), @r#"
    nova.conf:1: unknown flag usr_project_ca: did you mean use_project_ca?
    nova.conf:2: unknown flag vlan_intreface: did you mean vlan_interface?
    nova.conf:3: flag my_ip "10.0.0": must be an IPv4 address
    nova.conf:4: flag vlan_start "5000": must be a number from 1 to 4094
    nova.conf:6: flag public_interface needs a value: --public_interface=…
    nova.conf:7: unknown flag nohost: did you mean host?
    nova.conf:8: flag noverbose takes no value: write --noverbose or --verbose=false
    nova.conf:9: flag multi_host "maybe": must be true or false
    unknown flag netwrk_size: did you mean network_size?
    flag dmz_cidr "10.0.0.0/24,x": "x" must be a subnet like 10.0.0.0/24
    "#);
}

#[test]
fn a_flag_of_a_file_that_is_like_none_is_a_warning_and_on_the_command_line_an_error() {
    let text = "--ec2_url=http://x\n[DEFAULT]\nFAKE_subdomain = ec2\n--my_ip=10.0.0.1\n";
    insta::assert_snapshot!(check(text, &[]), @r#"
    my_ip = "10.0.0.1" (nova.conf:4)
    warning: nova.conf:1: not used: unknown flag ec2_url: nova-manage config list shows all of them
    warning: nova.conf:3: not used: unknown flag FAKE_subdomain: nova-manage config list shows all of them
    "#);
    insta::assert_snapshot!(check("", &["ec2_url=http://x"]), @"unknown flag ec2_url: nova-manage config list shows all of them");
}

#[test]
fn flags_of_nova_that_do_nothing_here_are_taken_with_a_note_and_missed_ones_with_a_warning() {
    insta::assert_snapshot!(check("--share_dhcp_address\n--norabbit_host\n--rabbit_host=mq\n--lock_path=/x\n--use_ipv6=false\n--nouse_ipv6\n", &[]), @r"
    note: nova.conf:2: flag norabbit_host has no effect: novanet has no such part
    note: nova.conf:3: flag rabbit_host has no effect: novanet has no such part
    note: nova.conf:4: flag lock_path has no effect: novanet does this its own way
    note: nova.conf:5: flag use_ipv6 has no effect: not built yet
    note: nova.conf:6: flag nouse_ipv6 has no effect: not built yet
    warning: nova.conf:1: flag share_dhcp_address has no effect: not built yet
    ");
}

#[test]
fn what_flags_without_effect_say_is_checked_all_the_same() {
    insta::assert_snapshot!(check("--use_ipv6=maybe\n--firewall_driver=foo\n--dmz_net=10.0.0\n--noshare_dhcp_address=1\n--send_arp_for_ha_count=many\n--crl_file\n--ipv6_backend=x\n--fixed_range_v6=10.0.0.0/24\n--gateway_v6=fe80\n--nocrl_file\n", &[]), @r#"
    nova.conf:1: flag use_ipv6 "maybe": must be true or false
    nova.conf:2: flag firewall_driver "foo": must be nftables, iptables, or a driver of nova's like nova.virt.libvirt.firewall.IptablesFirewallDriver
    nova.conf:3: flag dmz_net "10.0.0": must be an IPv4 address
    nova.conf:4: flag noshare_dhcp_address takes no value: write --noshare_dhcp_address or --share_dhcp_address=false
    nova.conf:5: flag send_arp_for_ha_count "many": must be a number from 1 to 60
    nova.conf:6: flag crl_file needs a value: --crl_file=…
    nova.conf:7: flag ipv6_backend "x": must be rfc2462 or account_identifier
    nova.conf:8: flag fixed_range_v6 "10.0.0.0/24": must be an IPv6 subnet like fd00::/48
    nova.conf:9: flag gateway_v6 "fe80": must be an IPv6 address
    nova.conf:10: unknown flag nocrl_file: did you mean crl_file?
    "#);
    let manuals = "--use_ipv6=True\n--nouse_project_ca\n--firewall_driver=nova.virt.libvirt.firewall.IptablesFirewallDriver\n\
                   --fixed_range_v6=fd00::/48\n--gateway_v6=None\n--dmz_net=10.0.0.0\n--dmz_mask=255.255.255.0\n\
                   --ca_path=$state_path/CA\n--osapi_port=$ec2_port\n--lockout_attempts=5\n--rabbit_host\n";
    assert_eq!(check(manuals, &[]).lines().count(), 11);
}

#[test]
fn the_command_line_wins_over_the_file_and_lists_do_not_mix_levels() {
    insta::assert_snapshot!(check("--my_ip=10.0.0.1\n--dmz_cidr=10.1.0.0/24\n--dmz_cidr=10.2.0.0/24\n--vlan_start=7", &["my_ip=10.0.0.2"]), @r#"
    my_ip = "10.0.0.2" (command line)
    vlan_start = "7" (nova.conf:4)
    dmz_cidr = "10.1.0.0/24,10.2.0.0/24" (nova.conf:2)
    "#);
    insta::assert_snapshot!(check("--dmz_cidr=10.1.0.0/24", &["dmz_cidr=10.2.0.0/24"]), @r#"dmz_cidr = "10.2.0.0/24" (command line)"#);
}

#[test]
fn other_flags_are_filled_in_and_circles_are_found() {
    let flags = resolve("--state_path=state\n--my_ip=10.0.0.1", &[]).unwrap();
    assert_eq!(flags.state_path(), PathBuf::from("/home/op/state"));
    assert_eq!(flags.text("networks_path"), "/home/op/state/networks");
    assert_eq!(flags.database_url(), "sqlite:///home/op/state/nova.sqlite");
    assert_eq!(flags.text("routing_source_ip"), "10.0.0.1");
    assert_eq!(flags.ec2_url(), "http://10.0.0.1:8773/services/Cloud");
    insta::assert_snapshot!(check("--ec2_host=$ec2_dmz_host", &[]), @"nova.conf:1: flag ec2_host refers to itself: $ec2_host -> $ec2_dmz_host");
}

#[test]
fn defaults_are_novas_and_the_machines() {
    let flags = resolve("", &[]).unwrap();
    assert_eq!(flags.host(), "cloud1");
    assert_eq!(flags.my_ip(), Ipv4Addr::new(192, 0, 2, 7));
    assert_eq!(flags.network_kind(), crate::NetworkKind::Vlan);
    assert_eq!(flags.database_url(), "sqlite:///var/lib/nova/nova.sqlite");
    assert_eq!(flags.network_defaults(), crate::carve::Defaults::default());
    assert_eq!(
        flags.cloud_settings(),
        crate::plan::CloudSettings {
            vpn_ip: flags.my_ip(),
            ..crate::plan::CloudSettings::default()
        }
    );
    assert_eq!(flags.quotas().floating_ips, Some(10));
    assert_eq!(flags.quotas().fixed_ips, None);
    let blocked = flags.blocked_cidr().into_iter().map(|net| net.to_string());
    assert_eq!(
        blocked.collect::<Vec<_>>(),
        ["168.63.129.16/32", "100.100.100.200/32"]
    );
    assert_eq!(flags.ec2_listen().to_string(), "0.0.0.0:8773");
    assert_eq!(
        flags.regions(),
        [("nova".to_owned(), "192.0.2.7".to_owned())]
    );
}

#[test]
fn every_getter_finds_its_flag() {
    let flags = resolve("", &[]).unwrap();
    let _ = (
        flags.network_host(),
        flags.fixed_range(),
        flags.floating_range(),
        flags.public_interface(),
    );
    let _ = (
        flags.flat_interface(),
        flags.vlan_interface(),
        flags.dmz_cidr(),
        flags.dns_server(),
        flags.force_snat_range(),
    );
    let _ = (
        flags.network_device_mtu(),
        flags.dnsmasq_config_file(),
        flags.metadata_port(),
        flags.instance_uid_base(),
        flags.tiny_disk_mb(),
        flags.firewall_is_iptables(),
        flags.state_reserve_mb(),
        flags.send_arp_for_ha_count(),
    );
    assert_eq!(
        flags.roles(),
        [
            crate::wire::HostRole::Network,
            crate::wire::HostRole::Compute
        ]
    );
    assert_eq!(flags.all().count(), registry().len());
}

#[test]
fn a_password_in_the_connection_is_not_repeated_in_an_error() {
    insta::assert_snapshot!(check("--sql_connection=mysql://nova:s3cret@db/nova", &[]), @"nova.conf:1: flag sql_connection: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (MySQL is not supported)");
}

#[test]
fn a_line_that_is_no_flag_is_named() {
    let parsed = parse_file("nova.conf", "hello\n--host=a\n");
    assert_eq!(
        parsed.errors[0].to_string(),
        "nova.conf:1: \"hello\" is not a flag: write --flag=value or flag = value"
    );
    assert_eq!(parsed.given.len(), 1);
}

#[test]
fn no_name_is_both_honoured_and_without_effect() {
    for flag in registry() {
        assert_eq!(accepted(flag.name), None, "{}", flag.name);
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Lines as people and scripts write them, and noise.
    fn line() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            proptest::sample::select(registry().iter().map(|f| f.name).collect::<Vec<_>>())
                .prop_map(str::to_owned),
            "[a-z_]{1,12}",
        ];
        let value = prop_oneof![
            Just("true".to_owned()),
            Just("10.0.0.0/24".to_owned()),
            Just("10.0.0.1".to_owned()),
            Just("$state_path/${host}".to_owned()),
            Just("$my_ip".to_owned()),
            "[0-9]{1,6}",
            "\\PC{0,20}",
        ];
        let flag = (name, value, 0..6).prop_map(|(name, value, shape)| match shape {
            0 => format!("--{name}={value}"),
            1 => format!("--{name}"),
            2 => format!("--no{name}"),
            3 => format!("{name} = {value}"),
            4 => format!("  {value}"),
            _ => format!("-{name}={value}"),
        });
        prop_oneof![8 => flag, 1 => "\\PC{0,30}", 1 => Just("[DEFAULT]".to_owned())]
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_it_is_either_refused_by_line_or_every_value_is_good(
            lines in proptest::collection::vec(line(), 0..12)
        ) {
            let parsed = parse_file("nova.conf", &lines.join("\n"));
            match Flags::resolve(&parsed.given, &facts()) {
                Err(errors) => {
                    for error in errors.0 {
                        prop_assert!(error.to_string().starts_with("nova.conf:"), "{}", error);
                    }
                }
                Ok(flags) => {
                    // None of these may panic: every value was checked.
                    let _ = (flags.network_defaults(), flags.cloud_settings(), flags.quotas());
                    let _ = (flags.ec2_listen(), flags.ec2_url(), flags.regions(), flags.roles());
                    let _ = (flags.fixed_range(), flags.floating_range(), flags.network_kind());
                    let _ = (flags.public_interface(), flags.flat_interface(), flags.dmz_cidr());
                    let _ = (flags.dns_server(), flags.network_device_mtu(), flags.my_ip());
                    prop_assert_eq!(flags.all().count(), registry().len());
                    prop_assert!(flags.state_path().is_absolute());
                }
            }
        }
    }
}

#[test]
fn what_nobody_gave_follows_the_machines_address_and_the_rest_stays() {
    let text = "--ec2_port=9\n--dmz_cidr=10.1.0.0/24\n--dmz_cidr=10.2.0.0/24\n--state_path=here\n";
    let before = resolve(text, &[]).unwrap();
    let after = before.at_address(Ipv4Addr::new(203, 0, 113, 9));
    assert_eq!(after.my_ip(), Ipv4Addr::new(203, 0, 113, 9));
    assert_eq!(after.text("routing_source_ip"), "203.0.113.9");
    assert_eq!(after.ec2_url(), "http://203.0.113.9:9/services/Cloud");
    let moved = after.at_address(before.my_ip());
    assert_eq!(moved, before, "nothing else is another");
    let fixed = resolve("--my_ip=10.0.0.1\n", &[]).unwrap();
    assert_eq!(fixed.at_address(Ipv4Addr::new(203, 0, 113, 9)), fixed);
}
