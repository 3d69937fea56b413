//! Floating IPs, and the address of all other traffic to the outside.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_lab::Host;
use novanet_model::HostObject;

fn with_floats() -> Vec<HostObject> {
    let mut objects = two_projects();
    objects.extend([float(13, 3), float(14, 4)]);
    objects
}

fn world(objects: &[HostObject]) -> Result<(World, Agent)> {
    let world = World::new(&[3, 4, 5])?;
    world.route(13)?;
    world.route(14)?;
    let mut agent = world.agent(objects)?;
    agent.converge(&world.cloud)?;
    Ok((world, agent))
}

#[test]
pub(crate) fn a_floating_address_leads_in_and_is_who_the_instance_is_outside() -> Result<()> {
    let (world, _agent) = world(&with_floats())?;
    let (a, c, net) = (world.instance(3), world.instance(5), &world.internet);
    assert_eq!(connects(net, a, public(13), 22)?, Some(OUTSIDE.into()));
    assert_eq!(connects(net, a, public(13), 23)?, None, "no rule");
    assert!(pings(net, public(13))?);
    assert_eq!(connects(a, net, OUTSIDE, 443)?, Some(public(13).into()));
    assert_eq!(
        connects(c, net, OUTSIDE, 443)?,
        Some(PUBLIC.into()),
        "without one"
    );
    Ok(())
}

#[test]
pub(crate) fn dmz_destinations_see_the_fixed_address() -> Result<()> {
    let (world, _agent) = world(&with_floats())?;
    let (a, c, net) = (world.instance(3), world.instance(5), &world.internet);
    let dmz = "198.51.100.1".parse()?;
    net.sh(&format!(
        "ip addr add {dmz}/32 dev eth0 && ip route add 10.0.0.0/24 via {PUBLIC}"
    ))?;
    world
        .cloud
        .sh(&format!("ip route add 198.51.100.0/24 via {OUTSIDE}"))?;
    assert_eq!(connects(a, net, dmz, 443)?, Some(fixed(3).into()));
    assert_eq!(connects(c, net, dmz, 443)?, Some(fixed(5).into()));
    Ok(())
}

