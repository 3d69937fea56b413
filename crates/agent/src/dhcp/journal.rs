//! The lease journal of a host: the current leases, and the events that the server has not
//! acknowledged. Depends on the file system only.
//!
//! A file of JSON lines under `state_path`. The applet that dnsmasq runs for each event
//! ([`super::applet`]) appends it, so no event is lost while no agent runs. `lease` lines are the
//! acknowledged leases; `event` lines follow, oldest first, until the server acknowledges them. The
//! lock is a file of its own, because an acknowledgement replaces the journal.

use crate::{private, reserve};
use novanet_model::wire::{LeaseChange, LeaseEvent};
use novanet_model::{IfName, MacAddr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A lease, as dnsmasq reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The bridge of the dnsmasq that gave it.
    pub bridge: IfName,
    /// The leased address.
    pub address: Ipv4Addr,
    /// The client.
    pub mac: MacAddr,
    /// The client's name; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Lease(Lease),
    Event {
        change: LeaseChange,
        #[serde(flatten)]
        lease: Lease,
    },
}

type Leases = BTreeMap<(IfName, Ipv4Addr), Lease>;

/// The journal in a folder.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

#[derive(Debug, Default)]
struct Content {
    /// Leases that the server has.
    acknowledged: Leases,
    /// Events since then that changed an owner, oldest first.
    pending: Vec<(LeaseChange, Lease)>,
    /// Leases after all events.
    now: Leases,
}

impl Content {
    fn read(text: &str) -> Self {
        let mut content = Self::default();
        for line in text.lines() {
            // A full disk cuts one line short; the others are still valid.
            match serde_json::from_str(line) {
                Ok(Line::Lease(lease)) => {
                    content.acknowledged.insert(key(&lease), lease.clone());
                    content.now.insert(key(&lease), lease);
                }
                Ok(Line::Event { change, lease }) => content.add(change, lease),
                Err(_) => {}
            }
        }
        content
    }

    /// Drops a repeated `add` (a renewal, a new dnsmasq) and a `del` of a lease that has another
    /// owner by now.
    fn add(&mut self, change: LeaseChange, lease: Lease) {
        if fold(&mut self.now, change, &lease) {
            self.pending.push((change, lease));
        }
    }

    fn write(&self) -> io::Result<String> {
        let leases = self.acknowledged.values().cloned().map(Line::Lease);
        let events = self.pending.iter().cloned();
        let events = events.map(|(change, lease)| Line::Event { change, lease });
        leases.chain(events).try_fold(String::new(), |text, line| {
            Ok(text + &serde_json::to_string(&line)? + "\n")
        })
    }
}

fn key(lease: &Lease) -> (IfName, Ipv4Addr) {
    (lease.bridge.clone(), lease.address)
}

/// Applies an event. Returns whether it changed the owner of the lease.
fn fold(leases: &mut Leases, change: LeaseChange, lease: &Lease) -> bool {
    let key = key(lease);
    match change {
        LeaseChange::Leased => {
            let before = leases.insert(key, lease.clone());
            before.is_none_or(|before| before.mac != lease.mac)
        }
        LeaseChange::Released => {
            let its = leases.get(&key).is_some_and(|l| l.mac == lease.mac);
            if its {
                leases.remove(&key);
            }
            its
        }
    }
}

