//! `nova-manage version`: the number alone, as nova printed it. Depends on [`crate::version`].

use super::{Category, action};
use crate::args::Format;
use crate::table::json;
use crate::version::NUMBER;

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
        Format::Table | Format::Plain => format!("{NUMBER}\n"),
        Format::Json => json(&serde_json::json!({ "version": NUMBER })),
    }
}
