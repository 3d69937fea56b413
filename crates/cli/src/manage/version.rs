//! `nova-manage version`.

use super::{Category, action};

pub(crate) const CATEGORY: Category = Category {
    name: "version",
    aliases: &[],
    about: "the version of this program",
    actions: &[action("list", "the version of this program", &[], |_| {
        Ok(super::Command::Version)
    })],
};

/// The version, one line.
pub(crate) fn text() -> String {
    format!("{}\n", env!("CARGO_PKG_VERSION"))
}
