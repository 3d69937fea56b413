//! The address pool against a model, and under many writers that die.

use super::seed::{
    a_network, a_project, allocate, give, insert_instance, insert_network, interface, kept, mac_of,
    release,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rows::Network;
use novanet_model::{FixedIpId, InstanceId, Micros};
use novanet_store::networks::Reserved;
use novanet_store::{Db, Tx, counters, fixed_ips, networks, pool};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What happens in one transaction.
#[derive(Debug, Clone)]
enum Step {
    Allocate,
    /// The n-th of the addresses in use.
    Release(usize),
    /// This address of the range.
    Reserve(u32),
    Unreserve(u32),
}

/// Steps of one transaction, and whether it is killed before its commit.
type Transaction = (Vec<Step>, bool);

const SIZE: u32 = 32;

fn transactions() -> impl Strategy<Value = (Vec<(u32, u32)>, Vec<Transaction>)> {
    let step = prop_oneof![
        5 => Just(Step::Allocate),
        3 => any::<usize>().prop_map(Step::Release),
        1 => (0..SIZE).prop_map(Step::Reserve),
        1 => (0..SIZE).prop_map(Step::Unreserve),
    ];
    let transaction = (prop::collection::vec(step, 1..6), prop::bool::weighted(0.2));
    // Reserved ranges: where they start and how many follow.
    let ranges = prop::collection::vec((2..SIZE - 8, 0..6u32), 0..3);
    (ranges, prop::collection::vec(transaction, 1..40))
}

/// What the pool must be.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Never handed out, and in no range; ascending.
    fresh: BTreeSet<Ipv4Addr>,
    used: BTreeMap<Ipv4Addr, InstanceId>,
    /// When, and which.
    freed: BTreeSet<(Micros, Ipv4Addr)>,
    reserved: BTreeSet<Ipv4Addr>,
    /// The network's ranges, of which no instance gets an address, first and last.
    ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Model {
    fn take(&mut self) -> Option<Ipv4Addr> {
        self.fresh
            .pop_first()
            .or_else(|| self.freed.pop_first().map(|(_, address)| address))
    }

    fn reserve(&mut self, address: Ipv4Addr) -> bool {
        if self.used.contains_key(&address) {
            return false;
        }
        self.fresh.remove(&address);
        self.freed.retain(|(_, freed)| *freed != address);
        self.reserved.insert(address);
        true
    }
}

/// A network whose range no other test network has.
async fn own_network(tx: &mut Tx, ranges: &[(u32, u32)]) -> Result<(Network, Model)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let first =
        u32::from(Ipv4Addr::new(10, 0, 0, 0)) + SIZE * NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut network = a_network(&format!("{}/27", Ipv4Addr::from(first)));
    let mut reserved = kept(&network);
    for (index, (start, more)) in ranges.iter().enumerate() {
        // One range may begin only once.
        if ranges[..index].iter().any(|(other, _)| other == start) {
            continue;
        }
        reserved.push(Reserved {
            first: (first + start).into(),
            last: (first + start + more).into(),
            reason: "test".to_owned(),
        });
    }
    network.id = networks::insert(tx, &network, &reserved).await?;
    let fresh = (first..first + SIZE)
        .map(Ipv4Addr::from)
        .filter(|a| !reserved.iter().any(|r| (r.first..=r.last).contains(a)))
        .collect();
    let model = Model {
        fresh,
        ranges: reserved.iter().map(|r| (r.first, r.last)).collect(),
        ..Model::default()
    };
    Ok((network, model))
}

async fn apply(
    tx: &mut Tx,
    network: &Network,
    owner: InstanceId,
    model: &mut Model,
    step: &Step,
) -> Result<()> {
    let first = u32::from(network.cidr.network());
    match step {
        Step::Allocate => {
            let given = allocate(tx, network).await?;
            assert_eq!(given.map(|(_, address)| address), model.take());
            if let Some((id, address)) = given {
                let number = counters::next(tx, "ports").await?;
                let index = u32::try_from(number).unwrap();
                let mac = mac_of(index.into());
                give(tx, id, interface(owner, network, index, mac)).await?;
                model.used.insert(address, owner);
            }
        }
        Step::Release(which) if !model.used.is_empty() => {
            let which = which % model.used.len();
            let address = *model.used.keys().nth(which).unwrap();
            let row = fixed_ips::by_address(tx, network.id, address)
                .await?
                .unwrap();
            release(tx, row.id).await?;
            model.used.remove(&address);
            model.freed.insert((tx.now, address));
        }
        Step::Release(_) => {}
        Step::Reserve(offset) => {
            let address = (first + offset).into();
            let done = pool::reserve(tx, network.id, address).await?;
            assert_eq!(done, model.reserve(address), "reserve {address}");
        }
        Step::Unreserve(offset) => {
            let address = (first + offset).into();
            let done = pool::unreserve(tx, network.id, address).await?;
            assert_eq!(done, model.reserved.remove(&address), "unreserve {address}");
            let in_range =
                |(first, last): &(Ipv4Addr, Ipv4Addr)| (first..=last).contains(&&address);
            if done && !model.ranges.iter().any(in_range) {
                model.freed.insert((tx.now, address));
            }
        }
    }
    Ok(())
}

