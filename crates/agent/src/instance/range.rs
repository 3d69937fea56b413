//! Allocates the host's user ids to instances: each gets a range of its own, so that it shares
//! neither the kernel's per-user limits nor files with another one. Depends on the folders of the
//! instances.
//!
//! The file `range` in an instance's folder holds the number of its range; there is no other table.
//! Instances of an older agent, and of hosts that cannot map ids of images, have number 0: the
//! shared range.

use crate::image::IDS;
use novanet_reconcile::SubsystemError;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The number of the range that instances share.
pub(super) const SHARED: u32 = 0;
const FILE: &str = "range";
/// More than a host has bridge ports for.
const MAX_RANGE: u32 = 4093;
/// systemd has the ids from here on (foreign images); programs with signed ids fail beyond those.
const END: u64 = 0x7ffe_0000;

/// The ranges in use.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    base: u32,
    /// `None`: not read from the folders yet.
    used: Arc<Mutex<Option<BTreeSet<u32>>>>,
}

impl Ranges {
    /// Ranges above the shared one, which begins at `base`.
    pub(super) fn new(base: u32) -> Self {
        Self {
            base,
            used: Arc::default(),
        }
    }

    /// The host's id of root of the instance in this folder.
    pub(super) fn root_of(&self, folder: &Path) -> u32 {
        self.base + number_of(folder) * IDS
    }

    /// Gives the lowest free range to the instance of `folder`. `all`: the folder with all folders.
    pub(super) fn allocate(&self, folder: &Path, all: &Path) -> Result<(), SubsystemError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = match &mut *used {
            Some(used) => used,
            none => none.insert(read_all(all)?),
        };
        let taken = subordinate_ids();
        let number = (SHARED + 1..=MAX_RANGE)
            .filter(|number| !used.contains(number))
            .find(|number| self.is_ours(*number, &taken))
            .ok_or_else(|| {
                SubsystemError::Refused(
                    "no range of user ids is left: see instance_uid_base, /etc/subuid, /etc/subgid"
                        .to_owned(),
                )
            })?;
        let path = folder.join(FILE);
        crate::atomic_file::replace(&path, 0o600, number.to_string().as_bytes())
            .map_err(|e| SubsystemError::kernel(path.display().to_string(), e))?;
        used.insert(number);
        Ok(())
    }

    /// Frees the range of a removed folder. The caller reads its number before the removal.
    pub(super) fn release(&self, number: u32) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = &mut *used {
            used.remove(&number);
        }
    }

    fn is_ours(&self, number: u32, taken: &[(u64, u64)]) -> bool {
        let first = u64::from(self.base) + u64::from(number) * u64::from(IDS);
        let last = first + u64::from(IDS) - 1;
        last < END && !taken.iter().any(|(from, to)| *from <= last && first <= *to)
    }
}

/// The number of the range of the instance in this folder.
pub(super) fn number_of(folder: &Path) -> u32 {
    std::fs::read_to_string(folder.join(FILE))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(SHARED)
}

/// The numbers in all folders, also those that an agent is making or removing.
fn read_all(all: &Path) -> Result<BTreeSet<u32>, SubsystemError> {
    let failed = |e: std::io::Error| SubsystemError::kernel(all.display().to_string(), e);
    let mut numbers = BTreeSet::new();
    for entry in std::fs::read_dir(all).map_err(failed)? {
        numbers.insert(number_of(&entry.map_err(failed)?.path()));
    }
    Ok(numbers)
}

/// Ids that the administrator gave to users for containers, as (first, last).
fn subordinate_ids() -> Vec<(u64, u64)> {
    ["/etc/subuid", "/etc/subgid"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(subordinate).collect::<Vec<_>>())
        .collect()
}

/// A line `user:first:count` of `/etc/subuid`.
fn subordinate(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(':').skip(1);
    let first: u64 = fields.next()?.trim().parse().ok()?;
    let count: u64 = fields.next()?.trim().parse().ok()?;
    Some((first, first + count.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_instance_has_the_lowest_range_that_no_folder_has() {
        let all = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = all.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let old = folder("i-00000001");
        std::fs::write(folder("i-00000002").join(FILE), "1").unwrap();
        std::fs::write(folder(".removed-i-00000003").join(FILE), "3").unwrap();
        let ranges = Ranges::new(1_000_000);
        assert_eq!(
            ranges.root_of(&old),
            1_000_000,
            "as the older agent made it"
        );
        for (name, number) in [("i-00000004", 2), ("i-00000005", 4)] {
            let new = folder(name);
            ranges.allocate(&new, all.path()).unwrap();
            assert_eq!(number_of(&new), number);
            assert_eq!(ranges.root_of(&new), 1_000_000 + number * IDS);
        }
        ranges.release(1);
        let new = folder("i-00000006");
        ranges.allocate(&new, all.path()).unwrap();
        assert_eq!(number_of(&new), 1);
    }

    #[test]
    fn a_range_is_neither_systemds_nor_a_users() {
        let ranges = Ranges::new(0x7000_0000);
        assert!(ranges.is_ours(MAX_RANGE, &[]));
        assert!(!ranges.is_ours(MAX_RANGE + 1, &[]));
        let taken = [subordinate("alice:1879113727:65536").unwrap()];
        assert!(!ranges.is_ours(1, &taken), "its first id");
        assert!(!ranges.is_ours(2, &[(0, u64::from(u32::MAX))]));
        assert!(ranges.is_ours(2, &taken[..0]));
        assert_eq!(subordinate("# comment"), None);
        assert_eq!(subordinate("bob:1:0"), None);
    }
}
