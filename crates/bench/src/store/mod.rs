//! The store and the use cases above it, on both engines, durable: a real cloud in a folder on
//! disk, or on a PostgreSQL of its own through its unix socket. Hosts are rows only; no agent
//! programs them.

#![allow(clippy::unnecessary_wraps)] // a measurement answers like all others

mod allocate;
mod cli_write;
mod delta;
mod followers;
mod memory;
mod network;
mod signature;
mod stage;

use super::Measurement;
use super::harness::Row;
use anyhow::{Result, anyhow};
use novanet_control::Engine;
use novanet_lab::Postgres;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

use stage::Stage;
pub(super) use stage::launch;

/// What the group measures.
pub(super) const FIGURES: &[Measurement<World>] = &[
    Measurement {
        name: "store/network",
        about: "network create: a /8 beside a /24",
        run: network::run,
    },
    Measurement {
        name: "store/allocate",
        about: "fixed addresses for new instances, 8 writers",
        run: allocate::run,
    },
    Measurement {
        name: "store/followers",
        about: "use cases with 50 hosts and 4 followers, nothing lost",
        run: followers::run,
    },
    Measurement {
        name: "store/delta",
        about: "the delta of one change among 10,000 objects",
        run: delta::run,
    },
    Measurement {
        name: "store/cli-write",
        about: "a nova-manage write while the server commits flat out",
        run: cli_write::run,
    },
    Measurement {
        name: "store/signature",
        about: "decoding and checking a signed request",
        run: signature::run,
    },
    Measurement {
        name: "store/memory",
        about: "resident memory of a server with 1,000 instances",
        run: memory::run,
    },
];

/// What the measurements share.
pub(super) struct World {
    /// The product's binary.
    program: PathBuf,
    runtime: Runtime,
    postgres: Result<Arc<Postgres>, String>,
}

impl World {
    /// Starts PostgreSQL. Without one its figures fail, and SQLite's do not.
    pub(super) fn new(program: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            program: program.to_owned(),
            runtime,
            postgres: Postgres::start()
                .map(Arc::new)
                .map_err(|error| format!("{error:#}")),
        })
    }

    /// A cloud with nothing in it but a project, an image and a host.
    fn stage(&self, engine: Engine) -> Result<Stage> {
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(self.postgres.clone().map_err(|e| anyhow!(e))?),
        };
        self.runtime.block_on(Stage::new(&self.program, postgres))
    }

    /// Measures on a fresh cloud of each engine. What fails on one is a row, and the other goes on.
    fn on_both(
        &self,
        name: &str,
        measure: impl AsyncFnOnce(&mut Stage) -> Result<Vec<Row>> + Copy,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let measured = self.stage(engine).and_then(|mut stage| {
                let measured = self.runtime.block_on(measure(&mut stage));
                self.runtime.block_on(stage.cloud.close());
                measured
            });
            rows.extend(measured.unwrap_or_else(|error| {
                vec![Row::failed(format!("{name}, {}", title(engine)), &error)]
            }));
        }
        rows
    }
}

/// An engine's name for people.
fn title(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "PostgreSQL",
    }
}
