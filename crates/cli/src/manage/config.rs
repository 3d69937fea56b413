//! `nova-manage config list`: every flag with the value that counts and where it comes from.

use super::{Category, action};
use crate::args::Format;
use crate::table::{Row, render};
use novanet_model::flags::Flags;
use serde::Serialize;
use std::fmt::Write as _;

pub(crate) const CATEGORY: Category = Category {
    name: "config",
    aliases: &["flags"],
    about: "the flags and where their values come from",
    actions: &[action(
        "list",
        "every flag, its value and its origin",
        &[],
        |_| Ok(super::Command::Config),
    )],
};

/// A line of `config list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FlagRow {
    name: &'static str,
    value: String,
    origin: String,
    default: &'static str,
    help: &'static str,
}

/// All flags, and after a table what the files say without effect. A password in the database's
/// address is left out.
pub(crate) fn list(flags: &Flags, format: Format) -> String {
    let mut text = render(&rows(flags), format);
    if format == Format::Table {
        for note in flags.notes() {
            let _ = writeln!(text, "note: {note}");
        }
    }
    text
}

fn rows(flags: &Flags) -> Vec<FlagRow> {
    flags
        .all()
        .map(|(flag, value)| FlagRow {
            name: flag.name,
            value: value.shown(),
            origin: value.origin.to_string(),
            default: flag.default,
            help: flag.help,
        })
        .collect()
}

impl Row for FlagRow {
    const FORMAT: &'static str = "%s = %s  (%s)";
    const TITLES: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_owned(),
            self.value.clone(),
            self.origin.clone(),
        ]
    }
}
