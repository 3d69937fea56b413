//! The cost of a follower's question when one of ten thousand objects changed. Depends on the use
//! cases of `control`.

use super::World;
use super::stage::HOST;
use crate::Scale;
use crate::harness::{Row, Samples, Unit, timed};
use anyhow::{Result, ensure};
use novanet_control::floating_ips::Association;
use novanet_model::wire::Follow;
use std::time::Duration;

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let wanted = scale.of(10_000, 200);
    Ok(world.on_both("delta", async |stage| {
        stage.network("10.0.0.0/16").await?;
        stage
            .cloud
            .create_floating_ips("198.51.100.0/24".parse()?, None, None)
            .await?;
        let list = async |after: Follow| stage.cloud.follow(HOST, &after).await;
        let mut instances = stage.fill(20).await?;
        let mut all = list(Follow::default()).await?;
        let each = all.changes.len() / instances.len();
        instances.extend(
            stage
                .fill(wanted.saturating_sub(all.changes.len()) / each + 20)
                .await?,
        );
        all = list(Follow::default()).await?;
        let objects = all.changes.len();
        ensure!(objects >= wanted, "{objects} objects only");
        let float = stage
            .cloud
            .allocate_address(&stage.caller, None)
            .await?
            .address;
        let (mut took, mut nothing) = (Samples::default(), Samples::default());
        for round in 0..scale.of(300, 20) {
            let instance = instances[round % instances.len()];
            stage
                .cloud
                .associate_address(&stage.caller, float.into(), &Association::to(instance))
                .await?;
            let after = Follow {
                epoch: all.epoch.clone(),
                after: all.version,
                wait_ms: 0,
            };
            let (time, news) = timed(list(after)).await;
            let news = news?;
            ensure!(
                !news.whole && news.changes.len() == 1,
                "not one change: {news:?}"
            );
            took.push(time);
            all.version = news.version;
            let after = Follow {
                epoch: all.epoch.clone(),
                after: all.version,
                wait_ms: 0,
            };
            let (time, news) = timed(list(after)).await;
            ensure!(news?.changes.is_empty(), "more than one change");
            nothing.push(time);
        }
        let what = format!(
            "delta of one change among {objects} objects, {}",
            stage.title
        );
        Ok(vec![
            Row::new(what, Unit::Micros, &took)
                .floor("no change", &nothing)
                .at_most(Duration::from_millis(1)),
        ])
    }))
}
