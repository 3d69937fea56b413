//! A host that is itself a machine in a cloud: that cloud's services recognise the host by its
//! address, and NAT would lend it to instances. So instances do not reach those services.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_model::rule::Traffic;
use std::net::Ipv4Addr;

#[test]
pub(crate) fn instances_reach_no_service_of_a_cloud_that_their_host_is_in() -> Result<()> {
    let world = World::new(&[3])?;
    let (cloud, outside, a) = (&world.cloud, &world.internet, world.instance(3));
    cloud.sh(&format!("ip route add default via {OUTSIDE}"))?;
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    let services = [
        "169.254.169.253",
        "169.254.170.2",
        "169.254.0.1",
        "168.63.129.16",
        "100.100.100.200",
    ];
    let others = ["168.63.129.17", "100.100.100.1", "169.253.255.255"];
    for address in services.iter().chain(&others) {
        outside.sh(&format!("ip addr add {address}/32 dev lo"))?;
        let to: Ipv4Addr = address.parse()?;
        let reached = connects(a, outside, to, 80)?.is_some();
        assert_eq!(
            reached,
            others.contains(address),
            "{address} from an instance"
        );
        assert!(connects(cloud, outside, to, 80)?.is_some(), "{address}");
        let datagram = arrives(a, outside, to, 53)?.is_some();
        assert_eq!(datagram, others.contains(address), "{address} by UDP");
    }
    Ok(())
}

#[test]
pub(crate) fn a_provider_rule_drops_before_everything_and_ends_with_its_removal() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, net) = (world.instance(3), world.instance(4), &world.internet);
    world.route(13)?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    let mut agent = world.agent(&objects)?;
    agent.converge(&world.cloud)?;
    let mut session = TcpSession::start(net, a, public(13), 22)?;
    assert!(session.goes_on());
    let outside = format!("{OUTSIDE}/32");
    let ssh = block(1, tcp(22, 22), &outside);
    let failed = agent.set(&world.cloud, &ssh)?;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    assert!(!session.goes_on(), "an established flow too");
    assert_eq!(connects(net, a, public(13), 22)?, None);
    assert!(pings(net, public(13))?, "other traffic from there");
    assert!(
        connects(b, a, fixed(3), 22)?.is_some(),
        "ssh from elsewhere"
    );
    let failed = agent.set(&world.cloud, &block(2, Traffic::Any, "10.0.0.4/32"))?;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    assert_eq!(connects(b, a, fixed(3), 22)?, None, "of an instance");
    let left = agent.differences(&world.cloud)?;
    anyhow::ensure!(left.is_empty(), "{left:?}");

    // A restarted agent recognises its rules, and their removal lets pass again.
    objects.extend([ssh.clone(), block(2, Traffic::Any, "10.0.0.4/32")]);
    let mut agent = world.agent(&objects)?;
    let left = agent.differences(&world.cloud)?;
    anyhow::ensure!(left.is_empty(), "{left:?}");
    let failed = agent.unset(&world.cloud, &ssh)?;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    assert_eq!(connects(net, a, public(13), 22)?, Some(OUTSIDE.into()));
    assert_eq!(connects(b, a, fixed(3), 22)?, None, "the other one stays");
    Ok(())
}
