//! Snapshots of all rows of a database, to compare and to restore. Depends on sqlx for both
//! engines.

use anyhow::{Context, Result};
use novanet_lab::eventually_async;
use novanet_store::{Db, Engine};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Takes snapshots of one database.
pub(crate) struct DbSnapshots {
    db: Db,
    tables: BTreeMap<String, Table>,
    /// Reads all of them.
    sql: String,
}

/// All rows of all tables (of the bytes of images, the first). Two are equal if not one byte
/// differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DbSnapshot {
    tables: BTreeMap<String, Table>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    columns: Vec<String>,
    /// Values as SQL writes them.
    rows: Vec<Vec<String>>,
}

/// What another run of the same use case may write otherwise: times and random values.
const RANDOM: &[&str] = &[
    "at",
    "created_at",
    "updated_at",
    "seen_at",
    "since",
    "freed_at",
    "deleted_at",
    "launched_at",
    "terminated_at",
    "expires_at",
    "uuid",
    "holder",
    // A new one when a database was restored from a copy.
    "clock.epoch",
    "virtual_interfaces.address",
    "instances.user_data_sealed",
    "users.access_key",
    "users.secret_key",
    "certificate_authorities.certificate",
    "certificate_authorities.not_after",
    "certificate_authorities.private_key",
    "certificates.certificate",
    "certificates.not_after",
    "certificates.not_before",
    "certificates.revoked_at",
    "certificates.serial",
    // A certificate's serial number.
    "audit.detail",
    "key_pairs.fingerprint",
    "key_pairs.public_key",
    "instances.key_data",
    "vpns.ssh_key_sealed",
    "vpns.server_certificate",
    "vpns.server_key_sealed",
];

/// Between the values of a row; no text has it.
const GAP: char = '\u{1f}';

impl DbSnapshots {
    pub(crate) async fn of(db: &Db) -> Result<Self> {
        let mut tx = db.read().await?;
        let columns = match db.engine() {
            Engine::Sqlite => {
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
                 ORDER BY m.name, c.cid"
            }
            Engine::Postgres => {
                "SELECT table_name::text, column_name::text FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%' \
                 ORDER BY table_name, ordinal_position"
            }
        };
        let found: Vec<(String, String)> = sqlx::query_as(columns).fetch_all(&mut *tx).await?;
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for (table, column) in found {
            let new = || Table {
                columns: vec![],
                rows: vec![],
            };
            let table = tables.entry(table).or_insert_with(new);
            table.columns.push(column);
        }
        Ok(Self {
            db: db.clone(),
            sql: everything(db.engine(), &tables),
            tables,
        })
    }

    pub(crate) async fn take(&self) -> Result<DbSnapshot> {
        let mut tables = self.tables.clone();
        let mut tx = self.db.read().await?;
        let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(self.sql.clone()))
            .fetch_all(&mut *tx)
            .await?;
        for (table, row) in rows {
            let row = row.split(GAP).map(str::to_owned).collect();
            tables.get_mut(&table).context("a table")?.rows.push(row);
        }
        for table in tables.values_mut() {
            table.rows.sort();
        }
        Ok(DbSnapshot { tables })
    }
}

impl DbSnapshot {
    /// Makes the database what it was.
    pub(crate) async fn put_back(&self, db: &Db) -> Result<()> {
        let mut sql = match db.engine() {
            Engine::Sqlite => "PRAGMA defer_foreign_keys = ON;\n",
            Engine::Postgres => "SET LOCAL session_replication_role = replica;\n",
        }
        .to_owned();
        for (name, table) in &self.tables {
            let _ = writeln!(sql, "DELETE FROM {name};");
            for row in &table.rows {
                let _ = writeln!(sql, "INSERT INTO {name} VALUES ({});", row.join(", "));
            }
        }
        let mut tx = db.begin_unplanned().await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The columns that are the same after every run, without these.
    pub(crate) fn essence(&self, without: &[&str]) -> Vec<String> {
        let mut lines = vec![];
        for (name, table) in &self.tables {
            for row in &table.rows {
                let cells = table.columns.iter().zip(row).map(|(column, value)| {
                    let full = format!("{name}.{column}");
                    let any = |of: &[&str]| of.contains(&column.as_str()) || of.contains(&&*full);
                    // Its presence is not random.
                    let set = !["NULL", "0", "'0'", "''"].contains(&value.as_str());
                    if set && (any(RANDOM) || any(without)) {
                        format!("{column}=…")
                    } else {
                        format!("{column}={}", without_macs(value))
                    }
                });
                lines.push(format!("{name}: {}", cells.collect::<Vec<_>>().join(" ")));
            }
        }
        lines.sort();
        lines
    }

    pub(crate) fn rows(&self, table: &str) -> usize {
        self.tables[table].rows.len()
    }

    /// The tables in which it differs from another.
    pub(crate) fn differs_in(&self, other: &Self) -> Vec<&str> {
        let differs = |name: &&String| self.tables[*name] != other.tables[*name];
        let names = self.tables.keys().filter(differs);
        names.map(String::as_str).collect()
    }
}

/// One statement that reads all tables.
fn everything(engine: Engine, tables: &BTreeMap<String, Table>) -> String {
    let quote = match engine {
        Engine::Sqlite => "quote",
        Engine::Postgres => "quote_nullable",
    };
    let gap = match engine {
        Engine::Sqlite => "char(31)",
        Engine::Postgres => "chr(31)",
    };
    let of = |(name, table): (&String, &Table)| {
        let quoted = |column: &String| match (name.as_str(), column.as_str()) {
            // A megabyte each, and never changed.
            ("image_blobs", "data") => format!("{quote}(substr(data, 1, 16))"),
            _ => format!("{quote}({column})"),
        };
        let cells: Vec<String> = table.columns.iter().map(quoted).collect();
        let row = cells.join(&format!(" || {gap} || "));
        format!("SELECT '{name}' AS of_table, {row} AS cells FROM {name}")
    };
    let all: Vec<String> = tables.iter().map(of).collect();
    all.join(" UNION ALL ")
}

/// MACs are random, and are in host objects too.
fn without_macs(text: &str) -> String {
    const LENGTH: usize = "02:16:3e:00:00:01".len();
    let is_mac = |text: &[u8]| {
        text.iter().enumerate().all(|(n, byte)| match n % 3 {
            2 => *byte == b':',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    if !text.contains(':') {
        return text.to_owned();
    }
    let mut rest = text.as_bytes();
    let mut out = vec![];
    while let Some(first) = rest.first() {
        if rest.get(..LENGTH).is_some_and(is_mac) {
            out.extend(b"MAC");
            rest = &rest[LENGTH..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    String::from_utf8(out).unwrap()
}

/// Waits until nothing of what was cut off is under way: PostgreSQL still executes what it was
/// sent.
pub(crate) async fn settled(db: &Db) -> Result<()> {
    if db.engine() == Engine::Sqlite {
        return Ok(());
    }
    eventually_async(Duration::from_secs(10), async || -> Result<()> {
        let mut tx = db.read().await?;
        let busy: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'",
        )
        .fetch_one(&mut *tx)
        .await?;
        anyhow::ensure!(busy == 0, "{busy} connections at work");
        Ok(())
    })
    .await
}
