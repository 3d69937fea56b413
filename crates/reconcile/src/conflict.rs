//! Objects that claim one item with different values. The first by key wins; the others are
//! rejected with a message, so that no item changes its owner silently or by itself. Pure.

use crate::desired::{Desired, Origin};
use crate::subsystem::Subsystem;
use novanet_model::ObjectKey;
use std::collections::BTreeMap;

/// The claims of an item that lost, with the message for each object. An object that can live with
/// the winner's value is not among them.
pub(crate) fn rejected_claims<R: Subsystem>(
    subsystem: &R,
    desired: &Desired<R::Key, R::Value>,
    item: &R::Key,
) -> BTreeMap<ObjectKey, String> {
    let mut claims = desired.claims(item);
    let Some((Origin::Object(first), value)) = claims.next() else {
        return BTreeMap::new();
    };
    let others = claims.filter_map(|(origin, claimed)| match origin {
        Origin::Object(object) if claimed != value => Some((object, claimed)),
        _ => None,
    });
    others
        .filter_map(|(object, claimed)| {
            let why = subsystem.detect_conflict(item, (first, value), (object, claimed))?;
            Some((object.clone(), why))
        })
        .collect()
}
