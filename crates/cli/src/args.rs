//! Reads a command line: words, a command's own options, and nova's flags anywhere between them.
//! Pure: depends on the registry of flags in `model`.
//!
//! nova-manage took every parameter both by place and by name (`network create private …` and
//! `--label=private`), and flags before and after the command; so do all applets here.

mod bound;

pub(crate) use bound::Bound;

use crate::failure::Failure;
use novanet_model::flags::{self, Given, Kind, Origin, nearest};

/// A parameter of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Param {
    /// Its name, for `--name` and for messages.
    pub(crate) name: &'static str,
    /// Other spellings of `--name`.
    pub(crate) aliases: &'static [&'static str],
    /// How it is given.
    pub(crate) takes: Takes,
    /// One line of help.
    pub(crate) help: &'static str,
}

/// How a parameter is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// By place or as `--name value`; must be there.
    Required,
    /// By place or as `--name value`; may be missing.
    Optional,
    /// Any number of words by place, at the end; at least one.
    Many,
    /// `--name value` only.
    Named,
    /// `--name` only.
    Switch,
    /// `--name`, `--name T|F`, or T|F by place.
    Truth,
}

/// A parameter without other spellings.
pub(crate) const fn param(name: &'static str, takes: Takes, help: &'static str) -> Param {
    Param {
        name,
        aliases: &[],
        takes,
        help,
    }
}

impl Param {
    /// With other spellings.
    pub(crate) const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    fn by_place(&self) -> bool {
        !matches!(self.takes, Takes::Named | Takes::Switch)
    }
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// All columns, with titles; at a terminal as wide as it is.
    Table,
    /// nova's exact output.
    Plain,
    /// All fields, for programs.
    Json,
}

/// A command line, read.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Flags of nova, in their order.
    pub(crate) given: Vec<Given>,
    /// `--format`; `None`: it depends on the terminal.
    pub(crate) format: Option<Format>,
    /// `--help`.
    pub(crate) help: bool,
    /// `--version`, where no command takes it for itself.
    pub(crate) version: bool,
    /// Words that are no options.
    pub(crate) words: Vec<String>,
    options: Vec<(&'static str, String)>,
    errors: Vec<String>,
}

/// Steps through a command line. The caller says which parameters count from here on.
pub(crate) struct Reader<'a> {
    args: &'a [String],
    at: usize,
    words_only: bool,
    /// The part of the line that is read already.
    pub(crate) line: Line,
}

impl<'a> Reader<'a> {
    /// Reads `args`, which are without the program's name.
    pub(crate) fn new(args: &'a [String]) -> Self {
        Self {
            args,
            at: 0,
            words_only: false,
            line: Line::default(),
        }
    }

    /// Reads options up to the next word; `None` at the end.
    pub(crate) fn next_word(&mut self, params: &'static [Param]) -> Option<String> {
        while let Some(arg) = self.args.get(self.at) {
            self.at += 1;
            if self.words_only || !is_option(arg) {
                return Some(arg.clone());
            }
            if arg == "--" {
                self.words_only = true;
            } else {
                self.option(arg, params);
            }
        }
        None
    }

    /// Reads all that is left as words and options of one command.
    pub(crate) fn rest(mut self, params: &'static [Param]) -> Line {
        while let Some(word) = self.next_word(params) {
            self.line.words.push(word);
        }
        self.line
    }

    fn option(&mut self, arg: &str, params: &'static [Param]) {
        let text = arg.trim_start_matches('-');
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let name = name.replace('-', "_");
        if matches!(name.as_str(), "help" | "h") {
            self.line.help = true;
        } else if name == "format" {
            self.format(value);
        } else if let Some(param) = params.iter().find(|p| p.is(&name)) {
            self.param(param, value);
        } else if is_flag(&name) {
            self.flag(name, value);
        } else if matches!(name.as_str(), "version" | "V") && value.is_none() {
            self.line.version = true;
        } else {
            self.unknown(arg, &name, params);
        }
    }

    fn next_value(&mut self) -> Option<String> {
        let next = self.args.get(self.at).filter(|a| !is_option(a))?.clone();
        self.at += 1;
        Some(next)
    }

    fn format(&mut self, value: Option<String>) {
        match value.or_else(|| self.next_value()).as_deref() {
            Some("json") => self.line.format = Some(Format::Json),
            Some("plain") => self.line.format = Some(Format::Plain),
            Some("table") => self.line.format = Some(Format::Table),
            other => self.line.errors.push(format!(
                "format {:?}: must be table, json or plain",
                other.unwrap_or("")
            )),
        }
    }

