//! The report: a table for people, JSON for programs and for comparing runs. Depends on the harness
//! only.

use super::harness::{Judged, Limit, Row, Summary, Unit, Verdict};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use std::fmt::Write as _;
use std::process::Command;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When it began, UTC.
    pub(super) date: String,
    /// The commit of the measured binary.
    pub(super) commit: Option<String>,
    /// Version of the program.
    pub(super) version: &'static str,
    /// Whether it is the optimised build: others say little.
    pub(super) optimised: bool,
    /// Whether the sizes were small.
    pub(super) quick: bool,
    /// Where.
    pub(super) machine: Machine,
    /// How long it took.
    pub(super) seconds: f64,
    /// The build that the whole-system figures are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) against: Option<String>,
    /// What came out.
    pub(super) figures: Vec<Figure>,
}

/// The rows of one measurement.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// Its name, as for `--only`.
    pub(super) name: &'static str,
    /// How long it took, preparation and all.
    pub(super) seconds: f64,
    /// What came out.
    pub(super) rows: Vec<Row>,
}

/// The machine, as far as figures depend on it.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpus: usize,
    cpu: Option<String>,
    memory_mb: Option<u64>,
    kernel: Option<String>,
    /// How busy it was before we began (1, 5 and 15 minutes).
    load: Option<String>,
}

impl Machine {
    /// This one.
    pub(super) fn here() -> Self {
        let file = |path| std::fs::read_to_string(path).ok();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = file("/proc/meminfo").and_then(|text| value(&text, "MemTotal"));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: file("/proc/cpuinfo").and_then(|text| value(&text, "model name")),
            memory_mb: memory
                .and_then(|kb| kb.split_whitespace().next()?.parse::<u64>().ok())
                .map(|kb| kb / 1024),
            kernel: file("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            load: file("/proc/loadavg").map(|text| {
                text.split_whitespace()
                    .take(3)
                    .collect::<Vec<_>>()
                    .join(" ")
            }),
        }
    }
}

/// Now, as in RFC 3339.
pub(super) fn date() -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time::OffsetDateTime::now_utc()
        .format(&format)
        .unwrap_or_default()
}

/// The commit of the working copy that we are called in, if we are; `+` for changes on top.
pub(super) fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let said = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(said.stdout).ok()?;
        said.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if clean { commit } else { commit + "+" })
}

impl Report {
    /// How many figures were met, missed and not measurable.
    pub(super) fn score(&self) -> (usize, usize, usize) {
        let count = |verdict| self.rows().filter(|row| row.verdict == verdict).count();
        let of = [Verdict::Met, Verdict::Missed, Verdict::Failed].map(count);
        (of[0], of[1], of[2])
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.figures.iter().flat_map(|figure| &figure.rows)
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self)
            .unwrap_or_else(|e| unreachable!("a report is plain data: {e}"));
        text + "\n"
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{}\n", self.table());
        for row in self.rows() {
            for note in &row.notes {
                let _ = writeln!(out, "{}: {note}", row.what);
            }
        }
        let (met, missed, failed) = self.score();
        let _ = writeln!(
            out,
            "\n{met} met, {missed} missed, {failed} failed in {:.0} s",
            self.seconds
        );
        for row in self.rows() {
            match row.verdict {
                Verdict::Missed => {
                    let _ = writeln!(out, "MISSED: {}", row.what);
                }
                Verdict::Failed => {
                    let _ = writeln!(out, "FAILED: {}", row.what);
                }
                Verdict::Met | Verdict::Shown => {}
            }
        }
        if !self.optimised {
            out.push_str("This is not the optimised build (make bench): its numbers say little.\n");
        }
        out
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(
                [
                    "figure", "measured", "floor", "ratio", "limit", "nova", "verdict",
                ]
                .into_iter()
                .chain(self.against.iter().flat_map(|_| ["other build", "÷ other"])),
            );
        for row in self.rows() {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            let mut cells = vec![
                Cell::new(&row.what),
                right(
                    row.measured
                        .map_or_else(String::new, |m| measured(row.unit, m)),
                ),
                right(floor(row)),
                right(row.ratio.map_or_else(String::new, |r| format!("{r:.2}×"))),
                right(limit(row)),
                right(
                    row.nova
                        .map_or_else(String::new, |nova| format!("[{nova}]")),
                ),
                Cell::new(match row.verdict {
                    Verdict::Met => "met",
                    Verdict::Missed => "MISSED",
                    Verdict::Shown => "",
                    Verdict::Failed => "FAILED",
                }),
            ];
            if self.against.is_some() {
                let other = row.other_build;
                let shown = other.map_or_else(String::new, |o| measured(row.unit, o.measured));
                let ratio = other.and_then(|o| o.ratio);
                cells.push(right(shown));
                cells.push(right(
                    ratio.map_or_else(String::new, |r| format!("{r:.2}×")),
                ));
            }
            table.add_row(cells);
        }
        table
    }
}

