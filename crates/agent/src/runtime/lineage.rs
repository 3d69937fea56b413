//! Detects that the server's database is not the one that this host follows, but an empty one, an
//! older copy, or an older copy with changes of its own. While they differ, the host changes and
//! removes nothing, until the operator decides (docs/restore.md). Depends on the desired objects;
//! pure, but for the log.
//!
//! The versions prove it: in one history neither the clock nor the version of an object decreases,
//! and every deletion leaves a tombstone.

use super::desired_objects::DesiredObjects;
use novanet_model::wire::Objects;
use novanet_model::{HostObject, InstanceId, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many instances a message names.
const NAMED: usize = 5;

/// The operator's two choices, as part of an error message.
pub const REMEDY: &str = "bring the right database back, or decide: nova-manage db restored --adopt \
    (the database learns what this host runs) or --drop (this host removes what the database does \
    not know)";

/// The proof that the news come from another database than the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The epochs differ, and the operator has not decided that one takes over.
    Other {
        /// The ledger's epoch.
        here: String,
        /// The server's epoch.
        there: String,
    },
    /// The database's clock is behind the ledger's.
    Older {
        /// The ledger's clock.
        here: i64,
        /// The server's clock.
        there: i64,
    },
    /// The clock is not behind, but this object has an older version than in the ledger, or is
    /// another object under the same key.
    Branched(ObjectKey),
    /// The clock is not behind, but the list lacks objects of the ledger and has no tombstones of
    /// them.
    Missing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other { here, there } => write!(
                f,
                "the database is another one (epoch {there}) than the one that this host follows \
                 (epoch {here})"
            ),
            Self::Older { here, there } => write!(
                f,
                "the database is an older copy: its clock is at {there}, this host has seen {here}"
            ),
            Self::Branched(key) => write!(
                f,
                "the database is an older copy that has gone on: its {key} is not this host's"
            ),
            Self::Missing => f.write_str(
                "the database is an older copy that has gone on: it never had objects of this host",
            ),
        }
    }
}

/// Why a host merges nothing of a server's news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The proof.
    pub reason: Reason,
    /// Objects of the ledger that the database does not know; empty if the news are no list.
    pub unknown: Vec<ObjectKey>,
}

impl Mismatch {
    /// Compares the news with the table; `None`: both are of one history. The cost grows with the
    /// news, for a list with the table too.
    pub fn about(table: &DesiredObjects, news: &Objects) -> Option<Self> {
        let here = table.position();
        if !table.is_known() || news.accepts.contains(&here.epoch) {
            return None;
        }
        let reason = if news.epoch != here.epoch {
            Some(Reason::Other {
                here: here.epoch,
                there: news.epoch.clone(),
            })
        } else if news.version < here.after {
            Some(Reason::Older {
                here: here.after,
                there: news.version,
            })
        } else {
            branched(table, news).map(Reason::Branched)
        };
        let unknown = if news.whole {
            missing(table, news)
        } else {
            Vec::new()
        };
        let reason = reason.or((!unknown.is_empty()).then_some(Reason::Missing))?;
        // The follower asks for a list next, which names the unknown objects.
        Some(Self { reason, unknown })
    }

    /// The unknown objects, for people: instances by id, the others as a count.
    pub fn names(&self) -> String {
        let instances: BTreeSet<i64> = self.unknown.iter().filter_map(instance).collect();
        let others = self.unknown.iter().filter(|key| instance(key).is_none());
        let (count, others) = (instances.len(), others.count());
        let mut words: Vec<String> = instances
            .into_iter()
            .take(NAMED)
            .map(|id| InstanceId(id).to_string())
            .collect();
        if count > NAMED {
            words.push(format!("{} more instances", count - NAMED));
        }
        if others > 0 {
            words.push(format!("{others} other objects"));
        }
        words.join(", ")
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if !self.unknown.is_empty() {
            write!(f, "; it does not know {}", self.names())?;
        }
        Ok(())
    }
}

/// The instance of an `instance/N` key.
fn instance(key: &ObjectKey) -> Option<i64> {
    key.0.strip_prefix("instance/")?.parse().ok()
}

/// The first changed object that does not continue the ledger's object of the same key.
fn branched(table: &DesiredObjects, news: &Objects) -> Option<ObjectKey> {
    news.changes.iter().find_map(|change| {
        let entry = table.entry(&change.key)?;
        let older = change.version < entry.version;
        // A port keeps its MAC, and the cloud never uses the number of an instance again.
        let other = match (&*entry.object, &change.object) {
            (HostObject::Port(here), Some(HostObject::Port(there))) => here.mac != there.mac,
            _ => false,
        };
        (older || other).then(|| change.key.clone())
    })
}

/// The objects of the table that the list has neither as an object nor as a tombstone.
fn missing(table: &DesiredObjects, list: &Objects) -> Vec<ObjectKey> {
    let said: BTreeMap<_, _> = list.changes.iter().map(|c| (&c.key, c.version)).collect();
    table
        .iter()
        .filter(|(key, _)| !said.contains_key(key))
        .map(|(key, _)| key.clone())
        .collect()
}

/// Holds the host as it is while there is a mismatch.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Mismatch>);

