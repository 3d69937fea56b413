//! `network create`: addresses have no rows before they are handed out, so a /8 costs what a /24
//! does.

use super::World;
use super::stage::{self, HOST, Stage};
use crate::Scale;
use crate::harness::{Judged, Limit, Row, Unit, pairs, timed};
use anyhow::Result;
use std::time::Duration;

const LIMIT: Duration = Duration::from_millis(20);

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let rounds = scale.of(100, 4);
    Ok(world.on_both("network create", async |stage| {
        let stage = &*stage;
        let (large, small) = pairs(
            rounds,
            async |_| create(stage, "10.0.0.0/8").await,
            async |_| create(stage, "192.168.7.0/24").await,
        )
        .await?;
        let title = stage.title;
        Ok(vec![
            Row::new(format!("network create /8, {title}"), Unit::Micros, &large)
                .floor("/24", &small)
                .limit(Judged::Ratio, Limit::AtMost(1.5))
                .nova("/16: 2.1 s"),
            Row::new(format!("network create /8, {title}"), Unit::Micros, &large)
                .at_most(LIMIT)
                .nova("/16: 2.1 s"),
            Row::new(format!("network create /24, {title}"), Unit::Micros, &small).at_most(LIMIT),
        ])
    }))
}

/// Creates a network, says how long that took, and takes it away again.
async fn create(stage: &Stage, range: &str) -> Result<Duration> {
    let request = stage::request(range)?;
    let (took, created) = timed(stage.cloud.create_networks(&request)).await;
    created?;
    stage.cloud.delete_network(range).await?;
    stage.settle(HOST).await?;
    Ok(took)
}
