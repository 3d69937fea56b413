//! Plans as text for people: one line per item. Depends on [`Reconciler`] and on the subsystem's
//! words for its values.

use crate::command::Inspect;
use crate::desired::Change;
use crate::reconciler::{Cleaned, Reconciler};
use crate::report::action;
use crate::subsystem::Subsystem;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What a subsystem must have, and what it cannot have.
pub(crate) fn desired<R: Subsystem + Inspect>(subsystem: &Reconciler<R>) -> String {
    let items = subsystem.desired().iter();
    let items = items.map(|(key, value)| format!("{key}: {}", R::describe(value)));
    let failures = failures(subsystem).map(|(_, line)| line);
    block::<R>(refusals(subsystem).chain(failures).chain(items), "nothing")
}

/// What would change in a subsystem, what it cannot have, and which objects do not get what they want.
pub(crate) fn difference<R: Subsystem + Inspect>(
    subsystem: &Reconciler<R>,
    changes: &[Change<R::Key, R::Value>],
) -> String {
    let rejected = subsystem.rejected_claims();
    let rejected =
        rejected.map(|(item, object, why)| format!("refuse {item} to {}: {why}", object.0));
    // An item that failed in the last round may be right by now.
    let differing: BTreeSet<_> = changes.iter().map(|change| &change.key).collect();
    let failures = failures(subsystem).filter(|(key, _)| differing.contains(key));
    let failures = failures.map(|(_, line)| line);
    let lines = refusals(subsystem).chain(changes.iter().map(line::<R>));
    block::<R>(lines.chain(failures).chain(rejected), "nothing differs")
}

fn changes<R: Subsystem + Inspect>(changes: &[Change<R::Key, R::Value>]) -> String {
    block::<R>(changes.iter().map(line::<R>), "nothing differs")
}

/// Items that are not in force, with a line that says why.
fn failures<R: Subsystem>(subsystem: &Reconciler<R>) -> impl Iterator<Item = (&R::Key, String)> {
    let failing = subsystem.failures();
    failing.map(|(key, message)| (key, format!("not in force: {key}: {message}")))
}

fn refusals<R: Subsystem>(subsystem: &Reconciler<R>) -> impl Iterator<Item = String> {
    subsystem.refusals().map(|(_, why)| format!("refuse {why}"))
}

fn block<R: Subsystem>(lines: impl Iterator<Item = String>, nothing: &str) -> String {
    let mut text = format!("{}\n", R::NAME);
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        let _ = writeln!(text, "  {nothing}");
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// What a cleanup removed (or would); an error if some of it failed.
pub(crate) fn cleaned<R: Subsystem + Inspect>(
    (removed, failures): &Cleaned<R>,
) -> Result<String, String> {
    if failures.is_empty() {
        return Ok(changes::<R>(removed));
    }
    let mut text = format!("{}: not everything could be removed\n", R::NAME);
    for (key, error) in failures {
        let _ = writeln!(text, "  {key}: {error}");
    }
    Err(text)
}

fn line<R: Subsystem + Inspect>(change: &Change<R::Key, R::Value>) -> String {
    let word = action(change.from.as_ref(), change.to.as_ref());
    let key = &change.key;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (R::describe(from), R::describe(to));
            format!("{word} {key}: {from} -> {to}")
        }
        (None, Some(value)) | (Some(value), None) => {
            format!("{word} {key}: {}", R::describe(value))
        }
        (None, None) => format!("{word} {key}"),
    }
}