fn measured(unit: Unit, summary: Summary) -> String {
    // A rate's 99th percentile is its best moment, which says nothing.
    if summary.n == 1 || unit == Unit::PerSecond {
        return number(unit, summary.p50);
    }
    format!(
        "{} p99 {}",
        number(unit, summary.p50),
        number(unit, summary.p99)
    )
}

fn floor(row: &Row) -> String {
    match (row.floor, row.floor_is) {
        (Some(floor), Some(is)) => format!("{} ({is})", number(row.unit, floor.p50)),
        _ => String::new(),
    }
}

fn limit(row: &Row) -> String {
    let Some(limit) = row.limit else {
        return String::new();
    };
    let (sign, bound) = match limit {
        Limit::AtMost(bound) => ('≤', bound),
        Limit::AtLeast(bound) => ('≥', bound),
    };
    match row.judged {
        Judged::Ratio => format!("{sign} {bound:.1}×"),
        Judged::P50 => format!("{sign} {}", number(row.unit, bound)),
        Judged::P99 => format!("p99 {sign} {}", number(row.unit, bound)),
        Judged::Max => format!("max {sign} {}", number(row.unit, bound)),
    }
}

fn number(unit: Unit, n: f64) -> String {
    match unit {
        Unit::Micros if n < 1_000.0 => format!("{n:.0} µs"),
        Unit::Micros if n < 10_000.0 => format!("{:.2} ms", n / 1e3),
        Unit::Micros if n < 1_000_000.0 => format!("{:.0} ms", n / 1e3),
        Unit::Micros => format!("{:.2} s", n / 1e6),
        Unit::PerSecond => format!("{n:.0}/s"),
        Unit::Mebibytes => format!("{n:.1} MiB"),
        Unit::Count => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Samples;
    use std::time::Duration;

    #[test]
    fn the_table_says_what_was_asked_for_and_what_came_out() {
        let mut took = Samples::default();
        let mut bare = Samples::default();
        for micros in [1_500, 1_600, 21_000] {
            took.push(Duration::from_micros(micros));
            bare.push(Duration::from_micros(800));
        }
        let row = Row::new("a thing", Unit::Micros, &took)
            .floor("bare", &bare)
            .at_most(Duration::from_millis(1))
            .nova("2.1 s");
        let report = Report {
            date: date(),
            commit: None,
            version: "0",
            optimised: true,
            quick: false,
            machine: Machine::here(),
            seconds: 1.0,
            against: None,
            figures: vec![Figure {
                name: "group/thing",
                seconds: 1.0,
                rows: vec![row],
            }],
        };
        insta::assert_snapshot!(report.text(), @r"
        ┌─────────┬───────────────────┬───────────────┬───────┬───────────┬─────────┬─────────┐
        │ figure  ┆ measured          ┆ floor         ┆ ratio ┆ limit     ┆ nova    ┆ verdict │
        ╞═════════╪═══════════════════╪═══════════════╪═══════╪═══════════╪═════════╪═════════╡
        │ a thing ┆ 1.60 ms p99 21 ms ┆ 800 µs (bare) ┆ 2.00× ┆ ≤ 1.00 ms ┆ [2.1 s] ┆ MISSED  │
        └─────────┴───────────────────┴───────────────┴───────┴───────────┴─────────┴─────────┘

        0 met, 1 missed, 0 failed in 1 s
        MISSED: a thing
        ");
        assert_eq!(report.score(), (0, 1, 0));
        assert!(
            report.json().contains("\"p99\": 21000.0"),
            "{}",
            report.json()
        );
    }
}
