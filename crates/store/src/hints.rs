//! Hints that a host's objects changed, within one process; [`Db::listen`](crate::Db::listen) and a
//! poll of the clock row bring those of others. A lost hint costs a poll, never correctness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tokio::sync::watch;

/// One channel per followed host; the value is the version of the last change.
#[derive(Debug, Default)]
pub struct Hints {
    hosts: Mutex<BTreeMap<String, watch::Sender<i64>>>,
}

impl Hints {
    /// Hears of changes to `host`'s objects from now on.
    pub fn follow(&self, host: &str) -> watch::Receiver<i64> {
        let mut hosts = self.lock();
        hosts
            .entry(host.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    /// Objects of these hosts changed at `version`.
    pub(crate) fn tell(&self, version: i64, touched: &BTreeSet<String>) {
        let mut hosts = self.lock();
        for host in touched {
            if let Some(sender) = hosts.get(host) {
                sender.send_replace(version);
                if sender.receiver_count() == 0 {
                    hosts.remove(host);
                }
            }
        }
    }

    /// Another process changed objects of unknown hosts: all followers look.
    pub fn tell_all(&self, version: i64) {
        for sender in self.lock().values() {
            sender.send_if_modified(|last| {
                let news = *last < version;
                *last = (*last).max(version);
                news
            });
        }
    }

    /// Notifications may be lost: all followers look.
    pub(crate) fn wake_all(&self) {
        for sender in self.lock().values() {
            sender.send_modify(|_| {});
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, watch::Sender<i64>>> {
        self.hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
