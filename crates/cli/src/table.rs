//! Lists for people and for programs: tables that fit the terminal, nova's output byte for byte,
//! JSON. Depends on the width that `environment` reads.

use crate::args::Format;
use crate::environment;
use comfy_table::{ContentArrangement, Table, presets};
use novanet_model::Micros;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write as _};

/// Something that is printed as a row.
pub(crate) trait Row: Serialize {
    /// nova's own format, e.g. `%-5s\t%-18s`; `%s` and `%-Ns` only. `plain` leaves out the cells
    /// for which it has no place.
    const FORMAT: &'static str;
    /// Titles of the columns, nova's first; empty: a row is a sentence and no table.
    const TITLES: &'static [&'static str];
    /// nova printed the titles.
    const HEADED: bool = true;
    /// The columns that a terminal gets, in its order; empty: all of them.
    const BRIEF: &'static [usize] = &[];
    /// The cells, as many as there are titles, or places in FORMAT.
    fn cells(&self) -> Vec<String>;
    /// The cells that nova printed, where they are others.
    fn novas_cells(&self) -> Vec<String> {
        self.cells()
    }
}

/// The format of a command that names none: a table for people, nova's output for programs.
pub(crate) fn default_format() -> Format {
    match environment::terminal_width() {
        Some(_) => Format::Table,
        None => Format::Plain,
    }
}

/// Rows as text, with a newline at the end of each.
pub(crate) fn render<R: Row>(rows: &[R], format: Format) -> String {
    match format {
        Format::Json => json(rows),
        Format::Table if R::TITLES.len() > 1 => fitted(rows, environment::terminal_width()),
        Format::Table | Format::Plain => novas(rows),
    }
}

fn novas<R: Row>(rows: &[R]) -> String {
    let mut out = String::new();
    if R::HEADED && !R::TITLES.is_empty() {
        let titles: Vec<String> = R::TITLES.iter().map(|t| (*t).to_owned()).collect();
        line(&mut out, R::FORMAT, &titles);
    }
    for row in rows {
        line(&mut out, R::FORMAT, &row.novas_cells());
    }
    out
}

/// A table of at most `width` columns of characters; long cells are broken into lines. Without a
/// width it has all columns, and a line per row.
fn fitted<R: Row>(rows: &[R], width: Option<u16>) -> String {
    let all: Vec<usize> = (0..R::TITLES.len()).collect();
    let brief = width.is_some() && !R::BRIEF.is_empty();
    let columns = if brief { R::BRIEF } else { &all };
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|at| R::TITLES[*at]));
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    for row in rows {
        let cells = row.cells();
        table.add_row(columns.iter().map(|at| cells[*at].clone()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let lines = table.lines();
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// A value as JSON, with a newline at the end.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .unwrap_or_else(|e| unreachable!("rows are plain data: {e}"));
    text.push('\n');
    text
}

/// Python printed a missing value so.
pub(crate) fn none<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "None".to_owned(), ToString::to_string)
}

/// A moment: `2026-01-02 03:04:05 UTC` in tables, RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Micros);

impl Time {
    /// As nova printed it, in UTC without saying so; `None` as Python did.
    pub(crate) fn novas(self) -> String {
        self.to_string().trim_end_matches(" UTC").to_owned()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format =
            time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
        let text = self.0.date().and_then(|at| at.format(&format).ok());
        f.write_str(text.as_deref().unwrap_or("None"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        self.0
            .date()
            .and_then(|at| at.format(&format).ok())
            .serialize(serializer)
    }
}

fn line(out: &mut String, format: &str, cells: &[String]) {
    let mut cells = cells.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (width, tail) = after.split_once('s').unwrap_or((after, ""));
        let width: usize = width.trim_start_matches('-').parse().unwrap_or(0);
        let cell = cells.next().map_or("", String::as_str);
        let _ = write!(out, "{cell:<width$}");
        rest = tail;
    }
    out.push_str(rest);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Vm(&'static str, &'static str, &'static str);

    impl Row for Vm {
        const FORMAT: &'static str = "%-10s %-5s";
        const TITLES: &'static [&'static str] = &["instance", "state", "reason"];
        const BRIEF: &'static [usize] = &[0, 2];

        fn cells(&self) -> Vec<String> {
            [self.0, self.1, self.2].map(str::to_owned).to_vec()
        }
    }

    #[test]
    fn a_table_fits_the_terminal_has_all_columns_elsewhere_and_plain_is_novas() {
        let why = "network 10.0.0.0/24: the host has no such interface";
        let rows = [
            Vm("i-00000001", "pending", why),
            Vm("i-00000002", "error", "none"),
        ];
        let text = fitted(&rows, Some(40));
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        insta::assert_snapshot!(text, @"
        instance   reason
        i-00000001 network 10.0.0.0/24: the
                   host has no such interface
        i-00000002 none
        ");
        insta::assert_snapshot!(fitted(&rows, None), @"
        instance   state   reason
        i-00000001 pending network 10.0.0.0/24: the host has no such interface
        i-00000002 error   none
        ");
        insta::assert_snapshot!(novas(&rows), @"
        instance   state
        i-00000001 pending
        i-00000002 error
        ");
    }

    #[test]
    fn a_time_names_its_zone() {
        let time = Time(Micros::new(1_767_323_045_000_000));
        assert_eq!(time.to_string(), "2026-01-02 03:04:05 UTC");
        assert_eq!(json(&time), "\"2026-01-02T03:04:05Z\"\n");
        assert_eq!(Time(Micros::new(i64::MAX)).to_string(), "None");
    }
}
