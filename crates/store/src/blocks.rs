//! Provider rules: traffic that no instance of the cloud hears.

use crate::read::Reader;
use crate::{Conn, Result, Tx, counters};
use novanet_model::rows::Block;
use novanet_model::rule::Traffic;
use novanet_model::{BlockId, Ipv4Net};
use sqlx::any::AnyRow;

const SELECT: &str = "SELECT id, protocol, from_port, to_port, cidr FROM provider_fw_rules";

fn block(row: &AnyRow) -> Result<Block> {
    let r = Reader::new("provider_fw_rule", row);
    let id = r.int("id")?;
    let bad = crate::StoreError::bad_row(format!("provider_fw_rule {id}"));
    let ports = (r.maybe_int("from_port")?, r.maybe_int("to_port")?);
    Ok(Block {
        id: BlockId(id),
        traffic: Traffic::parse(&r.text("protocol")?, ports.0, ports.1).map_err(bad)?,
        source: r.cidr("cidr")?,
    })
}

/// Adds a rule.
pub async fn insert(tx: &mut Tx, traffic: Traffic, source: Ipv4Net) -> Result<Block> {
    let id = BlockId(counters::next(tx, "provider_fw_rules").await?);
    let (now, (protocol, from, to)) = (tx.now.get(), traffic.to_ec2());
    sqlx::query(
        "INSERT INTO provider_fw_rules (id, protocol, from_port, to_port, cidr, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.0)
    .bind(protocol)
    .bind(from)
    .bind(to)
    .bind(source.to_string())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(Block {
        id,
        traffic,
        source,
    })
}

/// Removes a rule.
pub async fn delete(tx: &mut Tx, id: BlockId) -> Result<()> {
    sqlx::query("DELETE FROM provider_fw_rules WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// All rules by id.
pub async fn all(c: &mut Conn) -> Result<Vec<Block>> {
    let sql = format!("{SELECT} ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(c).await?;
    rows.iter().map(block).collect()
}

/// The ids of all rules, also of those that do not validate.
pub async fn ids(c: &mut Conn) -> Result<Vec<BlockId>> {
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM provider_fw_rules ORDER BY id")
        .fetch_all(c)
        .await?;
    Ok(ids.into_iter().map(BlockId).collect())
}

/// A rule by id.
pub async fn by_id(c: &mut Conn, id: BlockId) -> Result<Option<Block>> {
    let sql = format!("{SELECT} WHERE id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(block)
        .transpose()
}
