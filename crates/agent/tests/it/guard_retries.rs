//! A failed item is retried as soon as there is a reason, and never all the time.

use crate::engine_support::{bridge, dhcp, gateway};
use novanet_agent::runtime::Engine;
use novanet_reconcile::fake::{FakeHost, FakeLinks};
use novanet_reconcile::{MAX_RETRY_PAUSE, Reconciler, Timing};
use std::time::Duration;
use tokio::time::Instant;

/// A subsystem with one item that failed so often that its retries are rare, and the time of the
/// last try.
async fn hopeless(
    host: &FakeHost,
) -> (
    Reconciler<novanet_reconcile::fake::FakeSubsystem<FakeLinks>>,
    Instant,
) {
    host.fail("links", "bridge/br100", true);
    let mut links = Reconciler::new(host.subsystem::<FakeLinks>());
    links.set_objects(&[bridge(1, "br100")]);
    let mut now = Instant::now();
    links.round(now).await;
    for _ in 0..8 {
        now = links.next_retry().unwrap();
        assert_eq!(links.round(now).await.failed, 1);
    }
    (links, now)
}

#[tokio::test]
async fn what_fails_for_ever_is_tried_every_few_seconds() {
    let (links, tried) = hopeless(&FakeHost::new()).await;
    let wait = links.next_retry().unwrap() - tried;
    assert!(wait <= MAX_RETRY_PAUSE * 12 / 10, "{wait:?}");
    assert!(wait >= MAX_RETRY_PAUSE * 8 / 10, "{wait:?}");
}

#[tokio::test]
async fn a_reason_makes_it_due_soon_but_not_twice_in_a_second() {
    let (mut links, tried) = hopeless(&FakeHost::new()).await;
    links.expedite_retries(tried + Duration::from_millis(10));
    assert_eq!(links.next_retry(), Some(tried + Duration::from_secs(1)));
}

#[tokio::test]
async fn what_waits_long_already_is_due_at_once() {
    let (mut links, tried) = hopeless(&FakeHost::new()).await;
    let late = tried + Duration::from_millis(1500);
    links.expedite_retries(late);
    assert_eq!(links.next_retry(), Some(late));
    assert_eq!(links.round(late).await.failed, 1);
}

#[tokio::test]
async fn what_stood_on_something_that_is_there_again_does_not_wait_for_its_turn() {
    let host = FakeHost::new();
    let (mut links, tried) = hopeless(&host).await;
    links.change(&gateway(1, "br100").key(), Some(&gateway(1, "br100")));
    // The other item succeeds: the failing one is due within a second of its last try.
    let round = links.settle(tried + Duration::from_millis(500)).await;
    assert_eq!((round.applied, round.failed), (1, 0));
    assert_eq!(links.next_retry(), Some(tried + Duration::from_secs(1)));
}

/// An engine on which a subsystem below another had trouble for long, and then has none. The clock
/// is tokio's: a busy machine changes no time.
#[tokio::test(start_paused = true)]
async fn the_worker_above_retries_when_the_fault_below_is_over() {
    let host = FakeHost::new();
    for (subsystem, key) in [("links", "bridge/br100"), ("dhcp", "dhcp/1")] {
        host.fail(subsystem, key, true);
    }
    let (engine, workers) = Engine::new(host.subsystems(), None, &Timing::default());
    tokio::spawn(workers.run());
    let objects = [bridge(1, "br100"), gateway(1, "br100"), dhcp(1, "br100")];
    engine.merge(crate::engine_support::list(1, &objects));
    tokio::time::sleep(Duration::from_secs(4)).await; // the trouble lasts
    for (subsystem, key) in [("links", "bridge/br100"), ("dhcp", "dhcp/1")] {
        host.fail(subsystem, key, false);
    }
    host.change_externally("links");
    let began = Instant::now();
    crate::engine_support::no_error(&engine).await;
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
}
