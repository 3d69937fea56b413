//! A use case that ends at any of its statements has done nothing.

use crate::world::{World, from_group, group, launch, on_a_new_world, tcp};
use anyhow::Result;
use novanet_control::floating_ips::Association;
use novanet_control::instances::Launch;
use novanet_control::{Caller, Cloud};
use novanet_model::carve::Request;
use novanet_model::{ImageId, InstanceId, NetworkKind};
use novanet_store::Engine;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Runs a future until it has waited `patience` times, then drops it: every statement waits, so
/// this ends a use case between any two of them, as the death of its process or its client does.
struct Impatient<'a, F> {
    work: Pin<&'a mut F>,
    patience: usize,
}

impl<F: Future> Future for Impatient<'_, F> {
    type Output = Option<F::Output>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.patience == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.patience -= 1;
                Poll::Pending
            }
        }
    }
}

async fn within<F: Future>(patience: usize, work: F) -> Option<F::Output> {
    let work = pin!(work);
    Impatient { work, patience }.await
}

/// All that a use case may change, as text.
async fn state(w: &World, web: &Caller) -> Result<String> {
    let host = w
        .follow("h1", &novanet_model::wire::Follow::default())
        .await?;
    Ok(format!(
        "{:#?}",
        (
            host.changes,
            w.instances(web).await?,
            w.networks().await?,
            w.fixed_ips(None).await?,
            w.floating_ips().await?,
            w.groups(web).await?,
            w.actions().await,
        )
    ))
}

/// Ends `use_case` at each of its waits, then lets it through. How often it was ended.
async fn at_every_statement<T>(
    w: &World,
    web: &Caller,
    what: &str,
    use_case: impl AsyncFn(&Cloud) -> novanet_control::Result<T>,
) -> Result<usize> {
    let before = state(w, web).await?;
    for patience in 0..1000 {
        if let Some(done) = within(patience, use_case(w)).await {
            done?;
            assert_ne!(state(w, web).await?, before, "{what}");
            w.assert_planned().await;
            return Ok(patience);
        }
        // On PostgreSQL its commit may still be under way; the clock is free when it is through.
        drop(w.db().change().await?);
        let after = state(w, web).await?;
        if after != before {
            // Its commit was under way; then all of it is there.
            w.assert_planned().await;
            return Ok(patience);
        }
    }
    panic!("{what}: does not end");
}

#[test]
fn a_use_case_that_dies_at_any_statement_has_changed_nothing() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        // A statement that is answered before anybody can wait for it is passed by, and on a busy machine there are many: then once more.
        let mut ended = Vec::new();
        while ended.iter().sum::<usize>() <= 40 {
            assert!(ended.len() < 10, "{engine:?}: ended {ended:?} times only");
            ended.push(on_a_new_world(engine, |_| {}, end_everything));
        }
    }
}

/// Everything that is tried, ended at every statement. How often that was.
async fn end_everything(w: &World) -> Result<usize> {
    w.image().await;
    let web = w.project("web").await;
    let mut host = w.host("h1").await;
    w.network("10.0.0.0/24").await;
    w.floats("203.0.113.4/30").await;
    w.create_group(&web, "front", "d").await?;
    w.run(&web, 1).await;
    let (one, two) = (InstanceId(1), InstanceId(2));
    let range = "10.9.0.0/24".parse()?;
    let request = Request::new(NetworkKind::FlatDhcp, "new", range);
    let address = crate::world::ip("203.0.113.5").into();

    let mut ended = 0;
    ended += at_every_statement(w, &web, "network create", async |c| {
        c.create_networks(&request).await
    })
    .await?;
    w.delete_network("10.9.0.0/24").await?;
    let front = Launch {
        groups: vec![group("front")],
        ..launch(ImageId(1))
    };
    ended += at_every_statement(w, &web, "run", async |c| {
        c.run_instances(&web, &front).await
    })
    .await?;
    ended += at_every_statement(w, &web, "allocate", async |c| {
        c.allocate_address(&web, None).await
    })
    .await?;
    for to in [one, two].map(Association::to) {
        ended += at_every_statement(w, &web, "associate", async |c| {
            c.associate_address(&web, address, &to).await
        })
        .await?;
    }
    ended += at_every_statement(w, &web, "authorize", async |c| {
        let rules = [
            (tcp(80), from_group("default")),
            (tcp(81), from_group("front")),
        ];
        c.authorize(&web, &group("front"), &rules).await
    })
    .await?;
    ended += at_every_statement(w, &web, "reboot", async |c| {
        c.reboot(&web, &[one, two]).await
    })
    .await?;
    host.round().await;
    ended += at_every_statement(w, &web, "terminate", async |c| {
        c.terminate(&web, &[two]).await
    })
    .await?;
    host.follow().await;
    ended += at_every_statement(w, &web, "status", async |_| {
        host.report().await;
        Ok(())
    })
    .await?;
    ended += at_every_statement(w, &web, "release", async |c| {
        c.release_address(&web, address).await
    })
    .await?;
    Ok(ended)
}
