//! Errors of one call that concern many items: each item gets its own copy.

use super::item::Key;
use super::types::{Changes, Errors};
use novanet_reconcile::SubsystemError;
use std::io;

pub(in crate::firewall) fn refusal(key: &Key, error: io::Error) -> SubsystemError {
    let what = match error.raw_os_error() {
        Some(libc::EPERM) => format!("change {key} (must be root)"),
        _ => format!("change {key}"),
    };
    SubsystemError::kernel(what, error)
}

pub(in crate::firewall) fn every(
    changes: Changes<'_>,
    error: impl Fn() -> SubsystemError,
) -> Errors {
    changes
        .iter()
        .map(|change| (change.key.clone(), error()))
        .collect()
}

pub(in crate::firewall) fn copy(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A copy of the error for the next key.
pub(in crate::firewall) fn again(error: &SubsystemError) -> SubsystemError {
    match error {
        SubsystemError::Command { command, message } => SubsystemError::Command {
            command: command.clone(),
            message: message.clone(),
        },
        SubsystemError::Kernel { what, source } => {
            SubsystemError::kernel(what.clone(), copy(source))
        }
        SubsystemError::Refused(text) => SubsystemError::Refused(text.clone()),
        SubsystemError::Waits(text) => SubsystemError::Waits(text.clone()),
    }
}
