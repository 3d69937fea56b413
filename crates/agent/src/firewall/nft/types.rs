//! Types that the files of the nft renderer share. Depends on the items and the subsystem contract.

use super::item::{Key, Value};
use novanet_reconcile::{Change, Desired, SubsystemError};

/// Changes to make, in order.
pub(super) type Changes<'a> = &'a [Change<Key, Value>];
/// The whole desired state.
pub(super) type Wanted = Desired<Key, Value>;
/// What failed, by item.
pub(super) type Errors = Vec<(Key, SubsystemError)>;

/// Whether an item is text (through the `nft` program) and not an element (by netlink).
pub(super) fn is_text(key: &Key) -> bool {
    !matches!(key, Key::Element(..))
}