#[test]
pub(crate) fn a_network_without_snat_leaves_with_its_own_addresses() -> Result<()> {
    let mut objects = with_floats();
    for object in &mut objects {
        if let HostObject::Gateway(gateway) = object {
            gateway.no_snat = true;
        }
    }
    let (world, mut agent) = world(&objects)?;
    let (a, c, net) = (world.instance(3), world.instance(5), &world.internet);
    let forced = "198.18.0.1".parse()?;
    net.sh(&format!(
        "ip addr add {forced}/32 dev eth0 && ip route add 10.0.0.0/24 via {PUBLIC}"
    ))?;
    world
        .cloud
        .sh(&format!("ip route add 198.18.0.0/24 via {OUTSIDE}"))?;
    assert_eq!(connects(c, net, OUTSIDE, 443)?, Some(fixed(5).into()));
    assert_eq!(
        connects(c, net, forced, 443)?,
        Some(PUBLIC.into()),
        "force_snat_range"
    );
    let own = Some(public(13).into());
    assert_eq!(connects(a, net, OUTSIDE, 443)?, own, "its floating IP");
    assert_eq!(connects(a, a, public(13), 22)?, own, "hairpin");
    // The switch of a running network.
    let failed = agent.set(&world.cloud, &gateway())?;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    assert_eq!(connects(c, net, OUTSIDE, 444)?, Some(PUBLIC.into()));
    let left = agent.differences(&world.cloud)?;
    anyhow::ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
pub(crate) fn floating_addresses_are_reached_from_inside_too() -> Result<()> {
    let (world, _agent) = world(&with_floats())?;
    let (a, b, c, cloud) = (
        world.instance(3),
        world.instance(4),
        world.instance(5),
        &world.cloud,
    );
    assert_eq!(
        connects(a, a, public(13), 22)?,
        Some(public(13).into()),
        "one's own"
    );
    assert_eq!(
        connects(b, a, public(13), 22)?,
        Some(public(14).into()),
        "of the project"
    );
    assert_eq!(
        connects(c, a, public(13), 22)?,
        Some(PUBLIC.into()),
        "another project's, open to everybody"
    );
    assert_eq!(
        connects(c, a, public(13), 23)?,
        None,
        "but not past its rules"
    );
    assert!(
        connects(cloud, a, public(13), 22)?.is_some(),
        "from the host"
    );
    Ok(())
}

/// Flows in the host's table that have to do with an address.
fn flows(cloud: &Host, address: std::net::Ipv4Addr) -> Result<usize> {
    let list = cloud.run(&["conntrack", "-L"])?;
    let needle = format!("={address} ");
    Ok(list
        .stdout
        .lines()
        .filter(|line| line.contains(&needle))
        .count())
}

#[test]
pub(crate) fn a_float_that_goes_ends_its_flows_in_both_directions_and_no_others() -> Result<()> {
    let (world, mut agent) = world(&with_floats())?;
    let (a, b, net, cloud) = (
        world.instance(3),
        world.instance(4),
        &world.internet,
        &world.cloud,
    );
    let mut inward = TcpSession::start(net, a, public(13), 22)?;
    let mut outward = TcpSession::start(a, net, OUTSIDE, 443)?;
    let mut other = TcpSession::start(net, b, public(14), 22)?;
    assert!(inward.goes_on() && outward.goes_on() && other.goes_on());
    assert_eq!(flows(cloud, public(13))?, 2);

    assert!(agent.unset(cloud, &float(13, 3))?.is_empty());
    assert_eq!(flows(cloud, public(13))?, 0);
    assert!(!inward.goes_on());
    assert!(!outward.goes_on());
    assert!(other.goes_on());
    assert_eq!(connects(net, a, public(13), 22)?, None);
    assert_eq!(connects(a, net, OUTSIDE, 444)?, Some(PUBLIC.into()));
    assert!(agent.differences(cloud)?.is_empty());
    Ok(())
}

#[test]
pub(crate) fn a_float_that_moves_leads_to_the_new_instance_at_once() -> Result<()> {
    let (world, mut agent) = world(&with_floats())?;
    let (a, b, net, cloud) = (
        world.instance(3),
        world.instance(4),
        &world.internet,
        &world.cloud,
    );
    let mut old = TcpSession::start(net, a, public(13), 22)?;
    assert!(old.goes_on());
    assert!(agent.unset(cloud, &float(14, 4))?.is_empty());
    assert!(agent.set(cloud, &float(13, 4))?.is_empty());
    assert!(!old.goes_on());
    assert_eq!(connects(net, b, public(13), 22)?, Some(OUTSIDE.into()));
    assert_eq!(connects(b, net, OUTSIDE, 443)?, Some(public(13).into()));
    assert_eq!(connects(a, net, OUTSIDE, 443)?, Some(PUBLIC.into()));
    assert!(agent.differences(cloud)?.is_empty());
    Ok(())
}

#[test]
pub(crate) fn a_flow_older_than_its_float_does_not_go_round_it() -> Result<()> {
    let (world, mut agent) = world(&two_projects())?;
    let (b, net, cloud) = (world.instance(4), &world.internet, &world.cloud);
    let receive = |host: &Host| -> Result<std::net::UdpSocket> {
        let socket = host.exec_in(|| std::net::UdpSocket::bind(("0.0.0.0", 5000)))??;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(150)))?;
        Ok(socket)
    };
    let (at_host, at_instance) = (receive(cloud)?, receive(b)?);
    let sender = net.exec_in(|| std::net::UdpSocket::bind(("0.0.0.0", 4000)))??;
    let mut buffer = [0; 8];

    sender.send_to(b"one", (public(14), 5000))?;
    at_host.recv_from(&mut buffer)?;
    assert!(agent.set(cloud, &float(14, 4))?.is_empty());
    sender.send_to(b"two", (public(14), 5000))?;
    at_instance.recv_from(&mut buffer)?;
    assert!(at_host.recv_from(&mut buffer).is_err());
    Ok(())
}

#[test]
pub(crate) fn many_floats_that_go_at_once_end_their_flows_too() -> Result<()> {
    let (world, mut agent) = world(&with_floats())?;
    let (a, b, net, cloud) = (
        world.instance(3),
        world.instance(4),
        &world.internet,
        &world.cloud,
    );
    let more: Vec<_> = (20..60).map(|n| float(n, n)).collect();
    for object in &more {
        let items = novanet_reconcile::Subsystem::items(&agent.firewall, object);
        agent.desired.set_object(&object.key(), items);
    }
    agent.converge(cloud)?;
    let mut gone = TcpSession::start(net, a, public(13), 22)?;
    let mut stays = TcpSession::start(net, b, public(14), 22)?;
    for object in more.iter().chain([&float(13, 3)]) {
        agent.desired.set_object(&object.key(), Vec::new());
    }
    agent.converge(cloud)?;
    assert_eq!(flows(cloud, public(13))?, 0);
    assert!(!gone.goes_on());
    assert!(stays.goes_on());
    Ok(())
}
