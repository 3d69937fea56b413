//! What `firewall explain` says, against real packets: each sender, receiver and traffic, with
//! several sets of rules.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::{Result, ensure};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::wire::{Packet, PacketEnd};
use novanet_model::{GroupId, HostObject, InstanceId};
use std::net::Ipv4Addr;

const TCP: [u16; 3] = [22, 3306, 8000];

/// Rules that turn up beside those of the two projects, one set after another.
fn further_rules() -> Vec<Vec<HostObject>> {
    let net = |text: &str| Source::Cidr(text.parse().unwrap());
    vec![
        Vec::new(),
        vec![
            rule(20, 3, tcp(22, 8000), Source::Group(GroupId(1))),
            rule(21, 2, tcp(3306, 3306), net("10.0.0.4/32")),
            block(1, tcp(22, 22), "10.0.0.4/32"),
        ],
    ]
}

#[test]
pub(crate) fn an_explanation_agrees_with_what_real_packets_find() -> Result<()> {
    let world = World::new(&[3, 4, 5])?;
    world.route(13)?;
    let mut seen = std::collections::BTreeSet::new();
    for more in further_rules() {
        let mut objects = two_projects();
        objects.push(float(13, 3));
        objects.extend(more);
        let mut agent = world.agent(&objects)?;
        agent.converge(&world.cloud)?;
        for from in [3, 4, 5, 0] {
            for to in [3, 4, 5, 13] {
                let private = to != 13;
                // The internet has no route to a private address.
                if from == to || from == 0 && private {
                    continue;
                }
                for port in TCP {
                    let passes = check(&world, &agent, (from, to), port)?;
                    seen.insert((passes, private));
                }
            }
        }
    }
    ensure!(
        seen.len() == 4,
        "allowed and denied, by both addresses: {seen:?}"
    );
    Ok(())
}

fn check(world: &World, agent: &Agent, (from, to): (u8, u8), port: u16) -> Result<bool> {
    let (sender, sent_by) = match from {
        0 => (&world.internet, PacketEnd::Address(OUTSIDE)),
        number => (
            world.instance(number),
            PacketEnd::Instance(InstanceId(number.into())),
        ),
    };
    let (receiver, address): (_, Ipv4Addr) = match to {
        13 => (world.instance(3), public(13)),
        number => (world.instance(number), fixed(number)),
    };
    let packet = Packet {
        from: sent_by,
        to: PacketEnd::Address(address),
        traffic: Traffic::Tcp(Ports {
            from: port,
            to: port,
        }),
    };
    let said = agent.firewall.explain(packet, &agent.desired)?;
    let passes = connects(sender, receiver, address, port)?.is_some();
    ensure!(
        said.allowed == passes,
        "{packet:?}: {said:?}, and it passes: {passes}"
    );
    ensure!(passes || said.code.is_some(), "{said:?}");
    Ok(passes)
}
