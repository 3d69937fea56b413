//! Instances and the firewall: none without the other, neither at a start nor at a cleanup.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list, no_error, reached, running, start, started};
use novanet_agent::runtime::{Answers, Console};
use novanet_model::InstanceId;
use novanet_model::wire::{Answer, Question};
use novanet_reconcile::fake::FakeHost;
use std::sync::Arc;
use std::time::Duration;

fn has(host: &FakeHost, name: &str) -> bool {
    host.items().contains_key(name)
}

const INSTANCE: &str = "instances instance/i-00000001";

async fn runs(host: &FakeHost) {
    eventually("the instance", || {
        if has(host, INSTANCE) {
            Ok(())
        } else {
            Err(host.items())
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_waits_for_a_firewall_that_fails_however_long_it_takes() {
    for item in ["base", "guard/nv1", "combination/1"] {
        let host = FakeHost::new();
        host.fail("firewall", item, true);
        let engine = start(&host);
        engine.merge(list(1, &cloud::small_cloud()));
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert!(!has(&host, INSTANCE), "{item}: {:?}", host.items());
        let said = cloud::errors(&engine);
        let waits = said.iter().find(|(key, _)| key.starts_with("instance/"));
        let (_, message) = waits.unwrap_or_else(|| panic!("{item}: {said:?}"));
        assert!(message.contains("waits for the firewall: "), "{message}");
        assert!(message.contains(item), "{message}");

        host.fail("firewall", item, false);
        tokio::time::sleep(Duration::from_secs(40)).await; // the longest pause between two tries
        runs(&host).await;
        no_error(&engine).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_waits_for_a_slow_or_unobservable_firewall_and_comes_at_once_after_it() {
    let host = FakeHost::new();
    host.fail_observing("firewall", true);
    let engine = start(&host);
    engine.merge(list(1, &cloud::small_cloud()));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!has(&host, INSTANCE), "{:?}", host.items());
    let looks = host.observations("firewall");
    assert!((4..=90).contains(&looks), "{looks} times in a minute");
    host.fail_observing("firewall", false);
    host.slow("firewall", Duration::from_secs(1));
    runs(&host).await;
    let actions = host.actions();
    let place = |name: &str| actions.iter().position(|action| action.contains(name));
    assert!(place("firewall put guard/nv1") < place("instances put instance"));
}

#[tokio::test(start_paused = true)]
async fn a_running_instance_goes_on_while_the_firewall_fails_and_can_still_be_removed() {
    let (host, first) = running().await;
    first.stop();
    host.fail("firewall", "base", true);
    host.take_away("firewall", "base");
    let before = host.actions().len();
    let engine = start(&host);
    engine.merge(list(1, &cloud::small_cloud()));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(has(&host, INSTANCE));
    assert_eq!(host.actions().len(), before, "{:?}", host.actions());
    engine.merge(delta(2, &[], &[&cloud::instance(1, 0)]));
    reached(&engine, 2).await;
    assert!(!has(&host, INSTANCE));
}

#[tokio::test(start_paused = true)]
async fn a_working_firewall_delays_no_instance() {
    let host = FakeHost::new();
    let engine = started(&host, &[]).await;
    let before = tokio::time::Instant::now();
    for version in 2..30 {
        engine.merge(delta(version, &[cloud::group(version)], &[]));
    }
    engine.merge(delta(30, &cloud::small_cloud(), &[]));
    runs(&host).await;
    assert!(before.elapsed() < Duration::from_millis(50));
    reached(&engine, 30).await;
    assert!(cloud::errors(&engine).is_empty());
}

struct NoConsole;

impl Console for NoConsole {
    fn read(&self, _: InstanceId) -> Option<std::io::Result<String>> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_that_cannot_end_an_instance_says_so_and_leaves_its_firewall() {
    let (host, engine) = running().await;
    let before = host.items();
    host.fail("instances", "instance/i-00000001", true);
    let answers = Answers::new(engine, Arc::new(NoConsole));
    let cleanup = Question::Cleanup {
        dry_run: false,
        force: true,
    };
    let Answer::Failed { message } = answers.answer(&cleanup).await else {
        panic!("a cleanup that left an instance was a success");
    };
    assert!(message.contains("i-00000001"), "{message}");
    assert!(message.contains("stay as they are"), "{message}");
    let lower = |host: &FakeHost| {
        let items = host.items().into_iter();
        let lower = items.filter(|(name, _)| !name.starts_with("instances"));
        lower.collect::<Vec<_>>()
    };
    let rest: Vec<_> = before
        .into_iter()
        .filter(|(name, _)| !name.starts_with("instances"))
        .collect();
    assert_eq!(lower(&host), rest);

    host.fail("instances", "instance/i-00000001", false);
    let answer = answers.answer(&cleanup).await;
    assert!(matches!(answer, Answer::Text { .. }), "{answer:?}");
    assert!(host.items().is_empty(), "{:?}", host.items());
}
