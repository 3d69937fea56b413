//! The operator decides about an older copy of the database: what the host has is adopted or
//! dropped.

use crate::fake_host::FakeHost;
use crate::world::{World, from, group, refused, runtime, tcp};
use anyhow::Result;
use novanet_control::Caller;
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_model::wire::{Change, Objects};
use novanet_model::{HostObject, InstanceId, ObjectKey};
use novanet_store::Engine;
use std::collections::BTreeMap;

/// Runs a promise on both engines.
fn both(promise: impl AsyncFn(World) -> Result<()>) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        runtime().block_on(async {
            let world = World::on(engine, |_| {}).await.unwrap();
            let kept = promise(world).await;
            kept.unwrap_or_else(|error| panic!("{engine:?}: {error:?}"));
        });
    }
}

/// What a host has, as its ledger says it.
fn held(host: &FakeHost) -> Objects {
    let change = |(key, (version, object)): (&ObjectKey, &(i64, HostObject))| Change {
        key: key.clone(),
        version: *version,
        object: Some(object.clone()),
    };
    Objects {
        epoch: host.epoch.clone(),
        version: host.version,
        whole: true,
        changes: host.objects.iter().map(change).collect(),
        ..Objects::default()
    }
}

/// The objects, without the number of a combination of groups, which is the database's own.
fn plain(host: &FakeHost) -> BTreeMap<ObjectKey, HostObject> {
    let plain = |(key, (_, object)): (&ObjectKey, &(i64, HostObject))| {
        let mut object = object.clone();
        if let HostObject::Port(port) = &mut object {
            port.combination.0 = 0;
        }
        (key.clone(), object)
    };
    host.objects.iter().map(plain).collect()
}

/// Two instances, a rule, a floating IP to the first.
async fn early(w: &World) -> Result<(Caller, FakeHost, FloatingIpRef)> {
    w.image().await;
    let web = w.project("web").await;
    let mut host = w.host("h1").await;
    w.network("10.0.0.0/24").await;
    w.floats("203.0.113.0/29").await;
    let ids = w.run(&web, 2).await;
    let default = group("default");
    w.authorize(&web, &default, &[(tcp(22), from("0.0.0.0/0"))])
        .await?;
    let float = FloatingIpRef::Address(w.allocate_address(&web, None).await?.address);
    w.associate_address(&web, float, &Association::to(ids[0]))
        .await?;
    host.round().await;
    Ok((web, host, float))
}

/// What happens after the copy was made: one more instance, one less, one rebooted, another rule,
/// the floating IP elsewhere.
async fn later(w: &World, web: &Caller, host: &mut FakeHost, float: FloatingIpRef) -> Result<()> {
    host.follow_in(&w.cloud);
    let third = w.run(web, 1).await[0];
    w.terminate(web, &[InstanceId(2)]).await?;
    w.reboot(web, &[InstanceId(1)]).await?;
    let default = group("default");
    w.authorize(web, &default, &[(tcp(80), from("0.0.0.0/0"))])
        .await?;
    w.revoke(web, &default, &[(tcp(22), from("0.0.0.0/0"))])
        .await?;
    let moved = Association {
        may_move: true,
        ..Association::to(third)
    };
    w.associate_address(web, float, &moved).await?;
    host.round().await;
    host.round().await;
    Ok(())
}

#[test]
fn an_adopted_copy_plans_what_the_host_has_and_nothing_else() {
    both(async |w| {
        let (web, mut host, float) = early(&w).await?;
        let (w, copy) = w.copy().await?;
        later(&w, &web, &mut host, float).await?;
        let before = plain(&host);
        let old = host.epoch.clone();
        let done = copy.adopt_restored("h1", &held(&host)).await?;
        let done = done.join("\n");
        for line in [
            "i-00000002: terminated",
            "i-00000003: adopted in project web with 10.0.0.4",
            "rule 3 of sg-00000001: adopted",
            "rule 2 of sg-00000001: revoked",
            "leads to i-00000003 10.0.0.4",
        ] {
            assert!(done.contains(line), "{line} is not in:\n{done}");
        }
        copy.assert_planned().await;
        host.follow_in(&copy.cloud);
        let list = host.follow().await;
        assert!(list.whole && list.accepts.contains(&old), "{list:?}");
        assert_eq!(plain(&host), before);
        host.report().await;
        // The next instance is a new one.
        assert_eq!(copy.run(&web, 1).await, [InstanceId(4)]);
        host.round().await;
        host.assert_up_to_date().await;
        Ok(())
    });
}

#[test]
fn a_copy_that_is_right_takes_the_host_over_and_gives_none_of_its_numbers_again() {
    both(async |w| {
        let (web, mut host, float) = early(&w).await?;
        let (w, copy) = w.copy().await?;
        later(&w, &web, &mut host, float).await?;
        let old = host.epoch.clone();
        copy.drop_restored("h1", &held(&host)).await?;
        host.follow_in(&copy.cloud);
        let list = host.follow().await;
        assert!(list.whole && list.accepts.contains(&old), "{list:?}");
        assert_ne!(host.epoch, old, "a decision counts once");
        assert_eq!(host.keys("instance"), ["instance/1", "instance/2"]);
        assert_eq!(copy.run(&web, 1).await, [InstanceId(4)]);
        copy.assert_planned().await;
        Ok(())
    });
}

#[test]
fn an_adoption_that_would_lose_an_instance_changes_nothing_and_names_it() {
    both(async |w| {
        let (_, host, _) = early(&w).await?;
        let held = held(&host);
        let empty = World::on(w.db().engine(), |_| {}).await?;
        let before = empty.clock().await?;
        let why = refused(empty.adopt_restored("h1", &held).await);
        for part in [
            "host h1: nothing was adopted",
            "i-00000001: the database does not know its group sg-00000001",
            "i-00000002",
        ] {
            assert!(why.contains(part), "{part} is not in {why}");
        }
        assert_eq!(empty.clock().await?, before);
        // A copy that has gone on has another instance of the same number.
        let (w, copy) = w.copy().await?;
        let web = crate::world::caller("boss-of-web", "web", true);
        let mut host = host;
        host.follow_in(&w.cloud);
        w.run(&web, 1).await;
        host.round().await;
        copy.run(&web, 1).await;
        let why = refused(copy.adopt_restored("h1", &self::held(&host)).await);
        assert!(
            why.contains("i-00000003: the database has another one of this number"),
            "{why}"
        );
        Ok(())
    });
}
