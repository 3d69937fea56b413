//! `network modify`, edits of networks with SQL, and what the previews say.

use crate::fake_host::FakeHost;
use crate::world::{World, assert_refused, both, ip, launch, name, refused};
use anyhow::Result;
use novanet_control::preview::Effect;
use novanet_control::{Caller, ControlError, Controllers, Modify};
use novanet_model::carve::{Change, Request};
use novanet_model::rows::Network;
use novanet_model::{HostObject, ImageId, NetworkKind};

async fn by_hand(w: &World, sql: &str) -> Result<()> {
    let mut tx = w.db().begin_unplanned().await?;
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

fn settings(settings: Change) -> Modify {
    Modify {
        settings,
        ..Modify::default()
    }
}

/// A host with 802.1Q, a VLAN network of project web on it, and an instance.
async fn vlan_cloud(w: &World) -> Result<(FakeHost, Network, Caller)> {
    w.image().await;
    let web = w.project("web").await;
    let mut host = FakeHost::new(w.cloud.clone(), "h1");
    host.kinds.push(NetworkKind::Vlan);
    host.hello().await;
    let mut own = Request::new(NetworkKind::Vlan, "own", "10.0.0.0/24".parse()?);
    own.project = Some(name("web"));
    let network = w.create_networks(&own).await?.networks.remove(0);
    w.run(&web, 1).await;
    host.round().await;
    Ok((host, network, web))
}

fn bridge_of(host: &FakeHost, key: &str) -> String {
    match host.get(key) {
        HostObject::Bridge(o) => format!("{} vlan {:?}", o.bridge, o.vlan),
        HostObject::Port(o) => o.bridge.to_string(),
        HostObject::Binding(o) => o.bridge.to_string(),
        HostObject::Dhcp(o) => format!("{} by {} dns {:?}", o.bridge, o.server, o.dns),
        HostObject::Gateway(o) => format!("{} on {}", o.address, o.bridge),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_networks_gateway_follows_its_switch_of_snat() {
    both(async |w: &World| -> Result<()> {
        let (mut host, net, _) = vlan_cloud(w).await?;
        let is_off = |host: &FakeHost| match host.get("gateway/1") {
            HostObject::Gateway(o) => o.no_snat,
            other => panic!("{other:?}"),
        };
        assert!(!is_off(&host));
        for (snat, off) in [(false, true), (true, false)] {
            let change = settings(Change {
                snat: Some(snat),
                ..Change::default()
            });
            w.modify_network(net.id, &change).await?;
            host.round().await;
            assert_eq!(is_off(&host), off);
        }
        let mut own = Request::new(NetworkKind::Vlan, "other", "10.1.0.0/24".parse()?);
        own.no_snat = true;
        let network = w.create_networks(&own).await?.networks.remove(0);
        assert!(network.no_snat);
        Ok(())
    });
}

#[test]
fn a_host_has_every_provider_rule_also_one_that_comes_later() {
    both(async |w: &World| -> Result<()> {
        let mut old = FakeHost::new(w.cloud.clone(), "h1");
        old.hello().await;
        let (mail, from) = (crate::world::tcp(25), "192.0.2.7/24".parse()?);
        w.block(mail, from).await?;
        assert!(refused(w.block(mail, from).await).contains("exist"));
        let mut new = FakeHost::new(w.cloud.clone(), "h2");
        new.hello().await;
        for host in [&mut old, &mut new] {
            host.round().await;
            match host.get("block/1") {
                HostObject::Block(o) => assert_eq!(o.source.to_string(), "192.0.2.0/24"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(w.blocks().await?.len(), 1);
        w.unblock(mail, from).await?;
        assert!(refused(w.unblock(mail, from).await).contains("not found"));
        for host in [&mut old, &mut new] {
            host.round().await;
            assert_eq!(host.keys("block"), Vec::<String>::new());
        }
        Ok(())
    });
}

#[test]
fn all_objects_of_a_network_follow_a_new_vlan_id_and_a_new_bridge() {
    both(async |w: &World| -> Result<()> {
        let (mut host, net, _) = vlan_cloud(w).await?;
        let vlan = settings(Change {
            vlan: Some(200),
            ..Change::default()
        });
        w.modify_network(net.id, &vlan).await?;
        host.round().await;
        assert_eq!(bridge_of(&host, "bridge/1"), "br200 vlan Some(200)");
        assert_eq!(bridge_of(&host, "port/1/0"), "br200");
        assert_eq!(bridge_of(&host, "binding/1/10.0.0.3"), "br200");
        // A bridge with a name of its own keeps it.
        let bridge = settings(Change {
            bridge: Some("dmz".parse()?),
            ..Change::default()
        });
        w.modify_network(net.id, &bridge).await?;
        let back = settings(Change {
            vlan: Some(100),
            ..Change::default()
        });
        w.modify_network(net.id, &back).await?;
        host.round().await;
        assert_eq!(bridge_of(&host, "bridge/1"), "dmz vlan Some(100)");
        assert_eq!(bridge_of(&host, "port/1/0"), "dmz");
        w.assert_planned().await;
        let entries = w.audit(Some("10.0.0.0/24"), 10).await?;
        let detail = "bridge br100 to br200, vlan 100 to 200";
        assert!(entries.iter().any(|e| e.detail == detail), "{entries:?}");
        Ok(())
    });
}

#[test]
fn a_new_gateway_frees_the_old_one_and_is_given_to_no_instance() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        // .0 network, .1 gateway, .2 to .6 for instances.
        let net = w.network("10.0.0.0/29").await;
        let first = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, first).await, ip("10.0.0.2"));
        let gateway = |to: &str| {
            settings(Change {
                gateway: Some(ip(to)),
                ..Change::default()
            })
        };
        assert_refused!(
            w.modify_network(net.id, &gateway("10.0.0.2")).await,
            ControlError::InUse { .. },
            &format!("network 10.0.0.0/29: instance {first} has 10.0.0.2: choose another gateway")
        );
        assert_refused!(
            w.modify_network(net.id, &gateway("10.0.0.7")).await,
            ControlError::Carve(_),
            "gateway"
        );
        let mut moved = gateway("10.0.0.5");
        moved.settings.dns = Some(vec![ip("192.0.2.53")]);
        w.modify_network(net.id, &moved).await?;
        host.round().await;
        assert_eq!(bridge_of(&host, "gateway/1"), "10.0.0.5/29 on br100");
        let dhcp = "br100 by 10.0.0.5 dns [192.0.2.53]";
        assert_eq!(bridge_of(&host, "dhcp/1"), dhcp);
        let start = settings(Change {
            dhcp_start: Some(ip("10.0.0.1")),
            ..Change::default()
        });
        w.modify_network(net.id, &start).await?;
        let mut got = vec![];
        for id in w.run(&web, 4).await {
            got.push(w.fixed_ip(&web, id).await);
        }
        let wanted = ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.6"].map(ip);
        assert_eq!(got, wanted, "all but the gateway, the old one too");
        assert!(refused(w.run_instances(&web, &launch(ImageId(1))).await).contains("no free"));
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn freed_addresses_below_a_raised_dhcp_start_are_not_given_again() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let net = w.network("10.0.0.0/29").await;
        let ids = w.run(&web, 2).await;
        let start = settings(Change {
            dhcp_start: Some(ip("10.0.0.5")),
            ..Change::default()
        });
        w.modify_network(net.id, &start).await?;
        host.round().await;
        w.terminate(&web, &ids).await?;
        host.round().await;
        let mut got = vec![];
        for id in w.run(&web, 2).await {
            got.push(w.fixed_ip(&web, id).await);
        }
        assert_eq!(got, ["10.0.0.5", "10.0.0.6"].map(ip));
        assert!(refused(w.run_instances(&web, &launch(ImageId(1))).await).contains("no free"));
        Ok(())
    });
}

#[test]
fn a_modification_that_would_harm_is_refused_whole() {
    both(async |w: &World| -> Result<()> {
        let (_host, net, web) = vlan_cloud(w).await?;
        let other = Request::new(NetworkKind::Vlan, "other", "10.1.0.0/24".parse()?);
        w.create_networks(&other).await?;
        w.project("mail").await;
        let before = w.networks().await?;
        let change = |change: &dyn Fn(&mut Modify)| {
            let mut modify = Modify::default();
            modify.settings.label = Some("renamed".to_owned());
            change(&mut modify);
            modify
        };
        let third = || Some(vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")]);
        let cases = [
            (
                change(&|m| m.settings.vlan = Some(101)),
                "is already in use by network 2 (other)",
            ),
            (
                change(&|m| m.settings.bridge = "br101".parse().ok()),
                "is the bridge of network 2",
            ),
            (
                change(&|m| m.settings.bridge = "eth0".parse().ok()),
                "is the interface of the flag",
            ),
            (
                change(&|m| m.settings.gateway = Some(ip("10.0.0.2"))),
                "VPN instance",
            ),
            (
                change(&|m| m.settings.dhcp_start = Some(ip("10.0.0.1"))),
                "must be an address from",
            ),
            (change(&|m| m.settings.dns = third()), "at most 2"),
            (
                change(&|m| m.project = Some(Some(name("mail")))),
                "of project web is in it",
            ),
            (
                change(&|m| m.project = Some(None)),
                "of project web is in it",
            ),
            (
                change(&|m| m.project = Some(Some(name("ghost")))),
                "project ghost not found",
            ),
            (
                change(&|m| m.reserve = vec![ip("10.0.0.3")]),
                "fixed IP 10.0.0.3 belongs to instance",
            ),
            (
                change(&|m| m.reserve = vec![ip("10.0.9.3")]),
                "is not in network 10.0.0.0/24",
            ),
            (
                change(&|m| m.unreserve = vec![ip("10.0.0.9")]),
                "is not reserved by hand",
            ),
            (
                change(&|m| m.host = Some("h9".to_owned())),
                "host h9 not found",
            ),
        ];
        for (modify, why) in cases {
            let text = refused(w.modify_network(net.id, &modify).await);
            assert!(text.contains(why), "{text}");
            assert_eq!(w.networks().await?, before, "{why}");
        }
        let reserve = Modify {
            reserve: vec![ip("10.0.0.4"), ip("10.0.0.5")],
            ..Modify::default()
        };
        w.modify_network(net.id, &reserve).await?;
        let next = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, next).await, ip("10.0.0.6"));
        Ok(())
    });
}

