//! The engine with its four lanes over a fake host.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list, reached};
use novanet_agent::engine::{Engine, Takes, Timing};
use novanet_agent::fake::FakeHost;
use std::time::Duration;

fn start(host: &FakeHost) -> Engine {
    let (engine, lanes) = Engine::new(host.rooms(), None, &Timing::default());
    tokio::spawn(lanes.run());
    engine
}

#[tokio::test(start_paused = true)]
async fn things_are_made_upwards_and_removed_downwards() {
    let host = FakeHost::new();
    let engine = start(&host);
    engine.take(list(1, &[]));
    reached(&engine, 1).await;
    let objects = cloud::small_cloud();
    engine.take(delta(2, &objects, &[]));
    reached(&engine, 2).await;
    let made = host.actions();
    let room = |action: &String| action.split(' ').next().unwrap().to_owned();
    let mut rooms: Vec<_> = made[1..].iter().map(room).collect();
    rooms.dedup();
    assert_eq!(
        rooms,
        ["links", "firewall", "dhcp", "instances"],
        "{made:#?}"
    );

    let gone: Vec<_> = objects.iter().collect();
    assert_eq!(engine.take(delta(3, &[], &gone)), Takes::Taken);
    reached(&engine, 3).await;
    let removed = &host.actions()[made.len()..];
    let mut rooms: Vec<_> = removed.iter().map(room).collect();
    rooms.dedup();
    let last = &rooms[rooms.len() - 4..];
    assert_eq!(
        last,
        ["instances", "dhcp", "firewall", "links"],
        "{removed:#?}"
    );
    assert_eq!(
        host.things().len(),
        1,
        "the firewall's base stays: {:?}",
        host.things()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_instance_delays_no_floating_ip() {
    let host = FakeHost::new();
    let engine = start(&host);
    engine.take(list(1, &[]));
    reached(&engine, 1).await;
    host.slow("instances", Duration::from_secs(5));
    engine.take(delta(2, &[cloud::instance(1, 0)], &[]));
    let before = tokio::time::Instant::now();
    engine.take(delta(3, &[cloud::float(1, 1)], &[]));
    eventually("the floating IP", || {
        let things = host.things();
        things
            .get("firewall float/203.0.0.1")
            .cloned()
            .ok_or(things)
    })
    .await;
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(
        engine.status().version,
        1,
        "the instance is still being made"
    );
    reached(&engine, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_rule_does_not_wait_for_an_instance_that_is_stopped() {
    let host = FakeHost::new();
    let engine = start(&host);
    engine.take(list(1, &cloud::small_cloud()));
    reached(&engine, 1).await;
    host.slow("instances", Duration::from_secs(5));
    let gone = [
        &cloud::instance(1, 0),
        &cloud::port(1, "br100", 1),
        &cloud::rule(1, 1, 22),
    ];
    engine.take(delta(2, &[], &gone));
    eventually("the rule's end", || {
        let things = host.things();
        let there = things.contains_key("firewall rule/sg-00000001/1");
        if there { Err(things) } else { Ok(()) }
    })
    .await;
    assert!(
        host.things().contains_key("links port/nv1"),
        "its cable waits for the instance"
    );
    reached(&engine, 2).await;
    assert!(!host.things().contains_key("links port/nv1"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_before_the_first_list() {
    let host = FakeHost::new();
    host.put("links", "bridge/br100", "mtu None");
    let engine = start(&host);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.things().len(), 1);
    assert_eq!(host.observations("links"), 0);
    engine.take(list(1, &[]));
    reached(&engine, 1).await;
    assert!(!host.things().contains_key("links bridge/br100"));
}
