//! The texts of a view, of the same host as each driver has it.

use super::*;
use crate::firewall::intent::Intent;
use crate::firewall::nft::item::items_of;
use crate::firewall::policy::HostPolicy;
use novanet_model::{HostObject, InstanceId};

/// Two instances in one combination of groups, a floating IP for the first.
const OBJECTS: &str = r#"[
    {"kind":"gateway","network":1,"bridge":"br100","address":"10.0.0.1/24"},
    {"kind":"float","address":"203.0.113.13","fixed":"10.0.0.3","interface":null},
    {"kind":"group","group":1,"project":1,"name":"web"},
    {"kind":"group","group":2,"project":1,"name":"other"},
    {"kind":"rule","rule":1,"group":1,"traffic":{"protocol":"any"},"source":{"group":1}},
    {"kind":"rule","rule":2,"group":1,"traffic":{"protocol":"tcp","from":22,"to":22},"source":{"cidr":"0.0.0.0/0"}},
    {"kind":"rule","rule":3,"group":2,"traffic":{"protocol":"any"},"source":{"cidr":"0.0.0.0/0"}},
    {"kind":"member","group":1,"address":"10.0.0.3"},
    {"kind":"project_address","project":1,"address":"10.0.0.3"},
    {"kind":"port","instance":3,"index":0,"network":1,"name":"nv3","bridge":"br100","mac":"02:16:3e:00:00:03","address":"10.0.0.3","combination":5,"groups":[1]},
    {"kind":"port","instance":4,"index":0,"network":1,"name":"nv4","bridge":"br100","mac":"02:16:3e:00:00:04","address":"10.0.0.4","combination":6,"groups":[2]}
]"#;

fn text(driver: FirewallDriver, view: RulesView) -> Result<String, String> {
    let objects: Vec<HostObject> = serde_json::from_str(OBJECTS).expect("objects");
    let mut desired = Desired::new(Vec::new());
    for object in &objects {
        let mut object = object.clone();
        if let (HostObject::Port(port), FirewallDriver::Iptables) = (&mut object, driver) {
            port.combination = CombinationId(port.instance.0);
        }
        let items = Intent::of(&object).map_or_else(Vec::new, items_of);
        desired.set_object(&object.key(), items);
    }
    let items: Items = desired
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let count = Count {
        packets: 3,
        bytes: 180,
    };
    let counted = Key::Rule(novanet_model::GroupId(1), novanet_model::RuleId(2));
    let found = InForce {
        driver,
        items,
        by_item: [(counted, count)].into(),
        by_line: BTreeMap::new(),
        generation: 1,
        policy: HostPolicy::example(),
    };
    render(&found, view, &desired).map_err(|error| error.to_string())
}

fn of(form: RulesForm) -> RulesView {
    RulesView {
        form: Some(form),
        instance: None,
        address: None,
    }
}

#[test]
fn an_instance_is_shown_in_the_words_of_either_tool_whatever_the_driver() {
    let view = |form| RulesView {
        instance: Some(InstanceId(3)),
        ..of(form)
    };
    for driver in [FirewallDriver::Nftables, FirewallDriver::Iptables] {
        let shown = text(driver, view(RulesForm::IptablesSave)).expect("shown");
        insta::assert_snapshot!("iptables", shown);
    }
    let shown = text(FirewallDriver::Nftables, view(RulesForm::Nft)).expect("shown");
    insta::assert_snapshot!("nft", shown);
    let shown = text(FirewallDriver::Nftables, view(RulesForm::Json)).expect("shown");
    insta::assert_snapshot!("json", shown);
}

#[test]
fn a_floating_address_is_shown_by_its_own_lines() {
    let view = RulesView {
        address: "203.0.113.13".parse().ok(),
        ..of(RulesForm::IptablesSave)
    };
    insta::assert_snapshot!(text(FirewallDriver::Nftables, view).expect("shown"), @r"
    *nat
    # floating IP 203.0.113.13, i-00000003, project 1
    -A nova-network-OUTPUT -d 203.0.113.13/32 -j DNAT --to-destination 10.0.0.3
    -A nova-network-PREROUTING -d 203.0.113.13/32 -j DNAT --to-destination 10.0.0.3
    -A nova-network-floating-snat -s 10.0.0.3/32 -j SNAT --to-source 203.0.113.13
    COMMIT
    # ipset save
    # floating IP 203.0.113.13, i-00000003, project 1
    add nova-floating-fixed-ips 10.0.0.3
    add nova-floating-ips 203.0.113.13
    ");
}

#[test]
fn what_is_not_on_this_host_is_refused_by_name() {
    let mut view = of(RulesForm::Nft);
    view.instance = Some(InstanceId(9));
    let refused = text(FirewallDriver::Nftables, view).expect_err("refused");
    assert!(refused.starts_with("i-00000009: no port"), "{refused}");
    view.instance = None;
    view.address = "192.0.2.9".parse().ok();
    let refused = text(FirewallDriver::Nftables, view).expect_err("refused");
    assert!(refused.starts_with("192.0.2.9: nothing"), "{refused}");
}

#[test]
fn the_whole_has_the_base_and_every_rule_in_both_forms() {
    for driver in [FirewallDriver::Nftables, FirewallDriver::Iptables] {
        let nft = text(driver, of(RulesForm::Nft)).expect("shown");
        let parts = [
            "table bridge nova {",
            "chain to_instances {",
            "203.0.113.13 : 10.0.0.3",
        ];
        for part in parts {
            assert!(nft.contains(part), "{driver:?}: {part} in {nft}");
        }
        let saved = text(driver, of(RulesForm::IptablesSave)).expect("shown");
        for part in [
            "-A FORWARD -j nova-filter-top\n",
            "-A nova-compute-local -d 10.0.0.4/32 -g nova-compute-inst-4\n",
            "[3:180] -A nova-compute-sg-00000001 ",
        ] {
            assert!(saved.contains(part), "{driver:?}: {part} in {saved}");
        }
    }
}
