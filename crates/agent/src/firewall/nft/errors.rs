//! Errors of one call that hit many items: each item gets its own.

use super::super::item::Key;
use super::{Changes, Errors};
use crate::room::RoomError;
use std::io;

pub(super) fn refusal(key: &Key, error: io::Error) -> RoomError {
    let what = match error.raw_os_error() {
        Some(libc::EPERM) => format!("change {key} (must be root)"),
        _ => format!("change {key}"),
    };
    RoomError::kernel(what, error)
}

pub(super) fn every(changes: Changes<'_>, error: impl Fn() -> RoomError) -> Errors {
    changes
        .iter()
        .map(|change| (change.key.clone(), error()))
        .collect()
}

pub(super) fn copy(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The same error once more, for the next of the keys that it hit.
pub(super) fn again(error: &RoomError) -> RoomError {
    match error {
        RoomError::Command { command, message } => RoomError::Command {
            command: command.clone(),
            message: message.clone(),
        },
        RoomError::Kernel { what, source } => RoomError::kernel(what.clone(), copy(source)),
        RoomError::Refused(text) => RoomError::Refused(text.clone()),
        RoomError::Waits(text) => RoomError::Waits(text.clone()),
    }
}