impl Held {
    /// Starts or continues the hold. `true`: the mismatch differs from the one before, and is logged.
    pub(super) fn hold(&mut self, mismatch: Mismatch) -> bool {
        if self.0.as_ref() == Some(&mismatch) {
            return false;
        }
        tracing::error!(reason = %mismatch, "nothing on this host is changed or removed: {REMEDY}");
        self.0 = Some(mismatch);
        true
    }

    /// Ends the hold: the database is the one that this host follows.
    pub(super) fn release(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("the server's database is this host's again, or was decided to be");
        }
    }

    /// The mismatch and the remedy; `None`: the host is not held.
    pub(super) fn message(&self) -> Option<String> {
        let mismatch = self.0.as_ref()?;
        Some(format!(
            "{mismatch}; nothing on this host is changed or removed: {REMEDY}"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use novanet_model::object::{Member, Port, port_name};
    use novanet_model::wire::Change;
    use novanet_model::{CombinationId, GroupId, IfName, MacAddr, NetworkId};

    fn member(n: u8) -> HostObject {
        HostObject::Member(Member {
            group: GroupId(1),
            address: [10, 0, 0, n].into(),
        })
    }

    fn port(mac: u8) -> HostObject {
        HostObject::Port(Port {
            instance: InstanceId(7),
            index: 0,
            network: NetworkId(1),
            name: port_name(InstanceId(7), 0),
            bridge: IfName::new("br100").unwrap(),
            mac: MacAddr([2, 0, 0, 0, 0, mac]),
            address: [10, 0, 0, 7].into(),
            combination: CombinationId(1),
            groups: vec![GroupId(1)],
            vpn_clients: None,
            siblings: Vec::new(),
        })
    }

    fn news(version: i64, whole: bool, objects: &[(i64, HostObject, bool)]) -> Objects {
        let change = |(version, object, there): &(i64, HostObject, bool)| Change {
            key: object.key(),
            version: *version,
            object: there.then(|| object.clone()),
        };
        Objects {
            epoch: "e1".to_owned(),
            version,
            whole,
            changes: objects.iter().map(change).collect(),
            ..Objects::default()
        }
    }

    fn table() -> DesiredObjects {
        let mut table = DesiredObjects::default();
        table.merge(news(
            9,
            true,
            &[
                (3, member(1), true),
                (5, member(2), true),
                (9, port(1), true),
            ],
        ));
        table
    }

    fn reason(news: &Objects) -> Option<Reason> {
        Mismatch::about(&table(), news).map(|mismatch| mismatch.reason)
    }

    #[test]
    fn what_one_history_can_say_is_taken() {
        let all = [
            (3, member(1), true),
            (5, member(2), true),
            (9, port(1), true),
        ];
        assert_eq!(reason(&news(9, true, &all)), None);
        assert_eq!(reason(&news(10, false, &[(10, member(1), false)])), None);
        // A list that says what is gone.
        let gone = [
            (12, member(1), false),
            (5, member(2), true),
            (11, port(1), true),
        ];
        assert_eq!(reason(&news(12, true, &gone)), None);
        // The first list of all.
        assert_eq!(
            Mismatch::about(&DesiredObjects::default(), &news(1, true, &[])),
            None
        );
        // Another epoch that was decided about, whatever it has.
        let mut decided = news(1, true, &[]);
        decided.epoch = "e2".to_owned();
        decided.accepts = vec!["e0".to_owned(), "e1".to_owned()];
        assert_eq!(reason(&decided), None);
    }

    #[test]
    fn what_one_history_cannot_say_is_not_taken() {
        let older = Reason::Older { here: 9, there: 8 };
        assert_eq!(reason(&news(8, true, &[])), Some(older.clone()));
        assert_eq!(reason(&news(8, false, &[])), Some(older));
        let two = [(3, member(1), true), (5, member(2), true)];
        let mismatch = Mismatch::about(&table(), &news(20, true, &two)).unwrap();
        assert_eq!(mismatch.reason, Reason::Missing);
        assert_eq!(mismatch.unknown, [port(1).key()]);
        // An object that is older than the one here, or another instance of the same number.
        let back = [
            (2, member(1), true),
            (5, member(2), true),
            (9, port(1), true),
        ];
        let branched = Reason::Branched(member(1).key());
        assert_eq!(reason(&news(20, true, &back)), Some(branched));
        let branched = Reason::Branched(port(1).key());
        let other = news(20, false, &[(20, port(2), true)]);
        assert_eq!(reason(&other), Some(branched));
        let mut another = news(99, true, &[]);
        another.epoch = "e2".to_owned();
        assert!(matches!(reason(&another), Some(Reason::Other { .. })));
    }

    #[test]
    fn instances_are_named_before_everything_else() {
        let key = |text: &str| ObjectKey(text.to_owned());
        let mut unknown: Vec<_> = (1..=7).map(|n| key(&format!("instance/{n}"))).collect();
        unknown.push(key("port/1/0"));
        let reason = Reason::Missing;
        let mismatch = Mismatch { reason, unknown };
        assert_eq!(
            mismatch.names(),
            "i-00000001, i-00000002, i-00000003, i-00000004, i-00000005, 2 more instances, \
             1 other objects"
        );
    }
}
