//! What holds for every state of a host and every sequence of changes, shown on fake subsystems.

use novanet_model::{HostObject, ObjectKey};
use novanet_reconcile::fake::objects as cloud;
use novanet_reconcile::fake::{FakeFirewall, FakeHost, FakeKey, FakeLinks, FakeSubsystem, Subject};
use novanet_reconcile::{Blocked, Reconciler};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::future::Future;
use tokio::time::Instant;

/// Objects of few keys with few values, so that sequences collide.
fn object() -> impl Strategy<Value = HostObject> {
    prop_oneof![
        (1..4_i64, 1..3_u8).prop_map(|(n, b)| cloud::bridge(n, &format!("br{b}"))),
        (1..4_i64, 1..3_u8).prop_map(|(n, b)| cloud::gateway(n, &format!("br{b}"))),
        (1..5_u32, 1..4_u32).prop_map(|(n, fixed)| cloud::float(n, fixed)),
        (1..4_i64, 1..3_u8, 1..3_i64).prop_map(|(n, b, c)| cloud::port(n, &format!("br{b}"), c)),
        (1..3_i64, 1..4_i64, 1..3_u16).prop_map(|(g, r, p)| cloud::rule(g, r, p)),
        (1..3_i64, 1..4_u32).prop_map(|(g, n)| cloud::member(g, n)),
        (1..3_i64).prop_map(cloud::group),
        (1..4_u32).prop_map(cloud::project_address),
    ]
}

fn objects() -> impl Strategy<Value = Vec<HostObject>> {
    prop::collection::vec(object(), 0..12).prop_map(|objects| {
        let by_key: BTreeMap<_, _> = objects.into_iter().map(|o| (o.key(), o)).collect();
        by_key.into_values().collect()
    })
}

/// One step of a life: an object comes or changes, or goes.
fn step() -> impl Strategy<Value = (HostObject, bool)> {
    (object(), prop::bool::weighted(0.7))
}

