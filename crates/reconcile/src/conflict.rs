//! Objects that want one item of the host to be different things. The first by key has it; the
//! others are told, so that nothing is taken away in silence and nothing changes hands by itself.
//! Unlike the others it is between objects of one subsystem, and the item itself is made.

use crate::reconcile::Reconciler;
use crate::subsystem::{Origin, Subsystem};
use novanet_model::ObjectKey;
use std::collections::BTreeMap;

impl<R: Subsystem> Reconciler<R> {
    /// Items that somebody does not get, who that is, and what to say.
    pub(crate) fn disputes(&self) -> impl Iterator<Item = (&R::Key, &ObjectKey, &str)> {
        self.disputed.iter().flat_map(|(item, losers)| {
            let losers = losers.iter();
            losers.map(move |(object, message)| (item, object, message.as_str()))
        })
    }

    /// Looks at one item whose claims may have changed.
    pub(crate) fn judge(&mut self, item: &R::Key) {
        let losers = self.losers(item);
        let before = if losers.is_empty() {
            self.disputed.remove(item)
        } else {
            self.disputed.insert(item.clone(), losers.clone())
        };
        for (object, message) in losers {
            if before.as_ref().and_then(|b| b.get(&object)) != Some(&message) {
                tracing::warn!(subsystem = R::NAME, key = %item, object = %object.0, error = message, "not in force");
            }
        }
    }

    fn losers(&self, item: &R::Key) -> BTreeMap<ObjectKey, String> {
        let mut claims = self.desired.claims(item);
        let Some((Origin::Object(first), had)) = claims.next() else {
            return BTreeMap::new();
        };
        let others = claims.filter_map(|(origin, wish)| match origin {
            Origin::Object(object) if wish != had => Some((object, wish)),
            _ => None,
        });
        others
            .filter_map(|(object, wish)| {
                let why = self
                    .subsystem
                    .detect_conflict(item, (first, had), (object, wish))?;
                Some((object.clone(), why))
            })
            .collect()
    }
}
