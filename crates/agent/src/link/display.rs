//! Words that several kinds of links show in a plan. Pure.

use novanet_model::IfName;
use std::fmt;

pub(super) fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

pub(super) fn or_none(name: Option<&IfName>) -> &str {
    name.map_or("none", IfName::as_str)
}

/// Appends the options that others changed; nothing without any.
pub(super) fn write_changed(f: &mut fmt::Formatter<'_>, changed: &[&str]) -> fmt::Result {
    match changed {
        [] => Ok(()),
        changed => write!(f, ", changed: {}", changed.join(", ")),
    }
}