/// The remains of an earlier agent, or of a foreign program, in a subsystem.
fn remains<S: Subject>() -> impl Strategy<Value = Vec<(String, String)>> {
    let items = object().prop_map(|object| S::items(&object));
    let value = prop_oneof![Just(None), Just(Some("else".to_owned()))];
    prop::collection::vec((items, value), 0..8).prop_map(|left| {
        let left = left.into_iter().flat_map(|(items, value)| {
            let items = items.into_iter();
            items.map(move |(key, own)| (key, value.clone().unwrap_or(own)))
        });
        left.collect()
    })
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// What must be in the subsystem, as the fake kernel would list it.
fn wanted<S: Subject>(reconciler: &Reconciler<FakeSubsystem<S>>) -> BTreeMap<String, String> {
    let items = reconciler.desired().iter();
    items
        .map(|(FakeKey(key), value)| (format!("{} {key}", S::NAME), value.clone()))
        .collect()
}

fn check_any_state<S: Subject>(
    objects: &[HostObject],
    left: &[(String, String)],
) -> Result<(), TestCaseError> {
    let host = FakeHost::new();
    for (key, value) in left {
        host.put(S::NAME, key, value);
    }
    let mut reconciler = Reconciler::new(host.subsystem::<S>());
    reconciler.set_objects(objects);
    let first = run(reconciler.settle(Instant::now()));
    prop_assert_eq!(first.failed, 0);
    prop_assert_eq!(host.items(), wanted(&reconciler));
    let actions = host.actions().len();
    let second = run(reconciler.round(Instant::now()));
    prop_assert!(second.observed && second.is_quiet());
    prop_assert_eq!(host.actions().len(), actions);
    Ok(())
}

fn check_incremental<S: Subject>(
    start: &[HostObject],
    steps: &[(HostObject, bool)],
) -> Result<(), TestCaseError> {
    let host = FakeHost::new();
    let mut reconciler = Reconciler::new(host.subsystem::<S>());
    reconciler.set_objects(start);
    run(reconciler.settle(Instant::now()));
    let mut all: BTreeMap<ObjectKey, HostObject> =
        start.iter().map(|o| (o.key(), o.clone())).collect();
    for (object, there) in steps {
        if *there {
            all.insert(object.key(), object.clone());
        } else {
            all.remove(&object.key());
        }
        reconciler.change(&object.key(), there.then_some(object));
        let round = run(reconciler.settle(Instant::now()));
        prop_assert!(!round.observed, "the hot path does not observe");
    }
    let fresh = FakeHost::new();
    let mut scratch = Reconciler::new(fresh.subsystem::<S>());
    scratch.set_objects(all.values());
    run(scratch.settle(Instant::now()));
    prop_assert_eq!(host.items(), fresh.items());
    prop_assert_eq!(wanted(&reconciler), wanted(&scratch));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn from_any_state_one_round_ends_in_the_plan_and_the_second_does_nothing(
        objects in objects(),
        links in remains::<FakeLinks>(),
        firewall in remains::<FakeFirewall>(),
    ) {
        check_any_state::<FakeLinks>(&objects, &links)?;
        check_any_state::<FakeFirewall>(&objects, &firewall)?;
    }

    #[test]
    fn changes_one_by_one_end_where_a_whole_list_ends(
        start in objects(),
        steps in prop::collection::vec(step(), 0..20),
    ) {
        check_incremental::<FakeLinks>(&start, &steps)?;
        check_incremental::<FakeFirewall>(&start, &steps)?;
    }

    #[test]
    fn killed_after_any_action_the_next_agent_ends_in_the_same_state(
        before in objects(),
        after in objects(),
    ) {
        check_kills::<FakeFirewall>(&before, &after)?;
        check_kills::<FakeLinks>(&before, &after)?;
    }

    #[test]
    fn what_an_object_claims_is_on_the_host_or_held_for_a_reason(
        objects in objects(),
        obstacles in obstacles(),
    ) {
        check_reasons::<FakeLinks>(&objects, &obstacles)?;
        check_reasons::<FakeFirewall>(&objects, &obstacles)?;
    }

    #[test]
    fn what_fails_blocks_nothing_else_and_comes_right_when_it_can(
        objects in objects(),
        pick in any::<prop::sample::Index>(),
    ) {
        check_failure::<FakeFirewall>(&objects, pick)?;
    }
}

/// What may stand in the way of a host's objects.
#[derive(Debug, Clone)]
struct Obstacles {
    /// Bridges whose names foreign devices have.
    foreign: Vec<u8>,
    /// An item that fails.
    fails: prop::sample::Index,
    /// An object that the firewall does not protect yet, and whether the firewall is only busy.
    blocked: (prop::sample::Index, bool),
}

fn obstacles() -> impl Strategy<Value = Obstacles> {
    let index = any::<prop::sample::Index>;
    let foreign = prop::collection::vec(1..3_u8, 0..2);
    (foreign, index(), (index(), any::<bool>())).prop_map(|(foreign, fails, blocked)| Obstacles {
        foreign,
        fails,
        blocked,
    })
}

fn check_reasons<S: Subject>(
    objects: &[HostObject],
    obstacles: &Obstacles,
) -> Result<(), TestCaseError> {
    let host = FakeHost::new();
    for bridge in &obstacles.foreign {
        host.occupy("links", &format!("bridge/br{bridge}"));
    }
    let mut reconciler = Reconciler::new(host.subsystem::<S>());
    reconciler.set_objects(objects);
    let claims = |object: &HostObject| S::items(object);
    let keys: Vec<_> = objects
        .iter()
        .flat_map(claims)
        .map(|(key, _)| key)
        .collect();
    if !keys.is_empty() {
        let bad: &String = obstacles.fails.get(&keys);
        host.fail(S::NAME, bad, true);
    }
    if !objects.is_empty() {
        let blocked = obstacles.blocked.0.get(objects).key();
        let why = if obstacles.blocked.1 {
            Blocked::Busy
        } else {
            Blocked::Refused("no firewall".to_owned())
        };
        reconciler.block(BTreeMap::from([(blocked, why)]));
    }
    run(reconciler.settle(Instant::now()));
    let items = host.items();
    for object in objects {
        for (key, value) in claims(object) {
            let on_host = items.get(&format!("{} {key}", S::NAME)) == Some(&value);
            let desired = reconciler.desired().get(&FakeKey(key.clone()));
            let shared = desired.is_some_and(|winner| *winner != value);
            let reason = reconciler.hold_reason(&FakeKey(key.clone()), &object.key());
            // The fake subsystems know no conflicts: an object can live with another's value.
            prop_assert!(
                on_host || reason.is_some() || shared,
                "{key} of {:?} is neither there nor held",
                object.key()
            );
        }
    }
    Ok(())
}

fn check_kills<S: Subject>(
    before: &[HostObject],
    after: &[HostObject],
) -> Result<(), TestCaseError> {
    for kill in 0.. {
        let host = FakeHost::new();
        let mut first = Reconciler::new(host.subsystem::<S>());
        first.set_objects(before);
        run(first.settle(Instant::now()));
        first.set_objects(after);
        host.kill_after(kill);
        let died = run(async {
            tokio::select! {
                biased;
                _ = first.settle(Instant::now()) => false,
                () = host.killed() => true,
            }
        });
        drop(first);
        let mut second = Reconciler::new(host.subsystem::<S>());
        second.set_objects(after);
        if died {
            run(second.settle(Instant::now()));
        }
        prop_assert_eq!(
            host.items(),
            wanted(&second),
            "killed after {} actions",
            kill
        );
        if !died {
            break;
        }
    }
    Ok(())
}

fn check_failure<S: Subject>(
    objects: &[HostObject],
    pick: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let host = FakeHost::new();
    let mut reconciler = Reconciler::new(host.subsystem::<S>());
    reconciler.set_objects(objects);
    let all = wanted(&reconciler);
    let keys: Vec<_> = reconciler
        .desired()
        .iter()
        .map(|(k, _)| k.0.clone())
        .collect();
    let bad = pick.get(&keys);
    host.fail(S::NAME, bad, true);
    let start = Instant::now();
    let round = run(reconciler.settle(start));
    prop_assert_eq!(round.failed, 1);
    let mut others = all.clone();
    others.remove(&format!("{} {bad}", S::NAME));
    prop_assert_eq!(host.items(), others);
    let text: Vec<_> = reconciler.errors().into_values().collect();
    prop_assert!(!text.is_empty() && text.iter().all(|text| text.contains(bad.as_str())));
    let again = run(reconciler.round(start));
    prop_assert!(again.is_quiet(), "it waits before it tries again");
    host.fail(S::NAME, bad, false);
    let due = reconciler.next_retry().unwrap();
    run(reconciler.round(due));
    prop_assert_eq!(host.items(), all);
    prop_assert!(reconciler.errors().is_empty());
    Ok(())
}
