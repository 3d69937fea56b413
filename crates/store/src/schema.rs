//! The schema: its steps, and which of them a database has. Refuses a database that is not ours at
//! all; writes nothing. Depends on connections only, `migrate` brings a database up to the steps.
//!
//! Steps are numbered below 1000 where both engines share them and above where they do not, so the
//! largest number says little: a schema's version is the number of its steps. The list of steps has
//! sqlx's name and shape; sqlx's own runner is not used, as it writes that list into any database,
//! and a step at a time.

use crate::engine_tx::Engine;
use crate::session::Conn;
use crate::{Result, StoreError};
use sha2::{Digest as _, Sha384};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// The files of a folder in `migrations/`: name, and SQL.
macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../migrations/", $folder, "/", $name, ".sql")))),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

const COMMON: Files = files!("common":
    "0001_cloud" "0002_launch_digest" "0003_disk_gb" "0004_host_addresses"
    "0005_sealed_user_data" "0006_several_ports" "0010_accepted_epochs" "0012_certificates"
    "0013_one_vlan_id" "0014_reserved_macs" "0015_dhcp_server" "0016_dhcp_options" "0017_vpns"
    "0018_rule_descriptions" "0019_network_snat" "0020_provider_rules"
    "0021_halted"
);
const SQLITE: Files = files!("sqlite": "1001_dirty");
const POSTGRES: Files = files!("postgres": "1001_dirty");

/// A step of the schema.
pub(crate) struct Step {
    /// The words of the file's name.
    pub(crate) description: String,
    pub(crate) sql: &'static str,
    /// SHA-384 of the SQL, as sqlx's own runner computes it.
    pub(crate) checksum: Vec<u8>,
}

impl Step {
    /// Number and step of a file `NUMBER_WORDS`. A name without a number is number 0.
    fn of((name, sql): (&str, &'static str)) -> (i64, Self) {
        let (number, words) = name.split_once('_').unwrap_or(("0", name));
        let step = Self {
            description: words.replace('_', " "),
            sql,
            checksum: Sha384::digest(sql).to_vec(),
        };
        (number.parse().unwrap_or(0), step)
    }
}

/// The table of the steps that a database has.
pub(crate) const LIST: &str = "_sqlx_migrations";

/// The first step of all.
const FIRST: i64 = 1;

/// The remedy for a database of another program.
const ELSEWHERE: &str =
    "it is left as it is: name an empty one with --sql_connection, or another --state_path";

/// The steps of a database, after making sure that it is ours or empty. Writes nothing.
pub(crate) async fn look(c: &mut Conn, engine: Engine, name: &str) -> Result<BTreeSet<i64>> {
    let tables = tables(c, engine).await?;
    if !tables.contains(LIST) {
        if tables.is_empty() {
            return Ok(BTreeSet::new());
        }
        return Err(foreign(name, &tables));
    }
    let wanted = steps(engine);
    let mut have = BTreeSet::new();
    let found = sqlx::query(
        "SELECT version, CAST(CASE WHEN success THEN 1 ELSE 0 END AS BIGINT) AS done, checksum \
         FROM _sqlx_migrations ORDER BY version",
    )
    .fetch_all(c)
    .await?;
    for step in &found {
        let version: i64 = step.try_get("version")?;
        let checksum: Option<Vec<u8>> = step.try_get("checksum").ok();
        match wanted.get(&version) {
            Some(known) if checksum.as_ref() != Some(&known.checksum) => {
                return Err(differs(name, version));
            }
            Some(_) if step.try_get::<i64, _>("done")? == 0 => return Err(cut_off(name, version)),
            _ => have.insert(version),
        };
    }
    // Another program's list of steps, or tables beside an empty list.
    let ours = have.contains(&FIRST) || (have.is_empty() && tables.len() == 1);
    if ours {
        Ok(have)
    } else {
        Err(foreign(name, &tables))
    }
}

/// The names of all tables.
pub(crate) async fn tables(c: &mut Conn, engine: Engine) -> Result<BTreeSet<String>> {
    let sql = match engine {
        Engine::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'"
        }
        Engine::Postgres => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()"
        }
    };
    let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(c).await?;
    Ok(names.into_iter().collect())
}

fn foreign(name: &str, tables: &BTreeSet<String>) -> StoreError {
    let whose = if tables.contains("migrate_version") {
        // sqlalchemy-migrate's, which nova used to its end.
        "is of nova itself, which kept other things in tables of the same names".to_owned()
    } else {
        let some: Vec<&str> = tables.iter().map(String::as_str).take(3).collect();
        let more = if tables.len() > some.len() {
            ", …"
        } else {
            ""
        };
        format!(
            "has tables that novanet did not make: {}{more}",
            some.join(", ")
        )
    };
    StoreError::Refused(format!("database {name}: {whose} ({ELSEWHERE})"))
}

fn differs(name: &str, step: i64) -> StoreError {
    StoreError::Refused(format!(
        "database {name}: was made by another program: step {step} of its schema differs \
         (use the novanet that made it; {ELSEWHERE})"
    ))
}

fn cut_off(name: &str, step: i64) -> StoreError {
    StoreError::Refused(format!(
        "database {name}: step {step} of its schema was cut off in the middle \
         (restore it from a backup; {ELSEWHERE})"
    ))
}

/// All steps of an engine, by number.
pub(crate) fn steps(engine: Engine) -> BTreeMap<i64, Step> {
    let own = match engine {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    COMMON.iter().chain(own).copied().map(Step::of).collect()
}

/// The statement that makes [`LIST`].
pub(crate) fn list_of(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => {
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)"
        }
        Engine::Postgres => {
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, \
             checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)"
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_two_steps_have_the_same_number() {
        for (engine, own) in [(Engine::Sqlite, SQLITE), (Engine::Postgres, POSTGRES)] {
            let files = COMMON.len() + own.len();
            assert_eq!(
                steps(engine).len(),
                files,
                "{engine:?}: one of two would never run"
            );
        }
    }

    #[test]
    fn every_file_of_migrations_is_a_step() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        for (folder, files) in [
            ("common", COMMON),
            ("sqlite", SQLITE),
            ("postgres", POSTGRES),
        ] {
            let entries = std::fs::read_dir(root.join(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let there: BTreeSet<String> = names.collect();
            let listed = files.iter().map(|(name, _)| format!("{name}.sql"));
            assert_eq!(listed.collect::<BTreeSet<_>>(), there, "{folder}");
            assert!(files.iter().all(|file| Step::of(*file).0 > 0), "{folder}");
        }
    }

    #[test]
    fn a_step_has_the_checksum_that_databases_of_earlier_versions_hold() {
        let steps = steps(Engine::Sqlite);
        let (step, start) = (
            &steps[&1001],
            [0x0d, 0xf5, 0x9d, 0x26, 0x1b, 0x96, 0x2c, 0xa2],
        );
        assert_eq!(step.description, "dirty");
        assert_eq!(step.checksum.len(), 48);
        assert!(step.checksum.starts_with(&start), "{:x?}", step.checksum);
    }
}
