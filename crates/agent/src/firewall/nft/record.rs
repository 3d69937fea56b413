//! The text that the agent wrote last and a digest of the kernel's listing of it, in a file: a
//! restarted agent recognises its rules and leaves them alone. Losing the file costs one rewrite,
//! in one transaction. Depends on the items and the state folder.

use super::item::{Key, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What the agent wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The last generation of accepted flows that was made the valid one, or may have been.
    pub(super) generation: u16,
    /// The last one that certainly was valid; `None`: unknown.
    pub(super) valid: Option<u16>,
    /// Digest of the kernel's listing after our last text; `None`: unknown.
    pub(super) fingerprint: Option<String>,
    /// The items that were text.
    pub(super) text: BTreeMap<Key, Value>,
    /// iptables may have rules of ours.
    pub(super) iptables: bool,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    generation: u16,
    #[serde(default)]
    valid: Option<u16>,
    fingerprint: Option<String>,
    text: Vec<(Key, Value)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    iptables: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            generation: seed(),
            valid: None,
            fingerprint: None,
            text: BTreeMap::new(),
            iptables: false,
        }
    }
}

/// A generation to begin with when neither record nor kernel know the last one: hundredths of
/// seconds since the machine started. No flow is older, so no flow has it from a lost record.
fn seed() -> u16 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let digits: String = uptime
        .chars()
        .take_while(|c| !c.is_whitespace())
        .filter(char::is_ascii_digit)
        .collect();
    let hundredths: u64 = digits.parse().unwrap_or(0);
    usable(u16::try_from(hundredths & 0xffff).unwrap_or(1))
}

/// 0 marks flows from before our rules, 0xdead marks denied flows.
fn usable(generation: u16) -> u16 {
    match generation {
        0 => 1,
        0xdead => 0xdeae,
        other => other,
    }
}

impl Record {
    /// Where it is, below `state_path`.
    pub(super) fn path(state_path: &Path) -> PathBuf {
        state_path.join("firewall.json")
    }

    /// Reads it; a missing or unreadable file is an empty record.
    pub(super) fn load(path: &Path) -> Self {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the firewall's record cannot be read");
                }
                return Self::default();
            }
        };
        match serde_json::from_slice::<OnDisk>(&text) {
            Ok(disk) => Self {
                generation: usable(disk.generation),
                valid: disk.valid,
                fingerprint: disk.fingerprint,
                text: disk.text.into_iter().collect(),
                iptables: disk.iptables,
            },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the firewall's record is no record; rules are written again");
                Self::default()
            }
        }
    }

    /// Writes it atomically, readable by root only.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let disk = OnDisk {
            generation: self.generation,
            valid: self.valid,
            fingerprint: self.fingerprint.clone(),
            text: self
                .text
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            iptables: self.iptables,
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        crate::private::folder(folder)?;
        crate::atomic_file::replace(path, 0o600, &serde_json::to_vec(&disk)?)
    }

    /// Forgets it.
    pub(super) fn remove(path: &Path) {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the firewall's record cannot be removed");
        }
    }

    /// The generation after this one.
    pub(super) fn next_generation(&self) -> u16 {
        usable(self.generation.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use novanet_model::CombinationId;

    #[test]
    fn it_comes_back_from_disk_and_rubbish_is_a_record_of_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Record::path(folder.path());
        assert_eq!(Record::load(&path).text, BTreeMap::new());
        let record = Record {
            generation: 0xdeac,
            valid: Some(0xdeab),
            fingerprint: Some("ab".to_owned()),
            text: [(
                Key::Combination(CombinationId(3)),
                Value::Groups(Vec::new()),
            )]
            .into(),
            iptables: true,
        };
        record.save(&path).expect("saved");
        assert_eq!(Record::load(&path), record);
        std::fs::write(&path, "{").expect("written");
        assert_eq!(Record::load(&path).text, BTreeMap::new());
    }

    #[test]
    fn generations_leave_out_those_that_mean_something() {
        let after = |generation| {
            Record {
                generation,
                ..Record::default()
            }
            .next_generation()
        };
        assert_eq!(after(1), 2);
        assert_eq!(after(0xdeac), 0xdeae);
        assert_eq!(after(u16::MAX), 1);
    }
}
