//! How far hosts are, within this process. A leaf: [`crate::Cloud`] holds it, heartbeats write it,
//! and the calls that wait for hosts read it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::watch;

/// How far hosts are, as they report to this process.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    hosts: Mutex<BTreeMap<String, watch::Sender<i64>>>,
}

impl Reports {
    /// The newest version of a host, to read and to wait for.
    pub(crate) fn of(&self, host: &str) -> watch::Sender<i64> {
        self.hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(host.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .clone()
    }

    /// A host has applied everything up to `version`.
    pub(crate) fn tell(&self, host: &str, version: i64) {
        self.of(host).send_replace(version);
    }
}
