//! Under any calls of concurrent clients, the host objects are the plan of all rows, and every
//! follower has them.

mod acts;

use acts::{Act, BASE, act, attempt, is_fault};

use crate::fake_host::FakeHost;
use crate::world::{World, both, caller, from_group, group, launch, name, runtime, tcp};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::instances::{InstanceState, Launch};
use novanet_model::ImageId;
use novanet_store::Engine;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;

/// A host that follows and reports until it is told to stop.
async fn live(mut host: FakeHost, stop: tokio::sync::watch::Receiver<bool>) -> FakeHost {
    while !*stop.borrow() {
        host.round().await;
        tokio::task::yield_now().await;
    }
    host
}

async fn all_at_once(w: &World, clients: Vec<Vec<Act>>) -> Result<()> {
    w.image().await;
    // The third comes and goes.
    for project in ["web", "mail", "temp"] {
        w.project(project).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut hosts = tokio::task::JoinSet::new();
    for host in ["h1", "h2", "h3", "h4"] {
        let host = w.host(host).await;
        hosts.spawn(live(host, stopped.clone()));
    }
    w.network(BASE).await;
    w.floats("203.0.113.0/29").await;
    // Half of the clients are another process.
    let again = w.again().await;
    let mut work = tokio::task::JoinSet::new();
    for (number, acts) in clients.into_iter().enumerate() {
        let cloud = if number % 2 == 0 {
            w.cloud.clone()
        } else {
            again.clone()
        };
        let project = ["web", "web", "mail", "temp"][number % 4];
        let caller = caller(&format!("boss-of-{project}"), project, true);
        work.spawn(async move {
            for act in acts {
                match attempt(&cloud, &caller, &act).await {
                    Err(error) if is_fault(&error) => panic!("{act:?}: {error:?}"),
                    _ => {}
                }
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done?;
    }
    stop.send(true)?;
    let mut hosts = hosts.join_all().await;
    let mut controllers = novanet_control::Controllers::new("s1");
    // They plan the rows that were edited by hand; a use case plans its rows in its own
    // transaction.
    controllers.round(w).await?;
    w.assert_planned().await;
    // Two rounds: deletions end with the first.
    for _ in 0..2 {
        for host in &mut hosts {
            host.round().await;
        }
    }
    controllers.round(w).await?;
    for host in &mut hosts {
        host.round().await;
        host.assert_up_to_date().await;
    }
    w.assert_planned().await;
    let repaired = |action: &String| action == "db.repair";
    assert!(
        !w.actions().await.iter().any(repaired),
        "a use case forgot something"
    );
    no_address_is_lost_or_shared(w).await
}

async fn no_address_is_lost_or_shared(w: &World) -> Result<()> {
    let mut owned = BTreeSet::new();
    let mut living = 0;
    for view in w.all_instances().await? {
        assert_ne!(
            view.row.state,
            InstanceState::Deleting,
            "nobody has it any more"
        );
        for port in &view.ports {
            assert!(
                owned.insert(port.address),
                "{} has two owners",
                port.address
            );
        }
        living += view.ports.len();
    }
    let used = w.fixed_ips(None).await?;
    assert_eq!(used.iter().filter(|f| f.instance.is_some()).count(), living);
    // Everything that is neither owned nor reserved can be had, from the network's dhcp_start to
    // the address before its broadcast, but for its gateway: an instance gets an address in every
    // shared network.
    let web = caller("boss-of-web", "web", true);
    let mut left = i64::MAX;
    for network in w.networks().await? {
        if network.project.is_some() {
            continue;
        }
        let taken: BTreeSet<_> = used
            .iter()
            .filter(|f| f.network == network.id && (f.instance.is_some() || f.reserved))
            .map(|f| f.address)
            .collect();
        let free = network
            .cidr
            .hosts()
            .filter(|ip| *ip >= network.dhcp_start && *ip != network.gateway && !taken.contains(ip))
            .count();
        left = left.min(i64::try_from(free)?);
    }
    if left > 0 {
        let rest = Launch {
            min: left,
            max: left,
            ..launch(ImageId(1))
        };
        w.run_instances(&web, &rest).await?;
    }
    let more = w.run_instances(&web, &launch(ImageId(1))).await;
    assert!(matches!(more, Err(ControlError::Exhausted { .. })));
    Ok(())
}

#[test]
fn objects_are_the_plan_and_followers_have_them_after_eight_clients_at_once() {
    let runtime = runtime();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let config = Config {
            cases: 4,
            // A case that failed once need not fail again: the clients race.
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let clients = prop::collection::vec(prop::collection::vec(act(), 16), 8);
        TestRunner::new(config)
            .run(&clients, |clients| {
                runtime.block_on(async {
                    let world = World::on(engine, |_| {}).await.unwrap();
                    let done = all_at_once(&world, clients);
                    let bound = std::time::Duration::from_mins(5);
                    tokio::time::timeout(bound, done)
                        .await
                        .expect("it took five minutes")
                        .unwrap();
                });
                Ok(())
            })
            .unwrap_or_else(|failed| panic!("{engine:?}: {failed}"));
    }
}

/// The write-skew pair: a member comes into a group while a rule with that group as source comes
/// into another. Each would plan without the other, and a host would never let the member in.
#[test]
fn a_member_and_a_rule_that_come_at_the_same_time_know_of_each_other() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.create_group(&web, "front", "d").await?;
        let back = w.create_group(&web, "back", "d").await?;
        let of = |name: &str| Launch {
            groups: vec![group(name)],
            ..launch(ImageId(1))
        };
        w.run_instances(&web, &of("back")).await?;
        let again = w.again().await;
        for round in 0..15_u16 {
            let (cloud, web2, wanted) = (again.clone(), web.clone(), of("front"));
            let member =
                tokio::spawn(async move { cloud.run_instances(&web2, &wanted).await.unwrap().0 });
            let (cloud, web2) = (w.cloud.clone(), web.clone());
            let rule = [(tcp(1000 + round), from_group("front"))];
            let one_more = rule.clone();
            let authorized = tokio::spawn(async move {
                cloud
                    .authorize(&web2, &group("back"), &one_more)
                    .await
                    .unwrap();
            });
            let ids = member.await?;
            authorized.await?;
            host.round().await;
            let address = w.fixed_ip(&web, ids[0]).await;
            // `front` has no rule of its own: its member is here because of the rule of `back`.
            let front = w.instance(&web, ids[0]).await?.groups[0].id;
            assert!(
                host.has(&format!("member/{}/{address}", front.0)),
                "round {round}"
            );
            let of_back = format!("rule/{}/", back.0);
            let rules = host.keys("rule");
            assert_eq!(rules.iter().filter(|k| k.starts_with(&of_back)).count(), 1);
            w.assert_planned().await;
            let into = group("back");
            let (gone, revoked) =
                tokio::join!(again.terminate(&web, &ids), w.revoke(&web, &into, &rule));
            gone?;
            revoked?;
            host.round().await;
            assert!(
                host.keys("member")
                    .iter()
                    .all(|k| !k.contains(&address.to_string()))
            );
        }
        w.assert_planned().await;
        assert_eq!(name("web"), web.project);
        Ok(())
    });
}
