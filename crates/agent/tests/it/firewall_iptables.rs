//! The iptables driver: the manual's lines, switching the driver, foreign rules, and the behaviour
//! suite of `firewall*.rs` once more on this driver.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::{Result, ensure};
use novanet_agent::firewall::Key;
use novanet_agent::settings::FirewallDriver;
use novanet_lab::{Host, HostOptions};
use novanet_model::object::{FloatingIp, HostObject};
use novanet_reconcile::{Desired, Subsystem};
use std::time::Duration;

/// The same tests, with the other driver.
macro_rules! on_iptables {
    ($($module:ident: $($test:ident)*;)*) => {$($(
        #[test]
        fn $test() -> Result<()> {
            on_iptables(crate::$module::$test)
        }
    )*)*};
}

on_iptables! {
    firewall:
        groups_allow_what_their_rules_say_and_deny_the_rest
        the_internet_reaches_what_is_open_to_everybody_and_nothing_else
        a_rule_comes_and_goes_while_others_stay_and_its_flows_end_with_it
        joining_and_leaving_a_source_group_is_enough
        an_instance_changes_its_groups
        a_port_without_its_object_is_cut_off_and_one_with_it_is_default_deny
        new_tcp_must_be_a_syn_or_a_cut_flow_would_open_again
        the_host_offers_instances_dhcp_dns_metadata_and_nothing_else
        a_foreign_machine_on_our_bridge_is_none_of_our_business
        a_group_that_is_not_known_yet_lets_no_private_address_in;
    firewall_blocked:
        instances_reach_no_service_of_a_cloud_that_their_host_is_in
        a_provider_rule_drops_before_everything_and_ends_with_its_removal;
    firewall_explain:
        an_explanation_agrees_with_what_real_packets_find;
    firewall_float:
        a_floating_address_leads_in_and_is_who_the_instance_is_outside
        dmz_destinations_see_the_fixed_address
        a_network_without_snat_leaves_with_its_own_addresses
        floating_addresses_are_reached_from_inside_too
        a_float_that_goes_ends_its_flows_in_both_directions_and_no_others
        a_float_that_moves_leads_to_the_new_instance_at_once
        a_flow_older_than_its_float_does_not_go_round_it
        many_floats_that_go_at_once_end_their_flows_too;
    firewall_flow:
        a_flow_that_was_marked_dead_and_is_permitted_lives_and_one_that_is_not_stays_dead;
    firewall_guard:
        the_guard_of_a_float_stays_as_long_as_the_host_answers_for_it;
    firewall_outside:
        a_frame_that_the_bridge_does_not_look_at_does_not_get_to_the_host
        a_port_without_a_bridge_does_not_get_to_the_host
        an_instance_does_not_give_the_host_an_ipv6_address
        a_machine_outside_does_not_pass_for_an_instance
        a_foreign_machine_on_our_bridge_does_not_pass_for_an_instance
        metadata_of_an_instance_is_for_its_own_port_only
        the_host_is_guarded_also_when_somebody_overwrites_packet_marks
        an_instance_gets_out_by_a_bridge_that_has_the_public_interface
        names_are_looked_up_for_our_networks_only
        flows_that_a_killed_agent_did_not_end_are_ended_by_the_next
        rules_that_are_written_anew_end_flows_that_none_of_them_allows;
    firewall_ports:
        an_instance_with_one_default_route_answers_for_all_its_addresses_and_no_others;
    firewall_spoof:
        another_mac_is_dropped
        the_mac_of_another_instance_is_dropped
        another_source_address_is_dropped
        an_instance_redirects_no_other
        a_claim_of_the_gateways_address_by_arp_is_dropped
        an_instance_is_no_dhcp_server
        ip_broadcasts_of_instances_are_dropped
        ipv6_of_instances_is_dropped
        frames_for_nobody_are_not_flooded_to_instances
        an_instance_gets_nothing_for_the_address_of_another
        without_bridge_netfilter_instances_are_cut_off_from_each_other_not_open
        an_answer_of_a_dhcp_server_on_another_host_passes
        what_an_instance_needs_passes;
}

/// The manual's floating IP, for the instance 10.0.0.3.
fn manuals() -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: "68.99.26.170".parse().unwrap(),
        fixed: fixed(3),
        interface: None,
    })
}

fn saved(cloud: &Host) -> Result<String> {
    Ok(cloud.run(&["iptables-save"])?.stdout)
}