impl Journal {
    /// The journal in `folder`; the first event makes the folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// As given to [`Self::new`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self) -> PathBuf {
        self.folder.join("leases.journal")
    }

    fn lock(&self) -> io::Result<File> {
        private::folder(&self.folder)?;
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true);
        let lock = private::open(options, &self.folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn content(&self) -> io::Result<Content> {
        match std::fs::read_to_string(self.path()) {
            Ok(text) => Ok(Content::read(&text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
            Err(e) => Err(e),
        }
    }

    /// Adds an event at the end. Waits for other writers.
    pub fn append(&self, change: LeaseChange, lease: &Lease) -> io::Result<()> {
        reserve::write(&self.path(), || self.append_once(change, lease))
    }

    fn append_once(&self, change: LeaseChange, lease: &Lease) -> io::Result<()> {
        let _lock = self.lock()?;
        let line = Line::Event {
            change,
            lease: lease.clone(),
        };
        let mut text = serde_json::to_string(&line)? + "\n";
        let mut options = File::options();
        let options = options.create(true).read(true).append(true);
        let mut file = private::open(options, &self.path())?;
        if !ends_with_newline(&mut file)? {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())
    }

    /// The current leases.
    pub fn leases(&self) -> io::Result<Vec<Lease>> {
        Ok(self.content()?.now.into_values().collect())
    }

    /// The events that the server has not acknowledged, oldest first.
    pub fn pending(&self) -> io::Result<Vec<LeaseEvent>> {
        let events = self.content()?.pending.into_iter();
        Ok(events
            .map(|(event, lease)| LeaseEvent {
                event,
                address: lease.address,
                mac: lease.mac,
            })
            .collect())
    }

    /// Forgets the first `count` events of [`Journal::pending`]: the server has them.
    pub fn acknowledge(&self, count: usize) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut content = self.content()?;
        let count = count.min(content.pending.len());
        for (change, lease) in content.pending.drain(..count) {
            fold(&mut content.acknowledged, change, &lease);
        }
        crate::atomic_file::replace(&self.path(), 0o600, content.write()?.as_bytes())
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lease(address: u8, mac: u8) -> Lease {
        Lease {
            bridge: IfName::new("br100").unwrap(),
            address: [10, 0, 0, address].into(),
            mac: MacAddr([2, 0x16, 0x3e, 0, 0, mac]),
            hostname: "web".into(),
        }
    }

    fn pending_of(journal: &Journal) -> Vec<String> {
        let pending = journal.pending().unwrap();
        let text = |e: LeaseEvent| format!("{:?} {} {}", e.event, e.address, e.mac);
        pending.into_iter().map(text).collect()
    }

    #[test]
    fn each_change_of_owner_is_pending_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("dhcp"));
        journal.append(LeaseChange::Leased, &lease(3, 1)).unwrap();
        journal.append(LeaseChange::Leased, &lease(3, 1)).unwrap(); // the same owner
        journal.append(LeaseChange::Leased, &lease(4, 2)).unwrap();
        journal.append(LeaseChange::Leased, &lease(3, 5)).unwrap();
        journal.append(LeaseChange::Released, &lease(3, 1)).unwrap(); // has another owner by now
        assert_eq!(
            pending_of(&journal),
            [
                "Leased 10.0.0.3 02:16:3e:00:00:01",
                "Leased 10.0.0.4 02:16:3e:00:00:02",
                "Leased 10.0.0.3 02:16:3e:00:00:05",
            ]
        );
        journal.acknowledge(2).unwrap();
        journal.append(LeaseChange::Released, &lease(4, 2)).unwrap();
        let again = Journal::new(folder.path().join("dhcp"));
        assert_eq!(
            pending_of(&again),
            [
                "Leased 10.0.0.3 02:16:3e:00:00:05",
                "Released 10.0.0.4 02:16:3e:00:00:02",
            ]
        );
        again.acknowledge(2).unwrap();
        assert!(pending_of(&again).is_empty());
        assert_eq!(again.leases().unwrap(), [lease(3, 5)]);
    }

    #[test]
    fn a_truncated_line_loses_that_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        journal.append(LeaseChange::Leased, &lease(3, 1)).unwrap();
        let whole = std::fs::read(journal.path()).unwrap();
        journal.append(LeaseChange::Leased, &lease(4, 2)).unwrap();
        let file = File::options().write(true).open(journal.path()).unwrap();
        file.set_len(whole.len() as u64 + 9).unwrap();
        journal.append(LeaseChange::Leased, &lease(5, 3)).unwrap();
        assert_eq!(journal.leases().unwrap(), [lease(3, 1), lease(5, 3)]);
    }

    #[test]
    fn concurrent_writers_lose_no_event_while_others_acknowledge() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let mut seen = 0;
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let journal = journal.clone();
                scope.spawn(move || {
                    for i in 0..50 {
                        let address = writer * 50 + i;
                        journal
                            .append(LeaseChange::Leased, &lease(address, address))
                            .unwrap();
                    }
                });
            }
            while seen < 200 {
                let some = journal.pending().unwrap().len();
                journal.acknowledge(some).unwrap();
                seen += some;
            }
        });
        assert_eq!(seen, 200);
        assert_eq!(journal.leases().unwrap().len(), 200);
    }
}