    fn param(&mut self, param: &Param, value: Option<String>) {
        let value = match (param.takes, value) {
            (Takes::Switch, None) => "true".to_owned(),
            (Takes::Truth, None) => {
                let next = self.args.get(self.at).filter(|a| truth(a).is_some());
                self.at += usize::from(next.is_some());
                next.map_or_else(|| "true".to_owned(), Clone::clone)
            }
            (_, Some(value)) => value,
            (_, None) => {
                if let Some(value) = self.next_value() {
                    value
                } else {
                    let name = param.name;
                    self.line
                        .errors
                        .push(format!("option --{name} needs a value: {}", param.help));
                    return;
                }
            }
        };
        self.line.options.push((param.name, value));
    }

    fn flag(&mut self, name: String, value: Option<String>) {
        let takes_value = matches!(name.as_str(), "flagfile" | "config_file")
            || flags::find(&name).is_some_and(|f| f.kind != Kind::Switch)
            || flags::accepted(&name).is_some() && !flags::is_accepted_switch(&name);
        let value = match value {
            None if takes_value => self.next_value(),
            value => value,
        };
        self.line.given.push(Given {
            name,
            value,
            origin: Origin::CommandLine,
        });
    }

    fn unknown(&mut self, arg: &str, name: &str, params: &'static [Param]) {
        let option = arg.split('=').next().unwrap_or(arg);
        let own = params.iter().map(|p| p.name);
        let all = own
            .chain(flags::registry().iter().map(|f| f.name))
            .chain(flags::accepted_names());
        self.line.errors.push(match nearest(name, all) {
            Some(near) => format!("unknown option {option}: did you mean --{near}?"),
            None => format!("unknown option {option}: --help shows what there is"),
        });
    }
}

/// `-1` and `-` are words.
fn is_option(arg: &str) -> bool {
    arg.strip_prefix('-')
        .and_then(|rest| rest.chars().next())
        .is_some_and(|c| !c.is_ascii_digit())
}

fn is_flag(name: &str) -> bool {
    let negated = name.strip_prefix("no").unwrap_or(name);
    matches!(name, "flagfile" | "config_file")
        || [name, negated]
            .iter()
            .any(|n| flags::find(n).is_some() || flags::accepted(n).is_some())
}

/// nova-manage's `T` and `F`, and what people write instead.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "1" | "yes" | "y" => Some(true),
        "f" | "false" | "0" | "no" | "n" => Some(false),
        _ => None,
    }
}

impl Line {
    /// Gives the words to the parameters that take them by place, in the order `places` (all of
    /// them in their own order if it is empty).
    pub(crate) fn bind(
        &mut self,
        params: &'static [Param],
        places: &[&str],
    ) -> Result<Bound, Failure> {
        let mut errors = std::mem::take(&mut self.errors);
        if self.version {
            errors.push("unknown option --version: --help shows what there is".to_owned());
        }
        let mut values = std::mem::take(&mut self.options);
        let mut order: Vec<&Param> = if places.is_empty() {
            params.iter().filter(|p| p.by_place()).collect()
        } else {
            places
                .iter()
                .filter_map(|name| params.iter().find(|p| p.is(name)))
                .collect()
        };
        // A parameter given by name takes no place, as in `create private
        // --fixed_range_v4=…`.
        order.retain(|p| p.takes == Takes::Many || !values.iter().any(|(n, _)| *n == p.name));
        let mut order = order.into_iter().peekable();
        for word in self.words.drain(..) {
            let Some(param) = order.peek() else {
                errors.push(format!("{word:?} is one word too many"));
                break;
            };
            values.push((param.name, word));
            if param.takes != Takes::Many {
                order.next();
            }
        }
        let given = |param: &Param| values.iter().filter(|(n, _)| *n == param.name).count();
        for param in params {
            let count = given(param);
            if count > 1 && !matches!(param.takes, Takes::Many | Takes::Named | Takes::Switch) {
                errors.push(format!("{} is given {count} times", param.name));
            }
        }
        // What a slip was meant for is not missing besides.
        if errors.is_empty() {
            let needed = |p: &&Param| matches!(p.takes, Takes::Required | Takes::Many);
            let missing = params.iter().filter(needed).filter(|p| given(p) == 0);
            errors.extend(missing_ones(&missing.collect::<Vec<_>>()));
        }
        if errors.is_empty() {
            Ok(Bound::new(values))
        } else {
            Err(Failure::usage(errors.join("\n")))
        }
    }
}

/// All that is missing, in one line.
fn missing_ones(params: &[&Param]) -> Option<String> {
    match params {
        [] => None,
        [one] => Some(format!("{} is missing: {}", one.name, one.help)),
        several => {
            let names: Vec<&str> = several.iter().map(|p| p.name).collect();
            let helps: Vec<String> = several
                .iter()
                .map(|p| format!("{}: {}", p.name, p.help))
                .collect();
            Some(format!(
                "{} are missing ({})",
                names.join(" and "),
                helps.join("; ")
            ))
        }
    }
}
