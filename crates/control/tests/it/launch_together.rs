//! RunInstances calls that come at the same time share a transaction, and nothing else.

use crate::world::{World, both, both_with, ip, launch};
use anyhow::Result;
use novanet_control::instances::Launch;
use novanet_control::{Caller, Committed, ControlError};
use novanet_model::{ImageId, InstanceId};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

type Answer = Result<(Vec<InstanceId>, Committed), ControlError>;
type Pending<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

fn count(min: i64, max: i64) -> Launch {
    Launch {
        min,
        max,
        ..launch(ImageId(1))
    }
}

fn with_token(token: &str) -> Launch {
    Launch {
        client_token: Some(token.to_owned()),
        ..count(1, 1)
    }
}

/// Calls that are all made while another transaction writes, so that all wait when the first gets
/// its turn.
async fn meanwhile<'a>(w: &'a World, calls: &'a [(&Caller, Launch)]) -> Result<Vec<Pending<'a>>> {
    let busy = w.db().begin_planned().await?;
    let mut pending: Vec<Pending<'a>> = vec![];
    for (caller, launch) in calls {
        let mut call: Pending<'a> = Box::pin(w.run_instances(caller, launch));
        poll_fn(|context| {
            assert!(call.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        pending.push(call);
    }
    drop(busy);
    Ok(pending)
}

async fn together(w: &World, calls: &[(&Caller, Launch)]) -> Result<Vec<Answer>> {
    let mut answers = vec![];
    for call in meanwhile(w, calls).await? {
        answers.push(call.await);
    }
    Ok(answers)
}

fn made(answer: &Answer) -> usize {
    answer.as_ref().map_or(0, |(ids, _)| ids.len())
}

fn why(answer: &Answer) -> String {
    answer
        .as_ref()
        .map_or_else(ToString::to_string, |_| String::new())
}

#[test]
fn calls_at_the_same_time_are_one_transaction_and_each_gets_its_own() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let (web, mail) = (w.project("web").await, w.project("mail").await);
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let calls = [
            (&web, count(2, 2)),
            (&mail, count(1, 1)),
            (&web, count(3, 3)),
        ];
        let answers = together(w, &calls).await?;
        let mut versions: Vec<i64> = vec![];
        let mut reservations = vec![];
        for (answer, (caller, launch)) in answers.iter().zip(&calls) {
            let (ids, committed) = answer.as_ref().unwrap();
            versions.push(committed.version);
            let views = w.instances_of(caller, ids).await?;
            assert_eq!(i64::try_from(views.len())?, launch.max);
            reservations.push(views[0].row.reservation);
            assert!(
                views
                    .iter()
                    .all(|v| v.row.reservation == reservations[reservations.len() - 1])
            );
        }
        assert!(versions.iter().all(|v| *v == versions[0]), "{versions:?}");
        reservations.dedup();
        assert_eq!(reservations.len(), 3);
        host.round().await;
        assert_eq!(host.keys("instance").len(), 6);
        let runs = w
            .actions()
            .await
            .into_iter()
            .filter(|a| a.contains("instance.run"));
        assert_eq!(runs.count(), 6);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn who_is_refused_leaves_nothing_behind_and_keeps_nobody_from_launching() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        // Thirteen for instances.
        w.network("10.0.0.0/28").await;
        let no_image = Launch {
            image: ImageId(77),
            ..count(1, 1)
        };
        let chosen = Launch {
            private_address: Some(ip("10.0.0.9")),
            ..count(1, 1)
        };
        let calls = [
            (&web, count(2, 2)),
            (&web, no_image),
            (&web, chosen.clone()),
            (&web, chosen),
            (&web, with_token("t")),
            (&web, with_token("t")),
            (&web, count(20, 20)),
            (&web, count(1, 50)),
            (&web, count(1, 1)),
        ];
        let answers = together(w, &calls).await?;
        let numbers: Vec<usize> = answers.iter().map(made).collect();
        assert_eq!(numbers, [2, 0, 1, 0, 1, 1, 0, 9, 0]);
        assert!(
            why(&answers[1]).contains("ami-0000004d not found"),
            "{}",
            why(&answers[1])
        );
        assert!(
            why(&answers[3]).contains("is taken or reserved"),
            "{}",
            why(&answers[3])
        );
        assert_eq!(
            answers[4].as_ref().unwrap().0,
            answers[5].as_ref().unwrap().0
        );
        for refused in [6, 8] {
            let text = why(&answers[refused]);
            assert!(
                text.starts_with("no free fixed IP in network 10.0.0.0/28"),
                "{text}"
            );
        }
        let addresses = w.fixed_ips(None).await?;
        assert_eq!(addresses.len(), 13);
        assert!(addresses.iter().all(|a| a.instance.is_some()));
        assert_eq!(w.instances(&web).await?.len(), 13);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn what_only_the_others_took_is_looked_at_again_before_a_quota_refuses() {
    both_with(
        |config| config.quotas.instances = Some(4),
        async |w: &World| -> Result<()> {
            w.image().await;
            let web = w.project("web").await;
            let _host = w.host("h1").await;
            // Five for instances.
            w.network("10.0.0.0/29").await;
            let kept = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(ip);
            w.reserve_fixed_ips(&kept).await?;
            // The first is counted with three and finds no address for them; so two fit.
            let answers = together(w, &[(&web, count(3, 3)), (&web, count(2, 2))]).await?;
            assert!(
                why(&answers[0]).starts_with("no free fixed IP"),
                "{}",
                why(&answers[0])
            );
            assert_eq!(made(&answers[1]), 2);
            // And a limit is a limit.
            let answers = together(w, &[(&web, count(3, 3)), (&web, count(1, 1))]).await?;
            assert!(
                why(&answers[0]).starts_with("quota of instances exceeded"),
                "{}",
                why(&answers[0])
            );
            w.assert_planned().await;
            Ok(())
        },
    );
}

#[test]
fn a_caller_that_goes_away_takes_nobody_with_it() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let calls = [
            (&web, count(1, 1)),
            (&web, count(2, 2)),
            (&web, count(4, 4)),
        ];
        for leaver in 0..3 {
            let before = w.instances(&web).await?.len();
            let mut pending = meanwhile(w, &calls).await?;
            // Any of them, also the call that would have run next.
            drop(pending.remove(leaver));
            let mut stayed = 0;
            for call in pending {
                stayed += call.await?.0.len();
            }
            let now = w.instances(&web).await?.len();
            assert_eq!(now, before + stayed);
            assert_eq!(stayed, 7 - [1, 2, 4][leaver]);
        }
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn where_each_instance_gets_a_floating_ip_each_call_still_gets_its_own_instances() {
    both_with(
        |config| config.auto_assign_floating_ip = true,
        async |w: &World| -> Result<()> {
            w.image().await;
            let web = w.project("web").await;
            let _host = w.host("h1").await;
            w.network("10.0.0.0/24").await;
            w.floats("203.0.113.0/28").await;
            let mut calls = tokio::task::JoinSet::new();
            for number in [1, 2, 1, 2, 1, 3] {
                let (cloud, web) = (w.cloud.clone(), web.clone());
                calls.spawn(async move {
                    let made = cloud.run_instances(&web, &count(number, number)).await;
                    (number, made.map(|(ids, _)| ids.len()))
                });
            }
            while let Some(answer) = calls.join_next().await {
                let (wanted, made) = answer?;
                assert_eq!(i64::try_from(made?)?, wanted);
            }
            for view in w.instances(&web).await? {
                assert!(view.public_address.is_some());
            }
            w.assert_planned().await;
            Ok(())
        },
    );
}
