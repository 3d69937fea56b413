//! Reports faults of the cloud, a line each, beside the lists that an operator looks at first
//! (`service list`, `host list`). They go to stderr, so that scripts read the same lists as ever.

use super::context::Context;
use crate::failure::Failure;
use novanet_control::Host;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// More lines about one host say nothing new.
const MAX_ERRORS_PER_HOST: usize = 10;

/// A list is not held up for longer. Planning ten thousand rows takes about that.
const BAD_ROWS_TIMEOUT: Duration = Duration::from_secs(2);

/// An object that is not in force on a host, or a fault of the host.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fault {
    /// The object's key; `host/…` where no object is to blame.
    object: String,
    reason: String,
}

/// Says what is not in force on these hosts, and which rows nothing can be planned from. Answers
/// with the former, by host.
pub(super) async fn report(
    cx: &Context,
    hosts: &[Host],
) -> Result<BTreeMap<String, Vec<Fault>>, Failure> {
    let mut faults = BTreeMap::new();
    for host in hosts {
        let mut errors = cx.cloud.host_errors(&host.name).await?;
        // Faults of the host itself come first: they may explain the others.
        errors.sort_by_key(|error| !error.key.0.starts_with("host/"));
        for error in errors.iter().take(MAX_ERRORS_PER_HOST) {
            let message = error.message.trim().replace('\n', " ");
            let what = match error.key.0.as_str() {
                // The message says what.
                key if key.starts_with("host/") => String::new(),
                key => format!("{key} is not in force: "),
            };
            cx.warn(&format!("host {}: {what}{message}", host.name));
        }
        if errors.len() > MAX_ERRORS_PER_HOST {
            cx.warn(&format!(
                "host {}: {} more are not in force",
                host.name,
                errors.len() - MAX_ERRORS_PER_HOST
            ));
        }
        let of = errors.into_iter().map(|error| Fault {
            object: error.key.0,
            reason: error.message.trim().to_owned(),
        });
        faults.insert(host.name.clone(), of.collect());
    }
    match tokio::time::timeout(BAD_ROWS_TIMEOUT, cx.cloud.bad_rows()).await {
        Ok(bad) => bad?.iter().for_each(|row| cx.warn(&spoiled(row))),
        Err(_) => cx.note("not all rows were looked at: nova-manage db check does it"),
    }
    Ok(faults)
}

/// A row that does not validate.
pub(super) fn spoiled(row: &str) -> String {
    format!("{row} (hosts keep what they were told before: correct the row)")
}
