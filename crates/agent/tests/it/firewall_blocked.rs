//! A host that is itself a machine in a cloud: that cloud's services recognise the host by its
//! address, and NAT would lend it to instances. So instances do not reach those services.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
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
