//! The process that the test kills: eight clients and a host that never rest.

use crate::fake_host::FakeHost;
use crate::world::{caller, config, from, from_group, group, ip, launch, name, runtime, tcp};
use novanet_control::floating_ips::Association;
use novanet_control::instances::Launch;
use novanet_control::key_pairs::KeyKind;
use novanet_control::{Caller, Cloud, Result};
use novanet_model::carve::Request;
use novanet_model::{ImageId, NetworkKind};
use novanet_pki::Vault;
use std::io::Write;

/// What it says before it begins a use case.
pub(super) const BEGUN: &str = "begun";

/// What it says after one.
pub(super) const ENDED: &str = "ended";

pub(super) const PROJECTS: [&str; 2] = ["web", "shop"];
pub(super) const HOSTS: [&str; 2] = ["h1", "h2"];

const CLIENTS: u64 = 8;

/// Random numbers, the same for the same seed.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit
    }

    fn one_of<T>(&mut self, all: Vec<T>) -> Option<T> {
        let count = u64::try_from(all.len()).unwrap();
        let chosen = usize::try_from(self.below(count.max(1))).unwrap();
        all.into_iter().nth(chosen)
    }
}

pub(super) fn boss_of(project: &str) -> Caller {
    caller(&format!("boss-of-{project}"), project, true)
}

pub(super) fn for_ever(url: &str, seed: u64) {
    runtime().block_on(async {
        let config = config(url.to_owned());
        let cloud = Cloud::open(config, Some(Vault::generate())).await.unwrap();
        for client in 0..CLIENTS {
            let rng = Rng(seed * CLIENTS + client);
            tokio::spawn(client_for_ever(cloud.clone(), rng, client));
        }
        let mut host = FakeHost::new(cloud, HOSTS[usize::try_from(seed % 2).unwrap()]);
        loop {
            host.round().await;
        }
    });
}

async fn client_for_ever(cloud: Cloud, mut rng: Rng, client: u64) {
    let boss = boss_of(PROJECTS[usize::try_from(client % 2).unwrap()]);
    loop {
        say(BEGUN);
        // Many are refused: full, not there any more. That is a use case too.
        let _refused = something(&cloud, &boss, &mut rng).await;
        say(ENDED);
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{what}").and_then(|()| out.flush()).is_err() {
        // The process that was to kill this one is dead.
        std::process::exit(1);
    }
}

async fn something(c: &Cloud, boss: &Caller, rng: &mut Rng) -> Result<()> {
    let which = rng.below(20);
    match which {
        0..=8 => with_instances(c, boss, rng, which).await,
        9..=13 => with_groups(c, boss, rng, which).await,
        _ => as_operator(c, boss, rng, which).await,
    }
}

async fn with_instances(c: &Cloud, boss: &Caller, rng: &mut Rng, which: u64) -> Result<()> {
    let living = c.instances(boss).await?.into_iter();
    let living = living.filter(|i| i.row.terminated_at.is_none());
    let instance = rng.one_of(living.map(|i| i.row.id).collect());
    let float = rng.one_of(c.addresses(boss).await?);
    match (which, instance, float) {
        (0..=2, ..) => {
            let max = i64::try_from(1 + rng.below(3)).unwrap();
            let mut launch = Launch {
                max,
                ..launch(ImageId(1))
            };
            if rng.below(2) == 0 {
                launch.groups = vec![group("default"), group("g1")];
            }
            c.run_instances(boss, &launch).await?;
        }
        (3, Some(id), _) => {
            c.reboot(boss, &[id]).await?;
        }
        (4, Some(id), _) => {
            c.terminate(boss, &[id]).await?;
        }
        (5, Some(id), Some(float)) => {
            let to = Association::to(id);
            c.associate_address(boss, float.address.into(), &to).await?;
        }
        (6, _, Some(float)) => {
            c.disassociate_address(boss, float.address.into()).await?;
        }
        (7, _, Some(float)) => {
            c.release_address(boss, float.address.into()).await?;
        }
        _ => {
            c.allocate_address(boss, None).await?;
        }
    }
    Ok(())
}

async fn with_groups(c: &Cloud, boss: &Caller, rng: &mut Rng, which: u64) -> Result<()> {
    let name = format!("g{}", rng.below(3));
    let port = u16::try_from(1 + rng.below(3)).unwrap();
    let rule = [
        (tcp(port), from("0.0.0.0/0")),
        (tcp(port), from_group("default")),
    ];
    match which {
        9 => {
            c.create_group(boss, &name, "one").await?;
        }
        10 => c.delete_group(boss, &group(&name)).await?,
        11 => {
            c.revoke(boss, &group(&name), &rule).await?;
        }
        _ => {
            c.authorize(boss, &group(&name), &rule).await?;
        }
    }
    Ok(())
}

async fn as_operator(c: &Cloud, boss: &Caller, rng: &mut Rng, which: u64) -> Result<()> {
    let number = rng.below(3);
    let user = format!("user{number}");
    let address = [ip(&format!("10.0.0.{}", 100 + number))];
    let range = format!("10.9.{number}.0/24");
    match which {
        14 => {
            c.create_user(&user, None, false).await?;
            c.create_project(&name(&user), &user, "").await?;
        }
        15 => {
            c.delete_project(&name(&user)).await?;
            c.delete_user(&user).await?;
        }
        16 => c.reserve_fixed_ips(&address).await?,
        17 => c.unreserve_fixed_ips(&address).await?,
        18 if rng.below(2) == 0 => {
            // Not for the instances: those get an address in each that is not a VLAN's.
            let request = Request::new(NetworkKind::Vlan, "v", range.parse().unwrap());
            c.create_networks(&request).await?;
        }
        18 => {
            c.delete_network(&range).await?;
        }
        _ if rng.below(2) == 0 => {
            c.create_key_pair(boss, &format!("key{number}"), KeyKind::Ed25519)
                .await?;
        }
        _ => c.delete_key_pair(boss, &format!("key{number}")).await?,
    }
    Ok(())
}
