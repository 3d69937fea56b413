//! All programs as clap's commands, from the tables that the parsers use. Pure.

use crate::applet::names::{APPLETS, Applet};
use crate::args::{Param, Takes};
use crate::manage::{self, Action, Category};
use crate::{euca, version};
use clap::builder::{PossibleValuesParser, ValueHint};
use clap::{Arg, ArgAction, Command};
use novanet_model::flags::{Flag, Kind, registry};

/// The programs with all that a shell can complete.
pub(super) fn for_completion() -> Vec<Command> {
    let novanet = APPLETS.iter().map(|(name, applet, about)| {
        let command = match applet {
            Applet::Up | Applet::Server | Applet::Agent => named(name, about).args(flags()),
            Applet::Manage => nova_manage(name, Completed::Options),
            Applet::Image => category_of("image", name),
            Applet::Euca => named(name, about).subcommands(euca_commands()),
            Applet::Completion => named(name, about).arg(
                Arg::new("shell").value_parser(PossibleValuesParser::new(["bash", "zsh", "fish"])),
            ),
            Applet::Demo => named(name, about).args(["keep", "vlan"].map(switch)),
            Applet::Dhcpbridge | Applet::Man | Applet::Version => named(name, about),
        };
        command.about(*about)
    });
    let novanet = named("novanet", ABOUT).subcommands(novanet);
    let mut all = vec![novanet, nova_manage("nova-manage", Completed::Options)];
    all.extend(euca_commands());
    all
}

/// The programs as people read of them: what stands on a page of its own is not in another.
pub(super) fn for_pages() -> Vec<Command> {
    let applets = APPLETS
        .iter()
        .map(|(name, _, about)| format!("{name:<12} {about}"));
    let applets: Vec<String> = applets.collect();
    let novanet = named("novanet", ABOUT)
        .arg(Arg::new("COMMAND").help(applets.join("\n")))
        .arg(Arg::new("argument").num_args(0..))
        .after_help("Example:\n    novanet up");
    let mut all = vec![novanet, nova_manage("nova-manage", Completed::Places)];
    all.extend(euca_commands());
    all
}

const ABOUT: &str = "the networking of a private cloud in one binary";

/// What a parameter that is given by place or by name becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completed {
    /// Only a place, for people.
    Places,
    /// An option, too, for shells.
    Options,
}

fn named(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .version(version::NUMBER)
        // A parameter may have this name: db sync --version.
        .disable_version_flag(true)
        .disable_help_subcommand(true)
}

fn switch(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn nova_manage(name: &'static str, completed: Completed) -> Command {
    let categories = manage::CATEGORIES.iter();
    let command = named(name, "the operator's command line of novanet")
        .subcommands(categories.map(|category| of_category(category, completed)))
        .args(common())
        .after_help(example("network", "create"));
    match completed {
        Completed::Places => command,
        Completed::Options => command.args(flags()),
    }
}

fn category_of(category: &str, name: &'static str) -> Command {
    let found = manage::CATEGORIES.iter().find(|c| c.name == category);
    found.map_or_else(
        || Command::new(name),
        |category| of_category(category, Completed::Options).name(name),
    )
}

fn of_category(category: &Category, completed: Completed) -> Command {
    let first = category.actions.first().map_or("", |action| action.name);
    named(category.name, category.about)
        .visible_aliases(category.aliases.iter().copied())
        .subcommands(
            category
                .actions
                .iter()
                .map(|action| of_action(category, action, completed)),
        )
        .after_help(example(category.name, first))
}

fn of_action(category: &Category, action: &Action, completed: Completed) -> Command {
    let command = named(action.name, action.about)
        .visible_aliases(action.aliases.iter().copied())
        .args(common())
        .after_help(example(category.name, action.name));
    with_params(command, action.params, completed)
}

fn example(category: &str, action: &str) -> String {
    let line = manage::example(category, action).unwrap_or_default();
    format!("Example:\n    nova-manage {line}")
}

/// What every command of nova-manage takes.
fn common() -> [Arg; 2] {
    let format = Arg::new("format")
        .long("format")
        .value_parser(PossibleValuesParser::new(["table", "json", "plain"]))
        .help("how lists are printed (table; without a terminal plain)");
    let file = Arg::new("flagfile")
        .long("flagfile")
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .help("nova.conf to read (/etc/nova/nova.conf)");
    [format, file]
}

fn euca_commands() -> impl Iterator<Item = Command> {
    euca::commands().flat_map(|command| {
        command.names().map(|name| {
            let other: Vec<String> = command
                .names()
                .filter(|other| *other != name)
                .map(|other| format!("euca-{other}"))
                .collect();
            let about = if other.is_empty() {
                command.about.to_owned()
            } else {
                format!("{} (also {})", command.about, other.join(", "))
            };
            let program = Command::new(format!("euca-{name}"))
                .about(about)
                .version(version::NUMBER)
                .disable_version_flag(true)
                .after_help(format!("Example:\n    euca-{}", command.example));
            with_params(program, command.params, Completed::Places)
        })
    })
}

/// A command's parameters: places in their order, then options.
fn with_params(command: Command, params: &[Param], completed: Completed) -> Command {
    // clap wants all that must be there before all that may be missing.
    let mut all_required = true;
    params.iter().fold(command, |command, param| {
        let upper = param.name.to_ascii_uppercase();
        let place = Arg::new(param.name).value_name(upper).help(param.help);
        let place = match param.takes {
            Takes::Named => return command.arg(option(param)),
            Takes::Switch => {
                return command.arg(option(param).action(ArgAction::SetTrue).num_args(0));
            }
            Takes::Required => place.required(all_required),
            Takes::Many => place.required(all_required).num_args(1..),
            Takes::Optional | Takes::Truth => {
                all_required = false;
                place
            }
        };
        let command = command.arg(place);
        match completed {
            Completed::Places => command,
            Completed::Options => command.arg(option(param).id(format!("--{}", param.name))),
        }
    })
}

/// A parameter as `--name value`, with its one-letter name.
fn option(param: &Param) -> Arg {
    let upper = param.name.to_ascii_uppercase();
    let letter = param.aliases.iter().find(|alias| alias.len() == 1);
    let arg = Arg::new(param.name)
        .long(param.name)
        .value_name(upper)
        .help(param.help);
    match letter.and_then(|alias| alias.chars().next()) {
        Some(letter) => arg.short(letter),
        None => arg,
    }
}

/// nova's flags.
fn flags() -> impl Iterator<Item = Arg> {
    registry().iter().map(flag)
}

fn flag(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
    match flag.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::Path => arg.value_hint(ValueHint::AnyPath),
        Kind::Choice(words) => arg.value_parser(PossibleValuesParser::new(words)),
        _ => arg,
    }
}