#[test]
fn previews_name_the_objects_in_order_and_change_nothing() {
    both(async |w: &World| -> Result<()> {
        let (mut host, net, web) = vlan_cloud(w).await?;
        let clock = w.clock().await?;
        let vlan = settings(Change {
            vlan: Some(200),
            ..Change::default()
        });
        let preview = w.preview_modify(net.id, &vlan).await?;
        assert!(preview.blockers.is_empty());
        let keys: Vec<&str> = preview.steps.iter().map(|s| s.object.as_str()).collect();
        let all = [
            "binding/1/10.0.0.3",
            "dhcp/1",
            "port/1/0",
            "gateway/1",
            "bridge/1",
        ];
        assert_eq!(keys, all);
        let last = preview.steps.last().map(|s| (s.effect, s.what.as_str()));
        let what = "bridge br100, VLAN device vlan100, then bridge br200, VLAN device vlan200";
        assert_eq!(last, Some((Effect::Change, what)));

        let delete = w.preview_delete_network("1").await?;
        let blockers: Vec<&str> = delete.blockers.iter().map(|b| b.object.as_str()).collect();
        assert_eq!(blockers, ["project web", "instance i-00000001"]);
        let removed = |steps: &[novanet_control::preview::Step]| -> Vec<String> {
            let gone = steps.iter().filter(|s| s.effect == Effect::Remove);
            gone.map(|s| s.object.clone()).collect()
        };
        let all = ["dhcp/1", "vpn/127.0.0.1/1000", "gateway/1", "bridge/1"];
        assert_eq!(removed(&delete.steps), all);

        let scrub = w.preview_scrub(&name("web"), false, false).await?;
        assert_eq!(scrub.blockers.len(), 1, "{scrub:?}");
        assert_eq!(removed(&scrub.steps), all);
        let scrub = w.preview_scrub(&name("web"), false, true).await?;
        assert!(scrub.blockers.is_empty());
        let gone = removed(&scrub.steps);
        let at = |key: &str| gone.iter().position(|k| k == key);
        assert!(
            at("instance/1") < at("dhcp/1") && at("dhcp/1") < at("port/1/0"),
            "{gone:?}"
        );
        assert!(
            at("instance/1").is_some() && at("port/1/0") < at("bridge/1"),
            "{gone:?}"
        );

        assert_eq!(host.follow().await.changes, []);
        assert_eq!(
            w.instance(&web, novanet_model::InstanceId(1))
                .await?
                .row
                .project,
            name("web")
        );
        assert_eq!(w.clock().await?, clock, "a preview writes nothing");
        Ok(())
    });
}

