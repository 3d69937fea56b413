//! Instances in a network that their host cannot have wait, report why, and block no other
//! instance.

use super::gate::{World, run};
use super::parts::{instance, port};
use crate::engine_support::{bridge, delta, eventually, list};
use novanet_model::object::{Instance, Port};
use novanet_model::wire::{InstanceReport, InstanceState};
use novanet_model::{HostObject, IfName, InstanceId, NetworkId};

const TAKEN: &str = "bridge br100 of network 1: the name is taken by somebody's bridge, which is left alone: \
     remove it (ifconfig br100 down; brctl delbr br100), give it to novanet (nova-manage host adopt br100), \
     or give the network another bridge (nova-manage network modify 1 --bridge=NAME)";

/// An instance with its port in this network.
fn in_network(number: i64, network: i64, bridge: &str, boot: i64) -> [HostObject; 2] {
    [
        HostObject::Instance(Instance {
            boot,
            ..instance(number)
        }),
        HostObject::Port(Port {
            network: NetworkId(network),
            bridge: IfName::new(bridge).unwrap(),
            ..port(number, 0)
        }),
    ]
}

/// Two networks, and an instance in each.
fn two_networks() -> Vec<HostObject> {
    let mut objects = vec![bridge(1, "br100"), bridge(2, "br200")];
    objects.extend(in_network(1, 1, "br100", 1));
    objects.extend(in_network(2, 2, "br200", 1));
    objects
}

/// The last report of an instance.
fn last(world: &mut World, number: i64) -> Option<InstanceReport> {
    while let Ok(report) = world.reports.try_recv() {
        world.seen.push(report);
    }
    let mut seen = world.seen.iter().rev();
    seen.find(|r| r.instance == InstanceId(number)).cloned()
}

async fn until(world: &mut World, number: i64, state: InstanceState, detail: Option<&str>) {
    eventually("the report", || match last(world, number) {
        Some(r) if r.state == state && r.detail.as_deref() == detail => Ok(()),
        other => Err(other),
    })
    .await;
}

#[test]
fn an_instance_whose_network_is_refused_reports_why_and_the_others_boot() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.machine.add_permits(9);
        world.host.occupy("links", "bridge/br100");
        world.engine.merge(list(1, &two_networks()));
        until(&mut world, 2, InstanceState::Running, None).await;
        until(&mut world, 1, InstanceState::Pending, Some(TAKEN)).await;
        // One more comes later, and is removed before it was ever made.
        let third = in_network(3, 1, "br100", 1);
        world.engine.merge(delta(2, &third, &[]));
        until(&mut world, 3, InstanceState::Pending, Some(TAKEN)).await;
        world
            .engine
            .merge(delta(3, &[], &third.iter().collect::<Vec<_>>()));
        until(&mut world, 3, InstanceState::Gone, None).await;

        world.host.vacate("links", "bridge/br100");
        world.host.change_externally("links");
        until(&mut world, 1, InstanceState::Running, None).await;
        let words = |r: &&InstanceReport| r.instance == InstanceId(1);
        let said: Vec<_> = world.seen.iter().filter(words).collect();
        assert_eq!(said.len(), 3, "it waited, booted and ran: {said:?}");
    });
}

#[test]
fn a_waiting_instance_does_not_keep_the_groups_of_earlier_ones() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.machine.add_permits(1);
        world.host.occupy("links", "bridge/br100");
        world.engine.merge(list(1, &two_networks()));
        until(&mut world, 2, InstanceState::Running, None).await;
        until(&mut world, 1, InstanceState::Pending, Some(TAKEN)).await;
        let second = in_network(2, 2, "br200", 1);
        let gone = second.iter().collect::<Vec<_>>();
        world.engine.merge(delta(2, &[], &gone));
        until(&mut world, 2, InstanceState::Gone, None).await;
        world.until("sweep", 1).await;
    });
}

#[test]
fn a_running_instance_reports_no_refused_network_until_its_next_boot() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.machine.add_permits(9);
        world.engine.merge(list(1, &two_networks()));
        for number in [1, 2] {
            until(&mut world, number, InstanceState::Running, None).await;
        }
        world.host.take_away("links", "bridge/br100");
        world.host.occupy("links", "bridge/br100");
        world.host.change_externally("links");
        eventually("the refusal", || {
            let errors = crate::engine_support::errors(&world.engine);
            let there = errors.iter().any(|(_, message)| message == TAKEN);
            there.then_some(()).ok_or(errors)
        })
        .await;
        let count = last(&mut world, 1).map(|_| world.seen.len());
        world
            .engine
            .merge(delta(2, &in_network(1, 1, "br100", 2), &[]));
        until(&mut world, 1, InstanceState::Pending, Some(TAKEN)).await;
        assert_eq!(Some(world.seen.len() - 1), count, "{:?}", world.seen);
        world.host.vacate("links", "bridge/br100");
        world.host.change_externally("links");
        until(&mut world, 1, InstanceState::Running, None).await;
        assert_eq!(last(&mut world, 1).map(|r| r.boot), Some(2));
    });
}

#[test]
fn an_instance_that_the_firewall_does_not_protect_reports_so() {
    run(async |mut world| {
        world.image.add_permits(1);
        world.machine.add_permits(9);
        world.host.fail("firewall", "base", true);
        world.engine.merge(list(1, &two_networks()));
        let why = "waits for the firewall: base: base: No space left on device (os error 28)";
        until(&mut world, 1, InstanceState::Pending, Some(why)).await;
        world.mend_firewall();
        until(&mut world, 1, InstanceState::Running, None).await;
    });
}
