//! The agent's start on a host with a thousand floating IPs and two hundred ports: until the rules
//! are in force. Once from nothing, once with everything there already, as after a restart.

use super::World;
use super::objects::{float, gateway, host, ports, settings};
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::{Result, ensure};
use novanet_agent::firewall::Firewall;
use novanet_model::HostObject;
use novanet_reconcile::Reconciler;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn run(_: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let (floats, instances) = (1000, 200);
    let mut objects: Vec<HostObject> = (0..floats).map(float).collect();
    objects.push(gateway()?);
    objects.extend(ports(instances)?);
    let (mut first, mut again) = (Samples::default(), Samples::default());
    for _ in 0..scale.of(5, 1) {
        let (host, _outside) = host()?;
        let state = tempfile::tempdir()?;
        first.push(host.exec_in(|| start(state.path(), &objects, true))??);
        again.push(host.exec_in(|| start(state.path(), &objects, false))??);
    }
    let second = Duration::from_secs(1);
    let what = format!("start with {floats} floating IPs and {instances} ports");
    Ok(vec![
        Row::new(format!("{what}, from nothing"), Unit::Micros, &first).at_most(second),
        Row::new(format!("{what}, rules are there"), Unit::Micros, &again).at_most(second),
    ])
}

fn start(state_path: &Path, objects: &[HostObject], fresh: bool) -> Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let mut firewall = Reconciler::new(Firewall::new(&settings(state_path)?)?);
        firewall.set_objects(objects);
        let round = firewall.round(tokio::time::Instant::now()).await;
        let took = began.elapsed();
        ensure!(round.failed == 0, "{:?}", firewall.errors());
        ensure!(fresh == (round.applied > 0), "not as expected: {round:?}");
        let left = firewall.difference().await?;
        ensure!(left.is_empty(), "the firewall differs: {left:?}");
        Ok(took)
    })
}