fn nft_tables(cloud: &Host) -> Result<Vec<String>> {
    let listed = cloud.run(&["nft", "list tables"])?.stdout;
    let ours = listed.lines().filter(|line| line.ends_with(" nova"));
    Ok(ours.map(str::to_owned).collect())
}

#[test]
fn the_lines_of_the_manual_are_in_force_literally_and_the_address_is_reached() -> Result<()> {
    on_iptables(|| {
        let world = World::new(&[3])?;
        let (cloud, net) = (&world.cloud, &world.internet);
        let mut objects = two_projects();
        objects.push(manuals());
        // The link subsystem's part in the mode of this driver.
        cloud.sh("ip addr add 68.99.26.170/32 dev pub0")?;
        net.sh(&format!("ip route add 68.99.26.170 via {PUBLIC}"))?;
        let mut agent = world.agent(&objects)?;
        agent.converge(cloud)?;

        let text = saved(cloud)?;
        for line in [
            "-A nova-network-OUTPUT -d 68.99.26.170/32 -j DNAT --to-destination 10.0.0.3",
            "-A nova-network-PREROUTING -d 68.99.26.170/32 -j DNAT --to-destination 10.0.0.3",
            "-A nova-network-floating-snat -s 10.0.0.3/32 -j SNAT --to-source 68.99.26.170",
        ] {
            assert_eq!(
                text.lines().filter(|l| *l == line).count(),
                1,
                "{line}\n{text}"
            );
        }
        assert_eq!(nft_tables(cloud)?, ["table bridge nova"]);
        let address = "68.99.26.170".parse()?;
        let a = world.instance(3);
        assert_eq!(connects(net, a, address, 22)?, Some(OUTSIDE.into()));
        assert_eq!(connects(net, a, address, 23)?, None, "no rule allows it");
        net.sh(&format!("ip route add {} via {PUBLIC}", fixed(3)))?;
        assert_eq!(connects(a, net, OUTSIDE, 80)?, Some(address.into()));
        assert!(pings(cloud, address)?, "the host itself, by OUTPUT");

        assert!(agent.unset(cloud, &manuals())?.is_empty());
        assert!(!saved(cloud)?.contains("68.99.26.170"));
        assert!(agent.differences(cloud)?.is_empty());
        Ok(())
    })
}

const FOREIGN: &str = "*filter
:theirs - [0:0]
[7:420] -A FORWARD -s 192.0.2.7/32 -j theirs
[5:300] -A theirs -p tcp -m tcp --dport 25 -j DROP
[9:540] -A INPUT -s 192.0.2.9/32 -j ACCEPT
COMMIT
*nat
[3:180] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
";

/// The foreign rules with their counters.
fn foreign(cloud: &Host) -> Result<Vec<String>> {
    let text = cloud.run(&["iptables-save", "-c"])?.stdout;
    let theirs = text
        .lines()
        .filter(|l| l.starts_with('[') && !l.contains("nova-"));
    Ok(theirs.map(str::to_owned).collect())
}

#[test]
fn foreign_rules_keep_their_place_and_counters() -> Result<()> {
    on_iptables(|| {
        let cloud = cloud()?;
        let state = tempfile::tempdir()?;
        cloud.sh(&format!("iptables-restore --counters <<'E'\n{FOREIGN}E"))?;
        cloud.sh("ipset create friends hash:ip && ipset add friends 192.0.2.1")?;
        let before = foreign(&cloud)?;
        assert_eq!(before.len(), 4);
        let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
        agent.converge(&cloud)?;
        for object in [float(13, 3), rule(20, 1, PING, anywhere()), member(2, 77)] {
            assert!(agent.set(&cloud, &object)?.is_empty());
            assert!(agent.unset(&cloud, &object)?.is_empty());
        }
        assert!(agent.differences(&cloud)?.is_empty());
        assert_eq!(foreign(&cloud)?, before);

        // A foreign rule before our jump is put behind it; the foreign ones stay in their order.
        cloud.run(&["iptables", "-I", "FORWARD", "-j", "ACCEPT"])?;
        agent.converge(&cloud)?;
        let text = saved(&cloud)?;
        let forward: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("-A FORWARD"))
            .collect();
        assert_eq!(
            forward,
            [
                "-A FORWARD -j nova-filter-top",
                "-A FORWARD -j ACCEPT",
                "-A FORWARD -s 192.0.2.7/32 -j theirs"
            ]
        );
        cloud.run(&["iptables", "-D", "FORWARD", "-j", "ACCEPT"])?;

        agent.desired = Desired::new(Vec::new());
        agent.converge(&cloud)?;
        assert_eq!(foreign(&cloud)?, before);
        assert!(!saved(&cloud)?.contains("nova"));
        assert_eq!(nft_tables(&cloud)?, Vec::<String>::new());
        assert_eq!(
            cloud.run(&["ipset", "list", "-n"])?.stdout.trim(),
            "friends"
        );
        Ok(())
    })
}

