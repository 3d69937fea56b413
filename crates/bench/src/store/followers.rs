//! Use cases flat out with 50 hosts, four of them followed. At the end every follower must have
//! what a fresh list has: a version that became visible out of order would be missing for ever.

use super::World;
use super::stage::{Stage, WRITERS, flat_out, launch, per_second};
use crate::Scale;
use crate::harness::{Judged, Limit, Row, Unit};
use anyhow::{Context as _, Result};
use novanet_control::floating_ips::Association;
use novanet_control::groups::{GroupRef, SourceRef};
use novanet_control::{Caller, Cloud};
use novanet_model::rule::{Ports, Traffic};
use novanet_model::wire::{Follow, Objects};
use novanet_model::{HostObject, InstanceId, ObjectKey, ProjectId};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HOSTS: usize = 50;
const FOLLOWERS: usize = 4;

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let each = if scale.quick { 2 } else { 12 };
    let jobs = scale.of(4000, 48);
    Ok(world.on_both("use cases with followers", async |stage| {
        let clients = prepare(stage, each).await?;
        let done = Arc::new(AtomicBool::new(false));
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|n| tokio::spawn(follow(stage.cloud.clone(), host(n), Arc::clone(&done))))
            .collect();
        let clients = Arc::new(clients);
        let cloud = stage.cloud.clone();
        let took = flat_out(jobs, move |client, step| {
            let (cloud, clients) = (cloud.clone(), Arc::clone(&clients));
            async move { clients[client].act(&cloud, step).await }
        })
        .await?;
        done.store(true, Ordering::Release);
        let mut wrong = 0;
        let mut deltas = 0;
        for (n, follower) in followers.into_iter().enumerate() {
            let seen = follower.await??;
            let list = stage.cloud.follow(&host(n), &Follow::default()).await?;
            let mut fresh = Seen::default();
            fresh.take(list);
            wrong += seen.differences(&fresh);
            deltas += seen.deltas;
        }
        let title = stage.title;
        Ok(vec![
            Row::once(
                format!("use cases, {HOSTS} hosts, {FOLLOWERS} followers, {title}"),
                Unit::PerSecond,
                per_second(jobs, took),
            )
            .at_least(800.0)
            .note(format!("{deltas} deltas were taken meanwhile")),
            Row::once(
                format!("objects that a follower has wrong, {title}"),
                Unit::Count,
                f64::from(wrong),
            )
            .limit(Judged::Max, Limit::AtMost(0.0)),
        ])
    }))
}

fn host(number: usize) -> String {
    format!("host{number:02}")
}

/// One of the concurrent callers: a project with instances all over the hosts, and an address.
struct Client {
    caller: Caller,
    instances: Vec<InstanceId>,
    address: Ipv4Addr,
}

async fn prepare(stage: &Stage, each: usize) -> Result<Vec<Client>> {
    let cloud = &stage.cloud;
    stage.network("10.0.0.0/16").await?;
    for number in 0..HOSTS {
        stage.hello(&host(number)).await?;
    }
    cloud
        .create_floating_ips("198.51.100.0/24".parse()?, None, None)
        .await?;
    let mut clients = Vec::new();
    for number in 0..WRITERS {
        let project: ProjectId = format!("p{number}").parse()?;
        cloud.create_project(&project, "bench", "").await?;
        let caller = Caller::operator(project);
        let (instances, _) = cloud
            .run_instances(&caller, &launch(stage.image, each))
            .await?;
        let address = cloud.allocate_address(&caller, None).await?.address;
        clients.push(Client {
            caller,
            instances,
            address,
        });
    }
    Ok(clients)
}

impl Client {
    /// The next of its use cases: an address moves, goes and comes, a rule comes and goes.
    async fn act(&self, cloud: &Cloud, step: usize) -> Result<()> {
        let instance = self.instances[step % self.instances.len()];
        let group = GroupRef::Name("default".to_owned());
        let port = u16::try_from(1 + step / 6 % 60_000).context("a port")?;
        let rule = [(
            Traffic::Tcp(Ports {
                from: port,
                to: port,
            }),
            SourceRef::Cidr("0.0.0.0/0".parse()?),
        )];
        match step % 6 {
            0 | 2 => {
                cloud
                    .associate_address(
                        &self.caller,
                        self.address.into(),
                        &Association::to(instance),
                    )
                    .await?;
            }
            1 => {
                cloud.authorize(&self.caller, &group, &rule).await?;
            }
            3 => {
                cloud
                    .disassociate_address(&self.caller, self.address.into())
                    .await?;
            }
            4 => {
                cloud.revoke(&self.caller, &group, &rule).await?;
            }
            _ => {
                cloud.reboot(&self.caller, &[instance]).await?;
            }
        }
        Ok(())
    }
}

/// What a follower has.
#[derive(Default)]
struct Seen {
    objects: BTreeMap<ObjectKey, (i64, HostObject)>,
    position: Follow,
    deltas: usize,
}

impl Seen {
    fn take(&mut self, news: Objects) {
        if news.whole {
            self.objects.clear();
        }
        self.deltas += usize::from(!news.whole && !news.changes.is_empty());
        for change in news.changes {
            match change.object {
                Some(object) => self.objects.insert(change.key, (change.version, object)),
                None => self.objects.remove(&change.key),
            };
        }
        self.position.epoch = news.epoch;
        self.position.after = news.version;
    }

    fn differences(&self, other: &Self) -> u32 {
        let missing = |a: &Self, b: &Self| {
            let differs = |(key, value)| a.objects.get(key) != Some(value);
            b.objects
                .iter()
                .filter(|(key, value)| differs((*key, *value)))
                .count()
        };
        let gone = self
            .objects
            .keys()
            .filter(|key| !other.objects.contains_key(key))
            .count();
        u32::try_from(missing(self, other) + gone).unwrap_or(u32::MAX)
    }
}

/// Follows a host as the agent API does: a question for each hint, and one at the end.
async fn follow(cloud: Cloud, host: String, done: Arc<AtomicBool>) -> Result<Seen> {
    let mut hints = cloud.db().hints().follow(&host);
    let mut seen = Seen::default();
    loop {
        let last = done.load(Ordering::Acquire);
        seen.take(cloud.follow(&host, &seen.position).await?);
        if last {
            return Ok(seen);
        }
        // A lost hint costs a poll.
        let _ = tokio::time::timeout(Duration::from_millis(100), hints.changed()).await;
    }
}
