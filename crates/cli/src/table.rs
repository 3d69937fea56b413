//! Lists for people (nova's tables, byte for byte) and for programs (JSON).

use crate::args::Format;
use serde::Serialize;
use std::fmt::Write as _;

/// Something that is printed as a row.
pub(crate) trait Row: Serialize {
    /// nova's own format, e.g. `%-5s\t%-18s`; `%s` and `%-Ns` only.
    const FORMAT: &'static str;
    /// Titles; empty: the table has none.
    const TITLES: &'static [&'static str];
    /// The cells, as many as FORMAT has places.
    fn cells(&self) -> Vec<String>;
}

/// Rows as text, with a newline at the end of each.
pub(crate) fn render<R: Row>(rows: &[R], format: Format) -> String {
    match format {
        Format::Json => json(rows),
        Format::Table => {
            let mut out = String::new();
            if !R::TITLES.is_empty() {
                let titles: Vec<String> = R::TITLES.iter().map(|t| (*t).to_owned()).collect();
                line(&mut out, R::FORMAT, &titles);
            }
            for row in rows {
                line(&mut out, R::FORMAT, &row.cells());
            }
            out
        }
    }
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

/// Microseconds since 1970 as nova printed times, in UTC.
pub(crate) fn time(micros: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .ok()
        .and_then(|at| at.format(&format).ok())
        .unwrap_or_else(|| "None".to_owned())
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