#[test]
fn after_a_scrub_nothing_of_a_vlan_network_is_on_its_host_until_a_project_has_it() {
    both(async |w: &World| -> Result<()> {
        let (mut host, _, web) = vlan_cloud(w).await?;
        assert_refused!(
            w.scrub_project(&name("web"), true).await,
            ControlError::InUse { .. },
            "--terminate-instances"
        );
        w.terminate(&web, &[novanet_model::InstanceId(1)]).await?;
        host.round().await;
        w.scrub_project(&name("web"), false).await?;
        host.round().await;
        assert!(host.keys("bridge").is_empty() && host.keys("dhcp").is_empty());
        let mut controllers = Controllers::new("s1");
        for _ in 0..3 {
            controllers.round(w).await?;
            host.hello().await;
            host.round().await;
        }
        assert!(host.keys("bridge").is_empty(), "nothing comes back");
        let mail = w.project("mail").await;
        w.run(&mail, 1).await;
        host.round().await;
        assert_eq!(host.keys("bridge"), ["bridge/1"]);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn the_manuals_sql_moves_a_network_with_its_instances() {
    both(async |w: &World| -> Result<()> {
        let (mut host, _, _) = vlan_cloud(w).await?;
        by_hand(
            w,
            "update networks set vlan=171, bridge='br_171' where id=1",
        )
        .await?;
        Controllers::new("s1").round(w).await?;
        host.round().await;
        assert_eq!(bridge_of(&host, "bridge/1"), "br_171 vlan Some(171)");
        assert_eq!(bridge_of(&host, "port/1/0"), "br_171");
        assert_eq!(bridge_of(&host, "binding/1/10.0.0.3"), "br_171");
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn sql_that_cannot_be_is_named_and_what_was_good_stays() {
    both(async |w: &World| -> Result<()> {
        let (mut host, _, web) = vlan_cloud(w).await?;
        let mut second = Request::new(NetworkKind::Vlan, "two", "10.1.0.0/24".parse()?);
        second.project = Some(name("web"));
        second.bridge_interface = Some("eth7".parse()?);
        w.create_networks(&second).await?;
        host.round().await;
        let before: Vec<String> = ["bridge/1", "bridge/2"].map(|k| bridge_of(&host, k)).into();
        for refused in [
            "update networks set vlan=101 where id=1",
            "update networks set vlan=case id when 1 then 101 else 100 end",
            "update networks set vlan=4095 where id=1",
        ] {
            assert!(by_hand(w, refused).await.is_err(), "{refused}");
        }
        let bad = [
            (
                "update networks set cidr='10.7.0.0/24', gateway='10.7.0.1', \
                 dhcp_start='10.7.0.3' where id=1",
                "instance i-00000001 has 10.0.0.3, outside of it",
                "update networks set cidr='10.0.0.0/24', gateway='10.0.0.1', \
                 dhcp_start='10.0.0.3' where id=1",
            ),
            (
                "update networks set gateway='10.0.0.3', dhcp_start='10.0.0.4' where id=1",
                "is the address of instance i-00000001",
                "update networks set gateway='10.0.0.1', dhcp_start='10.0.0.3' where id=1",
            ),
        ];
        for (edit, why, back) in bad {
            by_hand(w, edit).await?;
            Controllers::new("s1").round(w).await?;
            host.round().await;
            let now: Vec<String> = ["bridge/1", "bridge/2"].map(|k| bridge_of(&host, k)).into();
            assert_eq!(now, before, "{edit}");
            let named = w.bad_rows().await?.join("\n");
            assert!(named.contains(why), "{named}");
            by_hand(w, back).await?;
            Controllers::new("s1").round(w).await?;
            assert!(w.bad_rows().await?.is_empty());
        }
        // Without instances the range moves whole, and the pool with it.
        w.terminate(&web, &[novanet_model::InstanceId(1)]).await?;
        host.round().await;
        by_hand(w, bad[0].0).await?;
        by_hand(w, "update networks set project_id=null where id=2").await?;
        Controllers::new("s1").round(w).await?;
        let id = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, id).await, ip("10.7.0.3"));
        w.assert_planned().await;
        Ok(())
    });
}
