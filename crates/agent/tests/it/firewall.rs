//! What may pass and what may not, by real packets.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_model::GroupId;
use novanet_model::rule::{Source, Traffic};

#[test]
pub(crate) fn groups_allow_what_their_rules_say_and_deny_the_rest() -> Result<()> {
    let world = World::new(&[3, 4, 5])?;
    let (a, b, c) = (world.instance(3), world.instance(4), world.instance(5));
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;

    assert_eq!(connects(b, a, fixed(3), 9000)?, Some(fixed(4).into()));
    assert!(pings(a, fixed(4))?, "members may talk");
    assert_eq!(
        connects(c, a, fixed(3), 22)?,
        None,
        "0.0.0.0/0 is not another project"
    );
    assert!(!pings(c, fixed(3))?, "0.0.0.0/0 is not another project");
    assert_eq!(
        connects(b, c, fixed(5), 3306)?,
        Some(fixed(4).into()),
        "a source group's member"
    );
    assert_eq!(
        connects(a, c, fixed(5), 3306)?,
        None,
        "not in the source group"
    );
    assert_eq!(connects(b, c, fixed(5), 3307)?, None, "not that port");
    assert_eq!(arrives(c, b, fixed(4), 5000)?, None, "another project");
    Ok(())
}

#[test]
pub(crate) fn the_internet_reaches_what_is_open_to_everybody_and_nothing_else() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, net) = (world.instance(3), world.instance(4), &world.internet);
    net.sh(&format!("ip route add 10.0.0.0/24 via {PUBLIC}"))?;
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;

    assert_eq!(connects(net, a, fixed(3), 22)?, Some(OUTSIDE.into()));
    assert_eq!(connects(net, a, fixed(3), 23)?, None);
    assert_eq!(connects(net, b, fixed(4), 8050)?, Some(OUTSIDE.into()));
    assert_eq!(
        connects(net, a, fixed(3), 8050)?,
        None,
        "3 is not in group 2"
    );
    assert_eq!(arrives(net, b, fixed(4), 5000)?, Some(OUTSIDE.into()));
    assert_eq!(arrives(net, b, fixed(4), 5001)?, None);
    assert!(pings(net, fixed(3))?);
    Ok(())
}

#[test]
pub(crate) fn a_rule_comes_and_goes_while_others_stay_and_its_flows_end_with_it() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net) = (world.instance(3), &world.internet);
    net.sh(&format!("ip route add 10.0.0.0/24 via {PUBLIC}"))?;
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    let web = rule(20, 1, tcp(80, 80), anywhere());

    assert_eq!(connects(net, a, fixed(3), 80)?, None);
    let failed = agent.set(&world.cloud, &web)?;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(agent.differences(&world.cloud)?.is_empty());
    assert_eq!(connects(net, a, fixed(3), 80)?, Some(OUTSIDE.into()));

    let mut web_flow = TcpSession::start(net, a, fixed(3), 80)?;
    let mut ssh_flow = TcpSession::start(net, a, fixed(3), 22)?;
    let mut outgoing = TcpSession::start(a, net, OUTSIDE, 443)?;
    assert!(web_flow.goes_on() && ssh_flow.goes_on() && outgoing.goes_on());
    let failed = agent.unset(&world.cloud, &web)?;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(agent.differences(&world.cloud)?.is_empty());
    assert!(!web_flow.goes_on(), "a revoked rule's flow");
    assert!(ssh_flow.goes_on(), "another rule's flow");
    assert!(outgoing.goes_on(), "a flow of the instance's own");
    assert_eq!(connects(net, a, fixed(3), 80)?, None);
    Ok(())
}

#[test]
pub(crate) fn joining_and_leaving_a_source_group_is_enough() -> Result<()> {
    let world = World::new(&[3, 5])?;
    let (a, c) = (world.instance(3), world.instance(5));
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;

    assert_eq!(connects(a, c, fixed(5), 3306)?, None);
    assert!(agent.set(&world.cloud, &member(2, 3))?.is_empty());
    assert_eq!(connects(a, c, fixed(5), 3306)?, Some(fixed(3).into()));
    let mut flow = TcpSession::start(a, c, fixed(5), 3306)?;
    assert!(flow.goes_on());
    assert!(agent.unset(&world.cloud, &member(2, 3))?.is_empty());
    assert!(!flow.goes_on(), "only the membership allowed it");
    assert_eq!(connects(a, c, fixed(5), 3306)?, None);
    assert!(agent.differences(&world.cloud)?.is_empty());
    Ok(())
}

#[test]
pub(crate) fn an_instance_changes_its_groups() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net) = (world.instance(3), &world.internet);
    net.sh(&format!("ip route add 10.0.0.0/24 via {PUBLIC}"))?;
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;

    assert_eq!(connects(net, a, fixed(3), 8000)?, None);
    assert!(agent.set(&world.cloud, &port(3, 2, &[1, 2]))?.is_empty());
    assert_eq!(connects(net, a, fixed(3), 8000)?, Some(OUTSIDE.into()));
    let mut left = TcpSession::start(net, a, fixed(3), 22)?;
    let mut kept = TcpSession::start(net, a, fixed(3), 8001)?;
    assert!(left.goes_on() && kept.goes_on());
    assert!(agent.set(&world.cloud, &port(3, 7, &[2]))?.is_empty());
    assert!(
        !left.goes_on(),
        "a flow by a rule of the group that it left"
    );
    assert!(kept.goes_on());
    assert_eq!(connects(net, a, fixed(3), 22)?, None, "left group 1");
    assert_eq!(connects(net, a, fixed(3), 8000)?, Some(OUTSIDE.into()));
    assert!(agent.differences(&world.cloud)?.is_empty());
    Ok(())
}

