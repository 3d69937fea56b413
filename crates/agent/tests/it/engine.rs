//! The engine with its four workers over a fake host.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list, no_error, reached, running, start, started};
use novanet_agent::runtime::{Engine, NewsResult};
use novanet_model::HostObject;
use novanet_reconcile::Timing;
use novanet_reconcile::fake::FakeHost;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn things_are_made_upwards_and_removed_downwards() {
    let host = FakeHost::new();
    let engine = started(&host, &[]).await;
    let mut objects = cloud::small_cloud();
    // Floating IPs have an order of their own (engine_float.rs).
    objects.retain(|object| !matches!(object, HostObject::FloatingIp(_)));
    engine.merge(delta(2, &objects, &[]));
    reached(&engine, 2).await;
    let made = host.actions();
    let subsystem = |action: &String| action.split(' ').next().unwrap().to_owned();
    let mut subsystems: Vec<_> = made[1..].iter().map(subsystem).collect();
    subsystems.dedup();
    assert_eq!(
        subsystems,
        ["links", "firewall", "dhcp", "instances"],
        "{made:#?}"
    );

    let gone: Vec<_> = objects.iter().collect();
    assert_eq!(engine.merge(delta(3, &[], &gone)), NewsResult::Merged);
    reached(&engine, 3).await;
    let removed = &host.actions()[made.len()..];
    let mut subsystems: Vec<_> = removed.iter().map(subsystem).collect();
    subsystems.dedup();
    let last = &subsystems[subsystems.len() - 4..];
    assert_eq!(
        last,
        ["instances", "dhcp", "firewall", "links"],
        "{removed:#?}"
    );
    assert_eq!(
        host.items().len(),
        1,
        "the firewall's base stays: {:?}",
        host.items()
    );
}

