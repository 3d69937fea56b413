//! `novanet bench`: the figures that this program promises, each measured on real parts beside a
//! floor of the same run. `make bench` runs it.
//!
//! A figure is a named function that answers with rows; it lives in a file of its own and knows
//! nothing of the others. What several of one group need (a cloud on each engine, a host, a sandbox)
//! is the group's `mod.rs`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // people run this by hand

mod client;
mod harness;
mod host;
mod report;
mod store;
mod whole;

use crate::args::{Line, Param, Reader, Takes, param};
use crate::failure::Failure;
use harness::Row;
use report::{Figure, Machine, Report};
use std::fmt::Write as _;
use std::time::Instant;

/// A cloud that is measured has no limits.
const NO_QUOTAS: [&str; 8] = [
    "quota_instances",
    "quota_cores",
    "quota_ram",
    "quota_floating_ips",
    "quota_fixed_ips",
    "quota_security_groups",
    "quota_security_group_rules",
    "quota_key_pairs",
];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    quick: bool,
}

impl Scale {
    /// `full` of something, or `quick` when there is little time.
    fn of(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// A measurement of a group whose shared things are a `W`.
struct Measurement<W> {
    /// `group/name`.
    name: &'static str,
    /// One line about it.
    about: &'static str,
    /// Does it.
    run: fn(&mut W, Scale) -> anyhow::Result<Vec<Row>>,
}

const PARAMS: &[Param] = &[
    param(
        "json",
        Takes::Named,
        "a file to write the figures to, as JSON",
    ),
    param(
        "only",
        Takes::Named,
        "names or groups of figures, with commas",
    ),
    param(
        "quick",
        Takes::Switch,
        "small sizes: is everything in order?",
    ),
    param("list", Takes::Switch, "say which figures there are"),
    param(
        "check",
        Takes::Switch,
        "exit with 1 when a figure is missed",
    ),
];

/// What the command line asks for.
struct Wanted {
    scale: Scale,
    only: Vec<String>,
    json: Option<String>,
    check: bool,
}

/// Runs the face.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let mut line = Reader::new(args).rest(PARAMS);
    if line.help {
        return Ok(usage());
    }
    let bound = line.bind(PARAMS, &[])?;
    refuse_flags(&line)?;
    if bound.truth("list")?.unwrap_or(false) {
        return Ok(list());
    }
    let only = bound.all("only").join(",");
    let wanted = Wanted {
        scale: Scale {
            quick: bound.truth("quick")?.unwrap_or(false),
        },
        only: only
            .split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect(),
        json: bound.text("json").map(str::to_owned),
        check: bound.truth("check")?.unwrap_or(false),
    };
    wanted.check_names()?;
    let report = measure(&wanted);
    if let Some(file) = &wanted.json {
        std::fs::write(file, report.json())
            .map_err(|e| Failure::failed(format!("cannot write {file}: {e}")))?;
    }
    let (_, missed, failed) = report.score();
    if wanted.check && missed + failed > 0 {
        print!("{}", report.text());
        return Err(Failure::failed(format!(
            "{} figures are not as they should be",
            missed + failed
        )));
    }
    Ok(report.text())
}

fn refuse_flags(line: &Line) -> Result<(), Failure> {
    match line.given.first() {
        None => Ok(()),
        Some(given) => Err(Failure::usage(format!(
            "novanet bench --{}: a cloud's flags mean nothing here (--help)",
            given.name
        ))),
    }
}

impl Wanted {
    fn wants(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or(name);
        self.only.is_empty() || self.only.iter().any(|only| only == name || only == group)
    }

    /// A name that is none is a mistake, not an empty run.
    fn check_names(&self) -> Result<(), Failure> {
        let all = figures();
        let groups = all.iter().filter_map(|(name, _)| name.split('/').next());
        let known: Vec<&str> = groups.chain(all.iter().map(|(name, _)| *name)).collect();
        for only in &self.only {
            if known.contains(&only.as_str()) {
                continue;
            }
            let near = novanet_model::flags::nearest(only, known.iter().copied());
            return Err(Failure::usage(match near {
                Some(near) => format!("novanet bench --only {only}: did you mean {near}?"),
                None => format!("novanet bench --only {only}: --list shows what there is"),
            }));
        }
        Ok(())
    }
}

/// All figures: name and what it is.
fn figures() -> Vec<(&'static str, &'static str)> {
    fn of<W>(all: &[Measurement<W>]) -> impl Iterator<Item = (&'static str, &'static str)> {
        all.iter().map(|m| (m.name, m.about))
    }
    of(store::FIGURES)
        .chain(of(host::FIGURES))
        .chain(of(whole::FIGURES))
        .collect()
}

fn measure(wanted: &Wanted) -> Report {
    let began = Instant::now();
    let mut report = Report {
        date: report::date(),
        commit: report::commit(),
        version: env!("CARGO_PKG_VERSION"),
        optimised: !cfg!(debug_assertions),
        quick: wanted.scale.quick,
        machine: Machine::here(),
        seconds: 0.0,
        figures: Vec::new(),
    };
    group(wanted, store::FIGURES, store::World::new, &mut report);
    group(wanted, host::FIGURES, host::World::new, &mut report);
    group(wanted, whole::FIGURES, whole::World::new, &mut report);
    report.seconds = began.elapsed().as_secs_f64();
    report
}

/// Measures what is wanted of a group. Its shared things are made when the first of it is.
fn group<W>(
    wanted: &Wanted,
    all: &[Measurement<W>],
    world: fn() -> anyhow::Result<W>,
    report: &mut Report,
) {
    let chosen: Vec<&Measurement<W>> = all.iter().filter(|m| wanted.wants(m.name)).collect();
    if chosen.is_empty() {
        return;
    }
    let mut world = world();
    for measurement in chosen {
        eprint!("{} … ", measurement.name);
        let began = Instant::now();
        let rows = match &mut world {
            Ok(world) => (measurement.run)(world, wanted.scale),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{seconds:.1} s");
        report.figures.push(Figure {
            name: measurement.name,
            seconds,
            rows: rows.unwrap_or_else(|error| vec![Row::failed(measurement.name, &error)]),
        });
    }
}

fn usage() -> String {
    let mut out =
        String::from("usage: novanet bench [--option …]: measure what this program promises\n\n");
    for param in PARAMS {
        let _ = writeln!(out, "    --{:<8} {}", param.name, param.help);
    }
    out
}

fn list() -> String {
    let mut out = String::new();
    for (name, about) in figures() {
        let _ = writeln!(out, "{name:<24} {about}");
    }
    out
}