#[test]
fn whatever_another_program_does_to_our_rules_is_found_and_repaired() -> Result<()> {
    on_iptables(|| {
        let cloud = cloud()?;
        let state = tempfile::tempdir()?;
        let mut objects = two_projects();
        objects.push(float(13, 3));
        let mut agent = Agent::start(&cloud, state.path(), &objects)?;
        agent.converge(&cloud)?;
        let notify = agent.firewall.changed_externally();
        let before = saved_rules(&cloud)?;
        for damage in [
            "iptables -F",
            "iptables -t nat -F",
            "iptables -t raw -F PREROUTING",
            "iptables -I FORWARD -j ACCEPT",
            "iptables -D INPUT -j nova-network-INPUT",
            "iptables -A nova-compute-sg-00000001 -j ACCEPT",
            "iptables -t nat -D nova-network-OUTPUT 1",
            "iptables -N nova-compute-sg-0000ffff",
            "ip6tables -F",
            "nft flush ruleset",
            "nft add table ip nova",
        ] {
            cloud.sh(damage)?;
            let noticed = cloud.exec_in(|| {
                let limit = Duration::from_secs(2);
                block_on(async { tokio::time::timeout(limit, notify.notified()).await.is_ok() })
            })?;
            assert!(noticed, "{damage}");
            ensure!(!agent.converge(&cloud)?.is_empty(), "{damage} is not found");
            cloud.sh("iptables -D FORWARD -j ACCEPT 2>/dev/null || true")?;
            assert_eq!(saved_rules(&cloud)?, before, "{damage}");
        }
        // The kernel sends no notification about IP sets: the next round finds it.
        for damage in [
            "ipset add nova-members-sg-00000002 10.9.9.9",
            "ipset flush nova-fixed-ips",
            "ipset add nova-floating-fixed-ips 10.9.9.9",
        ] {
            cloud.sh(damage)?;
            ensure!(!agent.converge(&cloud)?.is_empty(), "{damage} is not found");
        }
        Ok(())
    })
}

/// Our rules in order, without generations.
fn saved_rules(cloud: &Host) -> Result<Vec<String>> {
    let text = saved(cloud)?;
    let rules = text
        .lines()
        .filter(|line| line.starts_with("-A") && !line.contains("0xffff0000"));
    let mut rules: Vec<_> = rules.map(str::to_owned).collect();
    rules.sort_unstable();
    Ok(rules)
}

#[test]
fn a_restarted_agent_finds_its_iptables_rules_and_leaves_them_alone() -> Result<()> {
    on_iptables(|| {
        let cloud = cloud()?;
        let state = tempfile::tempdir()?;
        let mut objects = two_projects();
        objects.push(float(13, 3));
        Agent::start(&cloud, state.path(), &objects)?.converge(&cloud)?;
        let mut next = Agent::start(&cloud, state.path(), &objects)?;
        assert!(next.differences(&cloud)?.is_empty());
        // Without its record it writes once, and the same.
        let before = saved_rules(&cloud)?;
        std::fs::remove_file(state.path().join("firewall.json"))?;
        let mut next = Agent::start(&cloud, state.path(), &objects)?;
        let changes = next.converge(&cloud)?;
        assert!(changes.iter().any(|change| change.key == Key::BaseRuleset));
        assert_eq!(saved_rules(&cloud)?, before);
        Ok(())
    })
}

#[test]
fn chains_of_a_real_nova_are_not_taken_over() -> Result<()> {
    on_iptables(|| {
        let cloud = cloud()?;
        let state = tempfile::tempdir()?;
        cloud.sh(
            "iptables -N nova-filter-top && iptables -N nova-compute-local && \
             iptables -A nova-filter-top -j nova-compute-local",
        )?;
        let before = saved(&cloud)?;
        let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
        let error = agent.observe(&cloud).expect_err("foreign chains");
        assert!(error.to_string().contains("not novanet's"), "{error}");
        assert_eq!(saved_rules_of(&saved(&cloud)?), saved_rules_of(&before));
        Ok(())
    })
}

