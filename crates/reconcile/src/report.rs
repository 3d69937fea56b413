//! Words of reports, shared by logs, plans and errors. Depends on the keys of host objects only.

use novanet_model::ObjectKey;

/// Messages per object when many of its items fail.
const MAX_MESSAGES: usize = 3;

/// The messages of one object as one text.
pub(crate) fn summary(messages: &[String]) -> String {
    let more = messages.len().saturating_sub(MAX_MESSAGES);
    let text = messages[..messages.len() - more].join("; ");
    if more > 0 {
        format!("{text}; and {more} more")
    } else {
        text
    }
}

/// The key of an error that belongs to no object: `host/<what>`.
pub fn host_key(what: &str) -> ObjectKey {
    ObjectKey(format!("host/{what}"))
}

/// The word for a change in logs and plans.
pub(crate) fn action<V>(from: Option<&V>, to: Option<&V>) -> &'static str {
    match (from, to) {
        (None, _) => "create",
        (Some(_), Some(_)) => "change",
        (Some(_), None) => "remove",
    }
}
