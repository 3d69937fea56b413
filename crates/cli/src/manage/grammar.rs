//! From arguments to a [`Command`]: category and action by unique prefix, help, and the error text
//! where they do not match. Pure.

use super::{CATEGORIES, Command, absent, examples};
use crate::args::{Bound, Format, Line, Param, Reader, Takes};
use crate::failure::Failure;
use novanet_model::flags::{Given, nearest};
use std::fmt::Write as _;

/// A group of actions.
pub(crate) struct Category {
    /// Its name.
    pub(crate) name: &'static str,
    /// Other names.
    pub(crate) aliases: &'static [&'static str],
    /// One line of help.
    pub(crate) about: &'static str,
    /// What can be done.
    pub(crate) actions: &'static [Action],
}

/// One command.
pub(crate) struct Action {
    /// Its name.
    pub(crate) name: &'static str,
    /// Other names.
    pub(crate) aliases: &'static [&'static str],
    /// One line of help.
    pub(crate) about: &'static str,
    /// Its parameters.
    pub(crate) params: &'static [Param],
    /// Order of the parameters by place, where it depends on the words.
    places: fn(&[String]) -> &'static [&'static str],
    /// These orders, for people; empty: the one of `params`.
    orders: &'static [&'static str],
    parse: fn(&Bound) -> Result<Command, Failure>,
}

/// An action whose parameters by place are in the order of `params`.
pub(crate) const fn action(
    name: &'static str,
    about: &'static str,
    params: &'static [Param],
    parse: fn(&Bound) -> Result<Command, Failure>,
) -> Action {
    Action {
        name,
        aliases: &[],
        about,
        params,
        places: |_| &[],
        orders: &[],
        parse,
    }
}

impl Action {
    /// With other names.
    pub(crate) const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// With an order by place that depends on the words, and what the help says of it.
    pub(crate) const fn places(
        self,
        places: fn(&[String]) -> &'static [&'static str],
        orders: &'static [&'static str],
    ) -> Self {
        Self {
            places,
            orders,
            ..self
        }
    }
}

/// A command line, understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// nova's flags on it.
    pub(crate) given: Vec<Given>,
    /// `--format`; `None`: it depends on the terminal.
    pub(crate) format: Option<Format>,
    /// What to do.
    pub(crate) what: What,
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum What {
    /// Print this.
    Help(String),
    /// Do this.
    Run(Command),
}

/// Understands the arguments after the program's name.
pub(crate) fn parse(args: &[String]) -> Result<Parsed, Failure> {
    let mut reader = Reader::new(args);
    let Some(word) = reader.next_word(&[]) else {
        return help_or(reader.rest(&[]), overview());
    };
    if word == "help" {
        return parse(&[&without_help(args)[..], &["--help".to_owned()]].concat());
    }
    let category = pick(&word, CATEGORIES, "category", |c| (c.name, c.aliases))
        .map_err(|failure| instead(failure, "", absent::category(&word)))?;
    let only = match category.actions {
        [only] if only.params.is_empty() => Some(only),
        _ => None,
    };
    let action = match (reader.next_word(&[]), only) {
        (Some(word), _) => pick(
            &word,
            category.actions,
            &format!("action of {}", category.name),
            |a| (a.name, a.aliases),
        )
        .map_err(|failure| instead(failure, category.name, absent::action(category.name, &word)))?,
        // `nova-manage version`, `nova-manage config`: there is but one thing to do.
        (None, Some(only)) if !reader.line.help && !reader.line.version => only,
        (None, _) => {
            return help_or(reader.rest(&[]), actions_of(category));
        }
    };
    let mut line = reader.rest(action.params);
    let usage = usage_of(category, action);
    if line.help || line.version {
        return help_or(line, usage);
    }
    let places = (action.places)(&line.words);
    let command = line
        .bind(action.params, places)
        .and_then(|bound| (action.parse)(&bound))
        .map_err(|f| Failure {
            message: format!(
                "{}: {}",
                at(category, action),
                f.message
                    .replace('\n', &format!("\n{}: ", at(category, action)))
            ),
            ..f
        })?;
    Ok(Parsed {
        given: line.given,
        format: line.format,
        what: What::Run(command),
    })
}

/// A command that nova had and this program has not is no slip.
fn instead(failure: Failure, category: &str, absent: Option<(&str, &str)>) -> Failure {
    match absent {
        None => failure,
        Some((name, why)) => {
            let command = format!("{category} {name}");
            Failure::usage(format!("{}: {why}", command.trim()))
        }
    }
}

/// Whether a word is one of nova-manage's categories, by its full name.
pub(crate) fn is_category(word: &str) -> bool {
    let named = |c: &Category| c.name == word || c.aliases.contains(&word);
    CATEGORIES.iter().any(named) || absent::category(word).is_some_and(|(name, _)| name == word)
}

fn at(category: &Category, action: &Action) -> String {
    format!("{} {}", category.name, action.name)
}

/// `help network create` is `network create --help`.
fn without_help(args: &[String]) -> Vec<String> {
    let at = args.iter().position(|a| a == "help").unwrap_or(args.len());
    let mut rest = args.to_vec();
    rest.splice(at..=at, []);
    rest
}

