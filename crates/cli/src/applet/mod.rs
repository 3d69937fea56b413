//! The applets of the one binary, and the old programs' names for them. Depends on every applet; no
//! applet depends on this file.

mod dhcpbridge;
pub(crate) mod manage;
pub(crate) mod names;

use crate::failure::Failure;
use crate::version;
use names::{APPLETS, Applet};
use std::fmt::Write as _;
use std::path::Path;

/// `novanet bench` was a command; scripts may still call it.
const BENCH_MOVED: &str = "novanet bench: the benchmark is a program of its own: run `make bench` in \
     the sources (target/release/novanet-bench)";

/// Runs the applet that the program's name or the first word asks for; what it answers goes to
/// stdout.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let (program, rest) = args
        .split_first()
        .map_or(("novanet", args), |(p, r)| (p.as_str(), r));
    if let Some((applet, mut meant)) = by_name(program) {
        meant.extend_from_slice(rest);
        return start(applet, &meant);
    }
    let Some((word, rest)) = rest.split_first() else {
        return Err(Failure::help(overview()));
    };
    match word.as_str() {
        "--help" | "-h" | "help" => return Ok(overview()),
        "--version" | "-V" => return start(Applet::Version, &[]),
        "bench" => return Err(Failure::usage(BENCH_MOVED)),
        _ => {}
    }
    match APPLETS.iter().find(|(name, ..)| name == word) {
        Some((_, applet, _)) => start(*applet, rest),
        None if crate::manage::is_category(word) => Err(Failure::usage(format!(
            "novanet {word}: no such command: did you mean novanet manage {}?",
            args[1..].join(" ")
        ))),
        None => Err(Failure::usage(unknown(word))),
    }
}

fn start(applet: Applet, args: &[String]) -> Result<String, Failure> {
    match applet {
        Applet::Manage => manage::run(args),
        Applet::Image => manage::run(&[&["image".to_owned()], args].concat()),
        Applet::Version => Ok(version::line()),
        Applet::Up => crate::daemon::up(args),
        Applet::Server => crate::daemon::server(args),
        Applet::Agent => crate::daemon::agent(args),
        Applet::Euca => crate::euca::run(args),
        Applet::Dhcpbridge => dhcpbridge::run(args),
        Applet::Demo => crate::demo::run(args),
        Applet::Completion => crate::reference::completion(args),
        Applet::Man => crate::reference::man(args),
    }
}

fn unknown(word: &str) -> String {
    let near = novanet_model::flags::nearest(word, APPLETS.iter().map(|(name, ..)| *name));
    let names: Vec<&str> = APPLETS.iter().map(|(name, ..)| *name).collect();
    match near {
        Some(near) => format!("novanet {word}: no such command: did you mean {near}?"),
        None => format!(
            "novanet {word}: no such command: there are {}",
            names.join(", ")
        ),
    }
}

fn overview() -> String {
    let mut out = String::from("usage: novanet COMMAND [argument …]\n\n");
    for (name, _, about) in APPLETS {
        let _ = writeln!(out, "    {name:<12} {about}");
    }
    out.push_str("\nnovanet COMMAND --help says more. Links named nova-manage, nova-api, nova-network,\nnova-compute, nova-dhcpbridge and euca-* do the same under the old names.\n\nExample:\n    novanet up\n");
    out
}

/// A runtime on this thread: what a command line does is one thing after another.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))
}

/// Which applet the program's own name asks for (`nova-manage` is a link to `novanet`), with the
/// arguments that this name stands for.
pub(crate) fn by_name(program: &str) -> Option<(Applet, Vec<String>)> {
    let name = Path::new(program).file_name()?.to_str()?;
    let applet = |applet| Some((applet, Vec::new()));
    match name {
        "nova-manage" => applet(Applet::Manage),
        "nova-api" => applet(Applet::Server),
        "nova-dhcpbridge" => applet(Applet::Dhcpbridge),
        "nova-network" => Some((Applet::Agent, vec!["--roles=network".to_owned()])),
        "nova-compute" => Some((Applet::Agent, vec!["--roles=compute".to_owned()])),
        _ if name.starts_with("euca-") => Some((Applet::Euca, vec![name.to_owned()])),
        _ => None,
    }
}
