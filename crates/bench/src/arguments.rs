//! The command line of `novanet-bench`. Depends on nothing but the names of the figures, which it
//! is given to check `--only`.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Options with a value, and what they are for.
const NAMED: &[(&str, &str, &str)] = &[
    ("json", "FILE", "write the figures to a file, as JSON"),
    ("only", "NAMES", "names or groups of figures, with commas"),
    (
        "binary",
        "PATH",
        "the program to measure (usual: novanet beside novanet-bench)",
    ),
    (
        "against",
        "PATH",
        "another build, measured alternately: whole-system figures only",
    ),
];
/// Options without one.
const SWITCHES: &[(&str, &str)] = &[
    ("quick", "small sizes: is everything in order?"),
    ("list", "say which figures there are"),
    ("check", "exit with 1 when a figure is missed"),
    ("help", "this text"),
];

/// What the command line asks for.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub(crate) struct Arguments {
    /// Small sizes.
    pub(crate) quick: bool,
    /// Lists the figures and measures nothing.
    pub(crate) list: bool,
    /// A missed figure is a failure.
    pub(crate) check: bool,
    /// The usage text.
    pub(crate) help: bool,
    /// Figures and groups of figures; empty: all.
    only: Vec<String>,
    /// File for the figures as JSON.
    pub(crate) json: Option<PathBuf>,
    /// The program that is measured; `None`: the one beside this program.
    pub(crate) binary: Option<PathBuf>,
    /// The program that it is compared with.
    pub(crate) against: Option<PathBuf>,
}

impl Arguments {
    /// Reads `--name value`, `--name=value` and `--switch`.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut read = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let option = arg.strip_prefix("--").unwrap_or_default();
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if SWITCHES.iter().any(|(switch, _)| *switch == name) && value.is_none() {
                read.switch(name);
            } else if NAMED.iter().any(|(named, ..)| *named == name) {
                let value = value.or_else(|| args.next());
                read.named(name, value.with_context(|| format!("{arg} needs a value"))?);
            } else {
                bail!("unknown argument {arg}: --help shows what there is");
            }
        }
        Ok(read)
    }

    fn switch(&mut self, name: &str) {
        match name {
            "quick" => self.quick = true,
            "list" => self.list = true,
            "check" => self.check = true,
            _ => self.help = true,
        }
    }

    fn named(&mut self, name: &str, value: String) {
        match name {
            "json" => self.json = Some(value.into()),
            "binary" => self.binary = Some(value.into()),
            "against" => self.against = Some(value.into()),
            _ => self.only.extend(
                value
                    .split(',')
                    .filter(|o| !o.is_empty())
                    .map(str::to_owned),
            ),
        }
    }

    /// Whether a figure is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or(name);
        self.only.is_empty() || self.only.iter().any(|only| only == name || only == group)
    }

    /// Refuses `--only` with a name that no figure and no group has.
    pub(crate) fn check_names(&self, all: &[&str]) -> Result<()> {
        let groups = all.iter().filter_map(|name| name.split('/').next());
        let known: Vec<&str> = groups.chain(all.iter().copied()).collect();
        for only in &self.only {
            if known.contains(&only.as_str()) {
                continue;
            }
            return Err(
                match novanet_model::flags::nearest(only, known.iter().copied()) {
                    Some(near) => anyhow!("--only {only}: did you mean {near}?"),
                    None => anyhow!("--only {only}: --list shows what there is"),
                },
            );
        }
        Ok(())
    }

    /// The program to measure.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let path = match &self.binary {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("novanet"),
        };
        existing(
            path,
            "build it (cargo build -p novanet-cli) or name it with --binary",
        )
    }

    /// The program to compare with.
    pub(crate) fn other_program(&self) -> Result<Option<PathBuf>> {
        self.against
            .clone()
            .map(|path| existing(path, "--against names a built novanet"))
            .transpose()
    }
}

/// The absolute path: the program is started in other folders too.
fn existing(path: PathBuf, advice: &str) -> Result<PathBuf> {
    ensure!(path.is_file(), "no program {}: {advice}", path.display());
    Ok(std::path::absolute(path)?)
}

/// The usage text.
pub(crate) fn usage() -> String {
    let mut out = String::from("usage: novanet-bench [--option …]\n\n");
    for (name, value, about) in NAMED {
        let _writing_to_a_string_works =
            writeln!(out, "    {:<16} {about}", format!("--{name} {value}"));
    }
    for (name, about) in SWITCHES {
        let _writing_to_a_string_works = writeln!(out, "    {:<16} {about}", format!("--{name}"));
    }
    out
}