/// Help that was asked for goes to stdout with exit code 0; otherwise it is a usage error.
fn help_or(mut line: Line, text: String) -> Result<Parsed, Failure> {
    let (help, version) = (line.help, std::mem::take(&mut line.version));
    line.words.clear();
    line.bind(&[], &[])?;
    if help || version {
        let text = if help {
            text
        } else {
            format!("{}\n", crate::version::NUMBER)
        };
        return Ok(Parsed {
            given: line.given,
            format: line.format,
            what: What::Help(text),
        });
    }
    Err(Failure::help(text))
}

/// The one that is meant: by full name, or by the beginning of one only.
fn pick<'a, T>(
    word: &str,
    all: &'a [T],
    what: &str,
    names: impl Fn(&T) -> (&'static str, &'static [&'static str]),
) -> Result<&'a T, Failure> {
    let wanted = word.to_ascii_lowercase().replace('-', "_");
    let full = |t: &&T| {
        let (name, aliases) = names(t);
        name == wanted || aliases.contains(&wanted.as_str())
    };
    if let Some(found) = all.iter().find(full) {
        return Ok(found);
    }
    // The other names count only where no name begins so: `f` is not `flavor` too.
    let starts = |name: &str| !wanted.is_empty() && name.starts_with(&wanted);
    let mut found: Vec<&T> = all.iter().filter(|t| starts(names(t).0)).collect();
    if found.is_empty() {
        found = all
            .iter()
            .filter(|t| names(t).1.iter().any(|a| starts(a)))
            .collect();
    }
    let list = |some: &[&T]| {
        some.iter()
            .map(|t| names(t).0)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let every: Vec<&T> = all.iter().collect();
            let near = nearest(&wanted, all.iter().map(|t| names(t).0));
            Err(Failure::usage(format!(
                "{word:?} is no {what}: {}",
                near.map_or_else(
                    || format!("there are {}", list(&every)),
                    |near| format!("did you mean {near}?")
                )
            )))
        }
        several => Err(Failure::usage(format!(
            "{word:?} could be more than one {what}: {}",
            list(several)
        ))),
    }
}

fn overview() -> String {
    let mut out = String::from(
        "usage: nova-manage [--flag=value …] CATEGORY ACTION [argument …] \
         [--format table|json|plain]\n\nAvailable categories:\n",
    );
    for category in CATEGORIES {
        let _ = writeln!(out, "    {:<14} {}", category.name, category.about);
    }
    out.push_str("\nnova-manage CATEGORY --help shows a category's actions, nova-manage config list all flags.\n");
    out.push_str(&example("network", "create"));
    out
}

fn actions_of(category: &Category) -> String {
    let mut out = format!("Available actions for {} category:\n", category.name);
    for action in category.actions {
        let _ = writeln!(out, "    {:<14} {}", action.name, action.about);
    }
    if let Some(first) = category.actions.first() {
        out.push_str(&example(category.name, first.name));
    }
    out
}

/// The last part of every help text.
fn example(category: &str, action: &str) -> String {
    examples::of(category, action).map_or_else(String::new, |line| {
        format!("\nExample:\n    nova-manage {line}\n")
    })
}

fn usage_of(category: &Category, action: &Action) -> String {
    let command = format!("nova-manage {} {}", category.name, action.name);
    let mut out = String::new();
    let own = [order_of(action.params)];
    let orders: Vec<&str> = if action.orders.is_empty() {
        own.iter().map(String::as_str).collect()
    } else {
        action.orders.to_vec()
    };
    for (number, order) in orders.iter().enumerate() {
        let before = if number == 0 { "usage:" } else { "   or:" };
        let _ = writeln!(out, "{}", format!("{before} {command} {order}").trim_end());
    }
    let _ = writeln!(out, "\n{}", action.about);
    let named = |p: &Param| matches!(p.takes, Takes::Named);
    let switch = |p: &Param| matches!(p.takes, Takes::Switch);
    let params = || action.params.iter();
    for (title, some) in [
        (
            "By place or as --name=value",
            params().filter(|p| !named(p) && !switch(p)).collect(),
        ),
        (
            "As --name=value",
            params().filter(|p| named(p)).collect::<Vec<_>>(),
        ),
        ("As --name", params().filter(|p| switch(p)).collect()),
    ] {
        if !some.is_empty() {
            let _ = writeln!(out, "\n{title}:");
        }
        for param in some {
            let _ = writeln!(out, "    {:<18} {}", param.name, param.help);
        }
    }
    out.push_str(&example(category.name, action.name));
    out
}

/// What can be given by place, in the parameters' own order.
fn order_of(params: &[Param]) -> String {
    let word = |param: &Param| {
        let upper = param.name.to_ascii_uppercase();
        match param.takes {
            Takes::Required => Some(upper),
            Takes::Many => Some(format!("{upper} …")),
            Takes::Optional | Takes::Truth => Some(format!("[{upper}]")),
            Takes::Named | Takes::Switch => None,
        }
    };
    params.iter().filter_map(word).collect::<Vec<_>>().join(" ")
}
