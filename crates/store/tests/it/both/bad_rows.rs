//! Rows that do not validate after an edit by hand: their host objects stay as it was last
//! good, and nothing else suffers.

use super::plan::{a_cloud, kinds};
use super::seed::{
    a_network, allocate, give, insert_instance, insert_network, interface, ip, mac_of, name, place,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::NetworkId;
use novanet_model::plan::CloudSettings;
use novanet_store::instances::State;
use novanet_store::{PlanOwner, instances, interfaces, networks, plan};

both! {
    a_row_that_was_spoiled_keeps_its_last_good_objects_and_hinders_no_other,
    a_row_that_network_create_would_refuse_keeps_its_last_good_objects,
    one_bad_network_hinders_no_other_and_can_be_deleted,
}

async fn a_row_that_was_spoiled_keeps_its_last_good_objects_and_hinders_no_other(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    tx.commit().await?;
    let before = kinds(&t, "gw").await?;
    for sql in [
        "UPDATE networks SET gateway = 'nonsense'",
        "UPDATE floating_ips SET interface = 'eth0/x'",
        "UPDATE security_group_rules SET protocol = 'carrier pigeon'",
    ] {
        t.by_hand(sql).await?;
    }
    let settings = CloudSettings::default();
    let mut tx = t.begin_planned().await?;
    let bad = plan::bad_rows(&mut tx, &settings).await?;
    let rows: Vec<_> = bad
        .iter()
        .map(|(owner, why)| format!("{owner}: {why}"))
        .collect();
    insta::allow_duplicates! { insta::assert_snapshot!(rows.join("\n"), @r#"
        network:1: network 1: gateway "nonsense": invalid IPv4 address syntax
        float:1: floating_ip 1 (203.0.113.1): interface "eth0/x": may have letters, digits, '.', '_', '-' and ':' only, and not start with '-'
        rule:1: security_group_rule 1: protocol "carrier pigeon": must be tcp, udp, icmp or -1 (all)
        "#); }
    let owners = plan::all_owners(&mut tx).await?;
    plan::replan(&mut tx, &settings, owners).await?;
    tx.commit().await?;
    assert_eq!(kinds(&t, "gw").await?, before);

    // A second instance in the group with the spoiled rule, on a host that is new to it.
    let mut tx = t.begin_planned().await?;
    let other = insert_network(&mut tx, a_network("10.0.9.0/24")).await?;
    let instance = insert_instance(&mut tx, &name("web"), &[cloud.group], Some("h2")).await?;
    let (id, address) = allocate(&mut tx, &other).await?.expect("free");
    give(&mut tx, id, interface(instance, &other, 0, mac_of(address))).await?;
    let owners = place(&mut tx, instance, &name("web"), &[cloud.group], "h2").await?;
    assert!(owners.contains(&PlanOwner::Rule(cloud.rule)));
    plan::replan(&mut tx, &settings, owners).await?;
    tx.commit().await?;
    let there = kinds(&t, "h2").await?;
    assert!(
        there.contains(&"instance") && !there.contains(&"rule"),
        "{there:?}"
    );
    Ok(())
}

async fn a_row_that_network_create_would_refuse_keeps_its_last_good_objects(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let mut other = a_network("10.41.0.0/16");
    other.host = Some("gw".to_owned());
    let other = insert_network(&mut tx, other).await?;
    plan::replan(
        &mut tx,
        &CloudSettings::default(),
        [PlanOwner::Network(other.id)],
    )
    .await?;
    tx.commit().await?;
    assert_eq!(cloud.network.id, NetworkId(1));
    let mut said = vec![];
    for (spoil, mend) in [
        ("gateway = '9.9.9.9'", "gateway = '10.0.0.1'"),
        ("gateway = '10.0.0.255'", "gateway = '10.0.0.1'"),
        ("dhcp_start = '10.99.0.1'", "dhcp_start = '10.0.0.2'"),
        ("dhcp_start = '10.0.0.0'", "dhcp_start = '10.0.0.2'"),
        ("cidr = '10.0.0.7/24'", "cidr = '10.0.0.0/24'"),
        ("cidr = '0.0.0.0/0'", "cidr = '10.0.0.0/24'"),
        ("cidr = '127.0.0.0/24'", "cidr = '10.0.0.0/24'"),
        ("cidr = '10.0.0.0/8'", "cidr = '10.0.0.0/24'"),
        (
            "cidr = '10.41.7.0/24', gateway = '10.41.7.1', dhcp_start = '10.41.7.2'",
            "cidr = '10.0.0.0/24', gateway = '10.0.0.1', dhcp_start = '10.0.0.2'",
        ),
        ("dns1 = '0.0.0.0'", "dns1 = NULL"),
        ("mtu = 500", "mtu = NULL"),
    ] {
        let edit = |what| format!("UPDATE networks SET {what} WHERE id = 1");
        edit_by_hand(&t, &edit(spoil)).await?;
        let mut tx = t.begin_planned().await?;
        let settings = CloudSettings::default();
        let bad = plan::bad_rows(&mut tx, &settings).await?;
        // The other one is as it was made: it is not to blame.
        assert_eq!(bad.len(), 1, "{spoil}: {bad:?}");
        assert_eq!(bad[0].0, PlanOwner::Network(NetworkId(1)), "{spoil}");
        said.push(bad[0].1.clone());
        let owners = plan::all_owners(&mut tx).await?;
        assert_eq!(
            plan::replan(&mut tx, &settings, owners).await?,
            0,
            "{spoil}"
        );
        drop(tx);
        edit_by_hand(&t, &edit(mend)).await?;
        let mut tx = t.begin_planned().await?;
        assert_eq!(plan::bad_rows(&mut tx, &settings).await?, [], "{mend}");
    }
    insta::allow_duplicates! { insta::assert_snapshot!(said.join("\n"), @r#"
    network 1: gateway "9.9.9.9": must be an address from 10.0.0.1 to 10.0.0.254 in 10.0.0.0/24
    network 1: gateway "10.0.0.255": must be an address from 10.0.0.1 to 10.0.0.254 in 10.0.0.0/24
    network 1: dhcp_start "10.99.0.1": must be an address from 10.0.0.2 to 10.0.0.254 in 10.0.0.0/24
    network 1: dhcp_start "10.0.0.0": must be an address from 10.0.0.2 to 10.0.0.254 in 10.0.0.0/24
    network 1: cidr "10.0.0.7/24": has host bits set: did you mean 10.0.0.0/24?
    network 1: cidr "0.0.0.0/0": overlaps 0.0.0.0/8 ("this network"): use private addresses, e.g. from 10.0.0.0/8
    network 1: cidr "127.0.0.0/24": overlaps 127.0.0.0/8 (loopback): use private addresses, e.g. from 10.0.0.0/8
    network 1: cidr "10.0.0.0/8": overlaps network 2 (10.41.0.0/16)
    network 1: cidr "10.41.7.0/24": overlaps network 2 (10.41.0.0/16)
    network 1: dns "0.0.0.0": is no server's address
    network 1: mtu "500": must be 576 to 65535
    "#); }
    // Unusual values are obeyed: the manual's own edits.
    edit_by_hand(
        &t,
        "UPDATE networks SET gateway = '10.0.0.7', dhcp_start = '10.0.0.9' WHERE id = 1",
    )
    .await?;
    let mut tx = t.begin_planned().await?;
    let changed = plan::replan(
        &mut tx,
        &CloudSettings::default(),
        [PlanOwner::Network(NetworkId(1))],
    )
    .await?;
    assert_eq!(changed, 2, "gateway and DHCP");
    Ok(())
}

async fn edit_by_hand(t: &Fresh, sql: &str) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

async fn one_bad_network_hinders_no_other_and_can_be_deleted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let other = insert_network(&mut tx, a_network("10.9.0.0/24")).await?;
    networks::set_project(&mut tx, cloud.network.id, &name("web")).await?;
    tx.commit().await?;
    edit_by_hand(
        &t,
        "UPDATE networks SET gateway = 'foo', bridge = '-' WHERE id = 1",
    )
    .await?;
    let mut tx = t.begin_planned().await?;
    assert_eq!(networks::list(&mut tx).await?, std::slice::from_ref(&other));
    let bad = networks::bad(&mut tx).await?;
    let brief = networks::Brief {
        kind: "flatdhcp".to_owned(),
        id: cloud.network.id,
        label: cloud.network.label.clone(),
        cidr: "10.0.0.0/24".to_owned(),
        project: Some("web".to_owned()),
    };
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].brief, brief);
    assert_eq!(
        bad[0].why.to_string(),
        "network 1: gateway \"foo\": invalid IPv4 address syntax"
    );
    let (good, bad) = networks::all(&mut tx).await?;
    assert_eq!((good.len(), bad.len()), (1, 1));
    // Others must not overlook it.
    let all = networks::in_the_way(&mut tx).await?.living;
    assert_eq!(
        all.iter().map(|n| n.cidr).collect::<Vec<_>>(),
        [cloud.network.cidr, other.cidr]
    );
    assert_eq!(
        networks::of_project(&mut tx, &name("web")).await?,
        std::slice::from_ref(&brief)
    );
    assert_eq!(
        networks::find(&mut tx, "10.0.0.0/24").await?,
        Some(brief.clone())
    );
    assert_eq!(networks::find(&mut tx, "1").await?, Some(brief));
    assert_eq!(networks::find(&mut tx, "3").await?, None);
    // Its instances are seen still, and can go.
    let ports = novanet_store::views::ports(&mut tx, None).await?;
    assert_eq!(ports[&cloud.instance][0].address, ip("10.0.0.2"));
    assert_eq!(
        interfaces::ports(&mut tx, cloud.instance).await?,
        ports[&cloud.instance]
    );
    let settings = CloudSettings::default();
    instances::set_state(&mut tx, cloud.instance, State::Deleting, None).await?;
    let gone = plan::replan(&mut tx, &settings, [PlanOwner::Instance(cloud.instance)]).await?;
    assert_eq!(gone, 3, "instance, port and binding");
    networks::set_deleting(&mut tx, cloud.network.id).await?;
    assert_eq!(networks::deleting(&mut tx).await?, [cloud.network.id]);
    assert_eq!(networks::in_the_way(&mut tx).await?.deleting.len(), 1);
    let gone = plan::replan(&mut tx, &settings, [PlanOwner::Network(cloud.network.id)]).await?;
    assert_eq!(gone, 3, "bridge, gateway and DHCP");
    assert_eq!(networks::bad(&mut tx).await?.len(), 0);
    Ok(())
}
