//! Types that the files of the nft renderer share. Depends on the items and the subsystem contract.

use super::item::{Key, Value};
use novanet_reconcile::{Change, Desired, SubsystemError};

/// Changes to make, in order.
pub(in crate::firewall) type Changes<'a> = &'a [Change<Key, Value>];
/// The whole desired state.
pub(in crate::firewall) type Wanted = Desired<Key, Value>;
/// What failed, by item.
pub(in crate::firewall) type Errors = Vec<(Key, SubsystemError)>;

/// Whether an item is text (through the `nft` program) and not an element (by netlink).
pub(in crate::firewall) fn is_text(key: &Key) -> bool {
    !matches!(key, Key::Element(..))
}
