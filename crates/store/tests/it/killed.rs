//! A process that writes is killed, really: what it was told is committed is there, nothing is half
//! done, and the next writer need not wait for anything.

use crate::engines::{Fresh, run, runtime};
use anyhow::{Context, Result};
use novanet_model::{FloatingIpId, HostObject};
use novanet_store::audit::{self, Actor};
use novanet_store::{Db, Engine, PlanOwner, clock, counters, objects};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Set in the process that is to be killed: the database it writes to.
const WRITE_TO: &str = "NOVANET_TEST_WRITE_TO";

#[test]
fn on_sqlite_a_killed_writer_leaves_whole_transactions() {
    test(
        "on_sqlite_a_killed_writer_leaves_whole_transactions",
        Engine::Sqlite,
    );
}

#[test]
fn on_postgres_a_killed_writer_leaves_whole_transactions() {
    test(
        "on_postgres_a_killed_writer_leaves_whole_transactions",
        Engine::Postgres,
    );
}

fn test(name: &str, engine: Engine) {
    match std::env::var(WRITE_TO) {
        Ok(url) => runtime().block_on(write_for_ever(&url)).unwrap(),
        Err(_) => run(engine, |t| {
            kill_again_and_again(t, format!("killed::{name}"))
        }),
    }
}

/// Says `committed <version>` after each commit.
async fn write_for_ever(url: &str) -> Result<()> {
    let db = Db::open(url).await?;
    loop {
        let version = write_once(&db).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "committed {version}")?;
        out.flush()?;
    }
}

/// A counter, a host object and an audit entry: three statements that are one.
async fn write_once(db: &Db) -> Result<i64> {
    let mut tx = db.begin_planned().await?;
    let count = counters::next(&mut tx, "writes").await?;
    let member = HostObject::Member(novanet_model::object::Member {
        group: novanet_model::GroupId(1),
        address: u32::try_from(count)?.into(),
    });
    objects::put(
        &mut tx,
        PlanOwner::FloatingIp(FloatingIpId(count)),
        &[("h1".to_owned(), member)],
    )
    .await?;
    let actor = Actor {
        who: "alice".to_owned(),
        source: "test".to_owned(),
    };
    audit::record(&mut tx, &actor, "test", None, "x", "").await?;
    Ok(tx.commit().await?.version)
}

async fn kill_again_and_again(t: Fresh, name: String) -> Result<()> {
    for round in 0..12 {
        let told = kill_after(&t.url(), &name, 1 + round % 4)?;
        let mut tx = t.begin_planned().await?;
        let writes = counters::next(&mut tx, "writes").await? - 1;
        drop(tx);
        let mut tx = t.read().await?;
        let version = clock::read(&mut tx).await?.version;
        assert!(version >= told, "{told} was committed, {version} is there");
        assert_eq!(writes, version);
        assert_eq!(objects::digest(&mut tx, "h1").await?.count, version);
        let entries = audit::list(&mut tx, None, i64::MAX).await?;
        assert_eq!(i64::try_from(entries.len())?, version);
    }
    Ok(())
}

/// Starts a writer, kills it as soon as it has committed so many times; the last that it said.
fn kill_after(url: &str, name: &str, commits: usize) -> Result<i64> {
    let mut writer = Command::new(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(WRITE_TO, url)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = writer.stdout.take().context("it has an output")?;
    let mut said = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    let told = said.by_ref().take(commits).last();
    writer.kill()?;
    writer.wait()?;
    // What it still said before it died counts too.
    said.last().or(told).context("the writer said nothing")
}