/// Compares the owners of addresses and the reserved ones in the database with the model.
async fn check(db: &Db, network: &Network, model: &Model) -> Result<()> {
    let mut tx = db.read().await?;
    let rows = fixed_ips::list(&mut tx, "").await?;
    let mine = || rows.iter().filter(|row| row.network == network.id);
    let used: BTreeMap<_, _> = mine()
        .filter_map(|row| row.instance.map(|instance| (row.address, instance)))
        .collect();
    assert_eq!(used, model.used);
    let reserved: BTreeSet<_> = mine().filter(|r| r.reserved).map(|r| r.address).collect();
    assert_eq!(reserved, model.reserved);
    let in_use = fixed_ips::in_use(&mut tx, network.id).await?;
    assert_eq!(usize::try_from(in_use)?, model.used.len());
    Ok(())
}

both! {
    the_pool_does_what_the_model_does_through_commits_and_kills,
    many_writers_that_die_never_share_or_lose_an_address,
}

async fn the_pool_does_what_the_model_does_through_commits_and_kills(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let owner = insert_instance(&mut tx, &project, &[], None).await?;
    tx.commit().await?;
    let case = async |ranges: Vec<(u32, u32)>, transactions: Vec<Transaction>| {
        let mut tx = t.begin_planned().await?;
        let (network, mut model) = own_network(&mut tx, &ranges).await?;
        tx.commit().await?;
        for (steps, killed) in transactions {
            let mut tx = t.begin_planned().await?;
            let mut after = model.clone();
            for step in &steps {
                // Time goes on within the transaction, so that the order of freeing is known.
                tx.now += Duration::from_micros(1);
                apply(&mut tx, &network, owner, &mut after, step).await?;
            }
            if !killed {
                tx.commit().await?;
                model = after;
            }
        }
        check(&t, &network, &model).await
    };
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&transactions(), |(ranges, transactions)| {
            handle
                .block_on(case(ranges, transactions))
                .map_err(|e| TestCaseError::fail(format!("{e:?}")))
        })
    })?;
    Ok(())
}

async fn many_writers_that_die_never_share_or_lose_an_address(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/26")).await?;
    let project = a_project(&mut tx, "web").await?;
    let mut owners = vec![];
    for _ in 0..8 {
        owners.push(insert_instance(&mut tx, &project, &[], None).await?);
    }
    tx.commit().await?;
    let mut writers = tokio::task::JoinSet::new();
    for (writer, owner) in owners.into_iter().enumerate() {
        let (db, network) = (t.again().await?, network.clone());
        writers.spawn(async move { churn(&db, &network, owner, writer).await });
    }
    let mut model = BTreeMap::new();
    for done in writers.join_all().await {
        let (owner, mine) = done?;
        for address in mine {
            assert_eq!(
                model.insert(address, owner),
                None,
                "{address} has two owners"
            );
        }
    }
    let rows = fixed_ips::list(&mut *t.read().await?, "").await?;
    let used: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|r| Some((r.address, r.instance?)))
        .collect();
    assert_eq!(used, model);
    // All free addresses can be handed out, to the last one.
    let mut tx = t.begin_planned().await?;
    let mut left = BTreeSet::new();
    while let Some((_, address)) = allocate(&mut tx, &network).await? {
        assert!(
            !model.contains_key(&address) && left.insert(address),
            "{address}"
        );
    }
    assert_eq!(left.len() + model.len(), 61, "none is lost");
    Ok(())
}

/// Allocates up to ten addresses and lets go of the older ones, over and over; every fourth
/// transaction dies. Which addresses it has in the end.
async fn churn(
    db: &Db,
    network: &Network,
    owner: InstanceId,
    writer: usize,
) -> Result<(InstanceId, Vec<Ipv4Addr>)> {
    let mut mine: Vec<(FixedIpId, Ipv4Addr)> = vec![];
    for round in 0..24 {
        let mut tx = db.begin_planned().await?;
        let mut after = mine.clone();
        for _ in 0..=(round + writer) % 3 {
            if after.len() >= 7 {
                let (id, _) = after.remove(0);
                release(&mut tx, id).await?;
            }
            let Some((id, address)) = allocate(&mut tx, network).await? else {
                anyhow::bail!("empty with {} of mine", after.len());
            };
            let index = u32::try_from(counters::next(&mut tx, "ports").await?)?;
            let mac = mac_of(index.into());
            give(&mut tx, id, interface(owner, network, index, mac)).await?;
            after.push((id, address));
        }
        if !(round + writer).is_multiple_of(4) {
            tx.commit().await?;
            mine = after;
        }
    }
    let addresses = mine.into_iter().map(|(_, address)| address).collect();
    Ok((owner, addresses))
}
