//! Plans as text for people: one line per item.

use super::reconcile::{Cleaned, action};
use crate::room::{Change, Desired, Room};
use std::fmt::Write as _;

/// What a room must have.
pub(super) fn desired<R: Room>(desired: &Desired<R::Key, R::Value>) -> String {
    let mut text = format!("{}\n", R::NAME);
    let mut empty = true;
    for (key, value) in desired.iter() {
        empty = false;
        let _ = writeln!(text, "  {key}: {value:?}");
    }
    if empty {
        text.push_str("  nothing\n");
    }
    text
}

/// What would change in a room.
pub(super) fn changes<R: Room>(changes: &[Change<R::Key, R::Value>]) -> String {
    let mut text = format!("{}\n", R::NAME);
    for change in changes {
        let _ = writeln!(text, "  {}", line(change));
    }
    if changes.is_empty() {
        text.push_str("  nothing differs\n");
    }
    text
}

/// What a cleanup removed (or would); an error if some of it failed.
pub(super) fn cleaned<R: Room>((removed, failures): &Cleaned<R>) -> Result<String, String> {
    if failures.is_empty() {
        return Ok(changes::<R>(removed));
    }
    let mut text = format!("{}: not everything could be removed\n", R::NAME);
    for (key, error) in failures {
        let _ = writeln!(text, "  {key}: {error}");
    }
    Err(text)
}

fn line<K: std::fmt::Display, V: std::fmt::Debug>(change: &Change<K, V>) -> String {
    let word = action(&change.from, &change.to);
    let key = &change.key;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{word} {key}: {from:?} -> {to:?}"),
        (None, Some(value)) | (Some(value), None) => format!("{word} {key}: {value:?}"),
        (None, None) => format!("{word} {key}"),
    }
}