#[test]
pub(crate) fn a_port_without_its_object_is_cut_off_and_one_with_it_is_default_deny() -> Result<()> {
    let world = World::new(&[3, 6])?;
    let (a, late, cloud) = (world.instance(3), world.instance(6), &world.cloud);
    assert!(
        pings(late, GATEWAY)? && pings(cloud, fixed(6))?,
        "the cables are laid"
    );
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    assert!(!pings(late, GATEWAY)?);
    assert!(!pings(cloud, fixed(6))?);
    assert!(!pings(a, fixed(6))?);

    assert!(agent.set(cloud, &port(6, 9, &[]))?.is_empty());
    assert!(pings(late, GATEWAY)?, "everything out");
    assert!(!pings(a, fixed(6))?, "nothing in");
    assert_eq!(connects(a, late, fixed(6), 22)?, None, "nothing in");
    assert!(agent.unset(cloud, &port(6, 9, &[]))?.is_empty());
    assert!(!pings(late, GATEWAY)?);
    assert!(agent.differences(cloud)?.is_empty());
    Ok(())
}

#[test]
pub(crate) fn new_tcp_must_be_a_syn_or_a_cut_flow_would_open_again() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net) = (world.instance(3), &world.internet);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    let mut flow = TcpSession::start(a, net, OUTSIDE, 443)?;
    assert!(flow.goes_on());
    world.cloud.run(&["conntrack", "-F"])?;
    assert!(!flow.goes_on());
    Ok(())
}

#[test]
pub(crate) fn the_host_offers_instances_dhcp_dns_metadata_and_nothing_else() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, cloud) = (world.instance(3), &world.cloud);
    assert!(
        connects(a, cloud, GATEWAY, 22)?.is_some(),
        "open without rules"
    );
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;

    assert!(connects(a, cloud, GATEWAY, 53)?.is_some(), "DNS by TCP");
    assert!(arrives(a, cloud, GATEWAY, 53)?.is_some(), "DNS by UDP");
    assert!(pings(a, GATEWAY)?);
    let metadata = "169.254.169.254".parse()?;
    let seen = connects_through(a, (metadata, 80), cloud, METADATA_PORT)?;
    assert_eq!(seen, Some(fixed(3).into()), "metadata");

    assert_eq!(connects(a, cloud, GATEWAY, 22)?, None);
    assert_eq!(arrives(a, cloud, GATEWAY, 69)?, None);
    assert_eq!(connects(a, cloud, PUBLIC, 22)?, None, "by another address");
    assert_eq!(
        connects(a, cloud, PUBLIC, 53)?,
        None,
        "DNS is the gateway's"
    );
    assert_eq!(
        connects(a, cloud, GATEWAY, METADATA_PORT)?,
        None,
        "not past the redirect"
    );
    assert!(
        connects(&world.internet, cloud, PUBLIC, 22)?.is_some(),
        "the operator's ssh"
    );
    assert!(
        connects(cloud, a, fixed(3), 4711)?.is_some(),
        "the host reaches its instances"
    );
    Ok(())
}

#[test]
pub(crate) fn a_foreign_machine_on_our_bridge_is_none_of_our_business() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, cloud) = (world.instance(3), &world.cloud);
    let foreign = world.foreign("fo0", fixed(200))?;
    let other = world.foreign("fo1", fixed(201))?;
    let mut agent = world.agent(&two_projects())?;
    let mut flow = TcpSession::start(&foreign, &other, fixed(201), 5432)?;
    agent.converge(cloud)?;

    assert!(connects(&foreign, cloud, GATEWAY, 22)?.is_some());
    assert!(connects(&foreign, &other, fixed(201), 22)?.is_some());
    assert!(flow.goes_on(), "a flow from before the rules");
    assert!(
        connects(a, &foreign, fixed(200), 22)?.is_some(),
        "everything out"
    );
    assert_eq!(
        connects(&foreign, a, fixed(3), 22)?,
        None,
        "an address of our network that is no project's"
    );
    Ok(())
}

#[test]
pub(crate) fn a_group_that_is_not_known_yet_lets_no_private_address_in() -> Result<()> {
    let world = World::new(&[3, 5])?;
    let (a, c) = (world.instance(3), world.instance(5));
    let objects = [
        gateway(),
        port(3, 1, &[1]),
        port(5, 3, &[3]),
        rule(1, 1, Traffic::Any, anywhere()),
        rule(2, 3, Traffic::Any, Source::Group(GroupId(1))),
        member(1, 3),
    ];
    let mut agent = world.agent(&objects)?;
    agent.converge(&world.cloud)?;
    assert_eq!(connects(c, a, fixed(3), 22)?, None);
    assert_eq!(connects(a, c, fixed(5), 22)?, Some(fixed(3).into()));
    Ok(())
}
