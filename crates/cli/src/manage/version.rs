//! `nova-manage version`.

use super::{Category, action};
use crate::args::Format;
use crate::table::json;

pub(crate) const CATEGORY: Category = Category {
    name: "version",
    aliases: &[],
    about: "the version of this program",
    actions: &[action("list", "the version of this program", &[], |_| {
        Ok(super::Command::Version)
    })],
};

/// What `version` prints.
pub(crate) fn show(format: Format) -> String {
    match format {
        Format::Table => text(),
        Format::Json => json(&serde_json::json!({"version": env!("CARGO_PKG_VERSION")})),
    }
}

/// The version, one line.
pub(crate) fn text() -> String {
    format!("{}\n", env!("CARGO_PKG_VERSION"))
}
