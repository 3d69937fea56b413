//! `make bench`: the figures that novanet promises, each measured on real parts beside a floor of
//! the same run. May depend on every crate; the product depends on nothing here.
//!
//! A figure is a named function that answers with rows; it lives in a file of its own and knows
//! nothing of the others. What several of one group need (a cloud on each engine, a host, a
//! sandbox) is the group's `mod.rs`. Whatever runs as a process of its own is the product's binary:
//! `novanet` beside this program, or `--binary`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // people run this by hand

mod arguments;
mod client;
mod cloud;
mod harness;
mod host;
mod report;
mod store;
mod whole;

use anyhow::{Context as _, Result};
use arguments::Arguments;
use harness::Row;
use report::{Figure, Machine, Report};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

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
    run: fn(&mut W, Scale) -> Result<Vec<Row>>,
}

/// The figures of a group, and how it makes what they share.
struct Group<W: 'static> {
    figures: &'static [Measurement<W>],
    /// Makes the shared things; `Path` is the product's binary.
    world: fn(&Path) -> Result<W>,
}

const STORE: Group<store::World> = Group {
    figures: store::FIGURES,
    world: store::World::new,
};
const HOST: Group<host::World> = Group {
    figures: host::FIGURES,
    world: host::World::new,
};
const WHOLE: Group<whole::World> = Group {
    figures: whole::FIGURES,
    world: whole::World::new,
};

fn main() -> ExitCode {
    let wrong_words = |error: anyhow::Error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    };
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return wrong_words(error),
    };
    let figures = figures();
    if arguments.help || arguments.list {
        print!(
            "{}",
            if arguments.help {
                arguments::usage()
            } else {
                list(&figures)
            }
        );
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
    if let Err(error) = arguments.check_names(&names) {
        return wrong_words(error);
    }
    run(&arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = measure(arguments)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    print!("{}", report.text());
    let (_, missed, failed) = report.score();
    if arguments.check && missed + failed > 0 {
        eprintln!(
            "error: {} figures are not as they should be",
            missed + failed
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// All figures: name and what it is.
fn figures() -> Vec<(&'static str, &'static str)> {
    fn of<W>(group: &Group<W>) -> impl Iterator<Item = (&'static str, &'static str)> + use<W> {
        group.figures.iter().map(|m| (m.name, m.about))
    }
    of(&STORE).chain(of(&HOST)).chain(of(&WHOLE)).collect()
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let began = Instant::now();
    let (program, other) = (arguments.program()?, arguments.other_program()?);
    let mut report = Report {
        date: report::date(),
        commit: report::commit(),
        version: env!("CARGO_PKG_VERSION"),
        optimised: !cfg!(debug_assertions),
        quick: arguments.quick,
        machine: Machine::here(),
        seconds: 0.0,
        against: other.as_ref().map(|path| path.display().to_string()),
        figures: Vec::new(),
    };
    group(arguments, &STORE, &program, None, &mut report);
    group(arguments, &HOST, &program, None, &mut report);
    group(arguments, &WHOLE, &program, other.as_deref(), &mut report);
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Measures what is wanted of a group, on `program` and, alternately, on `other`. The shared things
/// are made when the first figure needs them.
fn group<W>(
    arguments: &Arguments,
    group: &Group<W>,
    program: &Path,
    other: Option<&Path>,
    report: &mut Report,
) {
    let wanted = |m: &&Measurement<W>| arguments.wants(m.name);
    let wanted: Vec<&Measurement<W>> = group.figures.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return;
    }
    let scale = Scale {
        quick: arguments.quick,
    };
    let mut world = (group.world)(program);
    let mut other = other.map(|other| (group.world)(other));
    for (number, measurement) in wanted.into_iter().enumerate() {
        eprint!("{} … ", measurement.name);
        let began = Instant::now();
        // The other build goes first at every second figure: neither always has the warmer machine.
        let before = (number % 2 == 1)
            .then(|| other.as_mut().map(|world| rows(measurement, world, scale)))
            .flatten();
        let mut measured = rows(measurement, &mut world, scale);
        let compared =
            before.or_else(|| other.as_mut().map(|world| rows(measurement, world, scale)));
        for (row, other) in measured.iter_mut().zip(compared.into_iter().flatten()) {
            row.compare(&other);
        }
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{seconds:.1} s");
        report.figures.push(Figure {
            name: measurement.name,
            seconds,
            rows: measured,
        });
    }
}

/// The rows of one measurement; one row that says why if it failed.
fn rows<W>(measurement: &Measurement<W>, world: &mut Result<W>, scale: Scale) -> Vec<Row> {
    let rows = match world {
        Ok(world) => (measurement.run)(world, scale),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    rows.unwrap_or_else(|error| vec![Row::failed(measurement.name, &error)])
}

fn list(figures: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, about) in figures {
        let _writing_to_a_string_works = writeln!(out, "{name:<24} {about}");
    }
    out
}