fn saved_rules_of(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("-A")).collect()
}

#[test]
fn a_driver_is_switched_without_a_moment_of_other_rules() -> Result<()> {
    let world = World::new(&[3, 5])?;
    let (cloud, net) = (&world.cloud, &world.internet);
    world.route(13)?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    net.sh(&format!("ip route add 10.0.0.0/24 via {PUBLIC}"))?;
    world.agent(&objects)?.converge(cloud)?;
    let (a, c) = (world.instance(3), world.instance(5));
    let mut flow = TcpSession::start(net, a, public(13), 22)?;
    // What no rule allows: from another project, from outside, and to the host.
    let mut probes = Probes::start(&[
        (c, a, (fixed(3), 22)),
        (net, a, (fixed(3), 23)),
        (a, cloud, (GATEWAY, 9999)),
    ])?;
    for driver in [FirewallDriver::Iptables, FirewallDriver::Nftables].repeat(2) {
        with_driver(driver, || -> Result<()> {
            // An agent that is killed after its first write, and the one after it.
            let mut killed = world.agent(&objects)?;
            let changes = killed.differences(cloud)?;
            assert!(!changes.is_empty());
            assert!(killed.apply(cloud, &changes)?.is_empty());
            drop(killed);
            let mut agent = world.agent(&objects)?;
            agent.converge(cloud)?;
            assert!(flow.goes_on(), "{driver:?}");
            assert_eq!(connects(net, a, public(13), 22)?, Some(OUTSIDE.into()));
            let tables = nft_tables(cloud)?;
            let iptables = saved(cloud)?;
            if driver == FirewallDriver::Iptables {
                assert_eq!(tables, ["table bridge nova"]);
                assert!(iptables.contains("nova-filter-top"));
            } else {
                assert_eq!(tables.len(), 3);
                assert!(!iptables.contains("nova-"), "{iptables}");
                assert_eq!(cloud.run(&["ipset", "list", "-n"])?.stdout.trim(), "");
            }
            Ok(())
        })?;
    }
    assert_eq!(probes.stop()?, 0, "packets passed that no rule allows");
    Ok(())
}

#[test]
fn rules_are_in_the_variant_of_iptables_that_the_administrator_chose() -> Result<()> {
    on_iptables(|| {
        let options = HostOptions::default().private("/usr/local/sbin");
        let world = World::on(cloud_with(options)?, &[3])?;
        let (cloud, net) = (&world.cloud, &world.internet);
        world.route(13)?;
        let mut objects = two_projects();
        objects.push(float(13, 3));
        let mut flow = None;
        for (chosen, other) in [("legacy", "nft"), ("nft", "legacy"), ("legacy", "nft")] {
            for program in ["iptables", "ip6tables"] {
                for action in ["save", "restore"] {
                    cloud.sh(&format!(
                        "ln -sf /usr/sbin/{program}-{chosen}-{action} \
                         /usr/local/sbin/{program}-{action}"
                    ))?;
                }
            }
            let mut agent = world.agent(&objects)?;
            agent.converge(cloud)?;
            let of = |variant: &str| cloud.run(&[&format!("iptables-{variant}-save")]);
            assert!(of(chosen)?.stdout.contains("nova-filter-top"), "{chosen}");
            assert!(
                !of(other)?.stdout.contains("nova-"),
                "{other} after {chosen}"
            );
            assert_eq!(
                connects(net, world.instance(3), public(13), 22)?,
                Some(OUTSIDE.into())
            );
            assert_eq!(connects(net, world.instance(3), public(13), 23)?, None);
            let flow = match &mut flow {
                Some(flow) => flow,
                none => none.insert(TcpSession::start(net, world.instance(3), public(13), 22)?),
            };
            assert!(flow.goes_on(), "{chosen}");
            if chosen == "legacy" {
                cloud.sh("iptables-legacy -F nova-compute-local")?;
                ensure!(!agent.converge(cloud)?.is_empty(), "a flush is found");
                assert!(
                    agent
                        .set(cloud, &rule(20, 1, tcp(80, 80), anywhere()))?
                        .is_empty()
                );
                assert_eq!(
                    connects(net, world.instance(3), public(13), 80)?,
                    Some(OUTSIDE.into())
                );
                assert!(
                    agent
                        .unset(cloud, &rule(20, 1, tcp(80, 80), anywhere()))?
                        .is_empty()
                );
                assert!(agent.differences(cloud)?.is_empty());
            }
        }
        Ok(())
    })
}