#[tokio::test(start_paused = true)]
async fn what_came_and_went_before_the_host_heard_of_it_is_reported_at_once() {
    let host = FakeHost::new();
    let engine = started(&host, &[]).await;
    let news = engine.news();
    // Notifications so far are not the one that the test waits for.
    while tokio::time::timeout(Duration::from_secs(5), news.notified())
        .await
        .is_ok()
    {}
    engine.merge(delta(2, &[], &[&cloud::float(1, 1)]));
    let told = tokio::time::timeout(Duration::from_secs(1), news.notified()).await;
    assert!(told.is_ok(), "nobody says that version 2 is in force");
    assert_eq!(engine.status().version, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_instance_delays_no_floating_ip() {
    let host = FakeHost::new();
    let engine = started(&host, &[]).await;
    host.slow("instances", Duration::from_secs(5));
    engine.merge(delta(2, &[cloud::instance(1, 0)], &[]));
    let before = tokio::time::Instant::now();
    engine.merge(delta(3, &[cloud::float(1, 1)], &[]));
    eventually("the floating IP", || {
        let items = host.items();
        items.get("firewall float/203.0.0.1").cloned().ok_or(items)
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
    let (host, engine) = running().await;
    host.slow("instances", Duration::from_secs(5));
    let gone = [
        &cloud::instance(1, 0),
        &cloud::port(1, "br100", 1),
        &cloud::rule(1, 1, 22),
    ];
    engine.merge(delta(2, &[], &gone));
    eventually("the rule's end", || {
        let items = host.items();
        let there = items.contains_key("firewall rule/sg-00000001/1");
        if there { Err(items) } else { Ok(()) }
    })
    .await;
    assert!(
        host.items().contains_key("links port/nv1"),
        "its cable waits for the instance"
    );
    reached(&engine, 2).await;
    assert!(!host.items().contains_key("links port/nv1"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_before_the_first_list() {
    let host = FakeHost::new();
    host.put("links", "bridge/br100", "mtu None");
    let engine = start(&host);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(host.items().len(), 1);
    assert_eq!(host.observations("links"), 0);
    engine.merge(list(1, &[]));
    reached(&engine, 1).await;
    assert!(!host.items().contains_key("links bridge/br100"));
}

#[tokio::test(start_paused = true)]
async fn a_disturbance_is_repaired_within_a_fifth_of_a_second() {
    let (host, _engine) = running().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = host.items();
    host.take_away("firewall", "base");
    host.put("firewall", "rule/sg-00000001/1", "open to all");
    host.change_externally("firewall");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(host.items(), before);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_tells_of_is_repaired_within_five_seconds() {
    let (host, _engine) = running().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = host.items();
    host.take_away("links", "bridge/br100");
    host.put("dhcp", "server/br9", "left over");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(host.items(), before);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_host_is_not_observed_all_the_time() {
    let (host, _engine) = running().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let seen = host.observations("firewall");
    assert!((12..=30).contains(&seen), "{seen} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_is_reported_under_the_object_that_went() {
    let (host, engine) = running().await;
    host.fail("links", "bridge/br100", true);
    engine.merge(delta(2, &[], &[&cloud::bridge(1, "br100")]));
    reached(&engine, 2).await;
    let message = "links bridge/br100: bridge/br100: No space left on device (os error 28)";
    assert_eq!(
        cloud::errors(&engine),
        [("bridge/1".to_owned(), message.to_owned())]
    );
    host.fail("links", "bridge/br100", false);
    no_error(&engine).await;
    assert!(!host.items().contains_key("links bridge/br100"));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_thing_in_the_way_is_an_error_of_its_object_and_stays() {
    let host = FakeHost::new();
    host.occupy("links", "port/nv1");
    let objects = [cloud::port(1, "br100", 1), cloud::float(1, 1)];
    let engine = started(&host, &objects).await;
    let message = "links port/nv1: port/nv1 is taken by something foreign";
    assert_eq!(
        cloud::errors(&engine),
        [("port/1/0".to_owned(), message.to_owned())]
    );
    assert!(host.items().contains_key("links route/203.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn a_subsystem_that_cannot_be_observed_is_reported_and_delays_no_other() {
    let host = FakeHost::new();
    host.fail_observing("links", true);
    let engine = started(&host, &[cloud::float(1, 1)]).await;
    assert!(host.items().contains_key("firewall float/203.0.0.1"));
    let message = "links: cannot be observed: the fake kernel does not answer";
    assert_eq!(
        cloud::errors(&engine),
        [("host/links".to_owned(), message.to_owned())]
    );
    host.fail_observing("links", false);
    eventually("the route", || {
        let items = host.items();
        let there = items.contains_key("links route/203.0.0.1");
        if there { Ok(()) } else { Err(items) }
    })
    .await;
    assert!(cloud::errors(&engine).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plan_names_what_somebody_changed_before_it_is_repaired() {
    let (host, engine) = running().await;
    assert_eq!(
        engine.plan(true).await.unwrap(),
        "links\n  nothing differs\nfirewall\n  nothing differs\n\
         dhcp\n  nothing differs\ninstances\n  nothing differs\n"
    );
    host.take_away("links", "bridge/br100");
    host.put("firewall", "float/203.0.0.1", "10.6.6.6");
    host.put("dhcp", "server/br9", "left over");
    insta::assert_snapshot!("plan_diff", engine.plan(true).await.unwrap());
    insta::assert_snapshot!("plan", engine.plan(false).await.unwrap());
}

/// Runs an engine from one list to the next; `false` if it was killed on the way.
async fn live(host: &FakeHost, lists: [&[HostObject]; 2], kill: Option<usize>) -> bool {
    let (engine, workers) = Engine::new(host.subsystems(), None, &Timing::default());
    let workers = tokio::spawn(workers.run());
    engine.merge(list(1, lists[0]));
    reached(&engine, 1).await;
    if let Some(actions) = kill {
        host.kill_after(actions);
    }
    engine.merge(list(2, lists[1]));
    let alive = tokio::select! {
        biased;
        () = host.killed() => false,
        () = reached(&engine, 2) => true,
    };
    workers.abort();
    alive
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_action_of_any_subsystem_the_next_agent_ends_in_the_same_state() {
    let before = cloud::small_cloud();
    let after = [
        cloud::bridge(1, "br101"),
        cloud::gateway(1, "br101"),
        cloud::dhcp(1, "br101"),
        cloud::binding(2, "br101"),
        cloud::port(2, "br101", 1),
        cloud::instance(2, 0),
        cloud::group(1),
        cloud::rule(1, 1, 80),
        cloud::float(1, 4),
    ];
    let whole = FakeHost::new();
    assert!(live(&whole, [&before, &after], None).await);
    let mut kills = 0;
    loop {
        let host = FakeHost::new();
        let alive = live(&host, [&before, &after], Some(kills)).await;
        if alive {
            break;
        }
        assert!(live(&host, [&after, &after], None).await);
        assert_eq!(host.items(), whole.items(), "killed after {kills} actions");
        kills += 1;
    }
    assert!(kills >= 20, "only {kills} actions");
}
