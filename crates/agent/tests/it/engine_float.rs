//! Floating IPs and the firewall: the host answers for one only while the firewall knows it, and
//! that costs the hot path nothing.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list, reached};
use novanet_agent::runtime::Engine;
use novanet_reconcile::Timing;
use novanet_reconcile::fake::FakeHost;
use std::time::Duration;
use tokio::time::Instant;

const ROUTE: &str = "links route/203.0.0.1";
const RULE: &str = "firewall float/203.0.0.1";

fn start(host: &FakeHost) -> Engine {
    start_with(host, &Timing::default())
}

fn start_with(host: &FakeHost, timing: &Timing) -> Engine {
    let (engine, workers) = Engine::new(host.subsystems(), None, timing);
    tokio::spawn(workers.run());
    engine
}

fn has(host: &FakeHost, name: &str) -> bool {
    host.items().contains_key(name)
}

async fn comes(host: &FakeHost, name: &str) {
    eventually(name, || {
        let items = host.items();
        items.contains_key(name).then_some(()).ok_or(items)
    })
    .await;
}

async fn quiet(host: &FakeHost) -> Engine {
    let engine = start(host);
    engine.merge(list(1, &[cloud::bridge(1, "br100")]));
    reached(&engine, 1).await;
    engine
}

#[tokio::test(start_paused = true)]
async fn a_float_is_answered_after_the_firewall_knows_it_and_forgotten_before() {
    let host = FakeHost::new();
    let engine = quiet(&host).await;
    engine.merge(delta(2, &[cloud::float(1, 1)], &[]));
    reached(&engine, 2).await;
    engine.merge(delta(3, &[], &[&cloud::float(1, 1)]));
    reached(&engine, 3).await;
    let actions = host.actions();
    assert_eq!(
        actions[actions.len() - 4..],
        [
            "firewall put float/203.0.0.1",
            "links put route/203.0.0.1",
            "links remove route/203.0.0.1",
            "firewall remove float/203.0.0.1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_busy_firewall_is_no_error_and_nothing_is_observed_for_it() {
    let host = FakeHost::new();
    let seldom = Timing {
        interval: Duration::from_hours(1),
        verify: Duration::from_hours(1),
        ..Timing::default()
    };
    let engine = start_with(&host, &seldom);
    engine.merge(list(1, &[cloud::bridge(1, "br100")]));
    reached(&engine, 1).await;
    let looks = host.observations("links");
    host.slow("firewall", Duration::from_millis(300));
    let began = Instant::now();
    engine.merge(delta(
        2,
        &[cloud::float(1, 1), cloud::bridge(2, "br101")],
        &[],
    ));
    comes(&host, "links bridge/br101").await;
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "not behind it"
    );
    while !has(&host, ROUTE) {
        let status = engine.status();
        assert_eq!((status.version, status.errors), (1, Vec::new()));
        assert!(began.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(has(&host, RULE));
    assert!(began.elapsed() < Duration::from_millis(320));
    reached(&engine, 2).await;
    assert_eq!(cloud::errors(&engine), []);
    // Once, for the new bridge's name, which a foreign device might have.
    assert_eq!(host.observations("links"), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn a_float_that_the_firewall_cannot_have_is_not_answered_and_says_why() {
    let host = FakeHost::new();
    let engine = quiet(&host).await;
    host.fail("firewall", "float/203.0.0.1", true);
    engine.merge(delta(2, &[cloud::float(1, 1), cloud::float(2, 2)], &[]));
    reached(&engine, 2).await;
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert!(!has(&host, ROUTE));
    assert!(has(&host, "links route/203.0.0.2"), "the other one is");
    let errors = cloud::errors(&engine);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0]
            .1
            .contains("links route/203.0.0.1: waits for the firewall: "),
        "{errors:?}"
    );
    host.fail("firewall", "float/203.0.0.1", false);
    tokio::time::sleep(Duration::from_secs(40)).await; // the longest pause between two tries
    comes(&host, ROUTE).await;
    eventually("no error", || {
        let errors = cloud::errors(&engine);
        errors.is_empty().then_some(()).ok_or(errors)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_already_stays_whatever_the_firewall_does_at_a_start() {
    let host = FakeHost::new();
    let objects = [cloud::bridge(1, "br100"), cloud::float(1, 1)];
    let first = start(&host);
    first.merge(list(1, &objects));
    reached(&first, 1).await;
    first.stop();
    let before = host.actions().len();
    host.fail("firewall", "base", true);
    host.take_away("firewall", "base");
    let engine = start(&host);
    let mut more = objects.to_vec();
    more.push(cloud::float(2, 2));
    engine.merge(list(1, &more));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(has(&host, ROUTE));
    assert!(!has(&host, "links route/203.0.0.2"));
    let since = host.actions().split_off(before);
    assert_eq!(since, ["firewall put float/203.0.0.2"]);
    host.fail("firewall", "base", false);
    tokio::time::sleep(Duration::from_secs(40)).await;
    comes(&host, "links route/203.0.0.2").await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_waits_for_the_links_word_without_an_error_and_goes_with_it() {
    let host = FakeHost::new();
    let engine = quiet(&host).await;
    engine.merge(delta(2, &[cloud::float(1, 1)], &[]));
    reached(&engine, 2).await;
    host.keep_while(
        ("firewall", "float/203.0.0.1"),
        ("links", "route/203.0.0.1"),
    );
    // Longer than the firewall waits for the order of things.
    let stall = Timing::default().order_limit + Duration::from_millis(800);
    host.slow("links", stall);
    let began = Instant::now();
    engine.merge(delta(3, &[], &[&cloud::float(1, 1)]));
    while has(&host, RULE) {
        let status = engine.status();
        assert_eq!((status.version, status.errors), (2, Vec::new()));
        assert!(began.elapsed() < stall + Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= stall);
    assert!(!has(&host, ROUTE));
    reached(&engine, 3).await;
    assert_eq!(cloud::errors(&engine), []);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_the_links_cannot_do_without_says_so_and_goes_when_they_can() {
    let host = FakeHost::new();
    let engine = quiet(&host).await;
    engine.merge(delta(2, &[cloud::float(1, 1)], &[]));
    reached(&engine, 2).await;
    host.keep_while(
        ("firewall", "float/203.0.0.1"),
        ("links", "route/203.0.0.1"),
    );
    host.fail("links", "route/203.0.0.1", true);
    engine.merge(delta(3, &[], &[&cloud::float(1, 1)]));
    eventually("the version, with both reasons", || {
        let status = engine.status();
        let text = format!("{:?}", status.errors);
        let both = text.contains("links route/") && text.contains("is still needed");
        (status.version == 3 && both).then_some(()).ok_or(text)
    })
    .await;
    host.fail("links", "route/203.0.0.1", false);
    eventually("no error", || {
        let errors = cloud::errors(&engine);
        errors.is_empty().then_some(()).ok_or(errors)
    })
    .await;
    assert!(!has(&host, RULE));
}
