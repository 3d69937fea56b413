//! The applets of the one binary, and the old programs' names for them. Depends on every applet; no
//! applet depends on this file.

mod dhcpbridge;
pub(crate) mod manage;

use crate::failure::Failure;
use crate::version;
use std::fmt::Write as _;
use std::path::Path;

/// A job of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applet {
    /// Everything on one host.
    Up,
    /// API and controllers.
    Server,
    /// One host's networks and instances.
    Agent,
    /// The operator's command line.
    Manage,
    /// dnsmasq's messenger.
    Dhcpbridge,
    /// The small EC2 client.
    Euca,
    /// `image build …`
    Image,
    /// The main job in a sandbox.
    Demo,
    /// The version.
    Version,
}

/// Every applet: its word, and what it is for.
pub(crate) const APPLETS: &[(&str, Applet, &str)] = &[
    ("up", Applet::Up, "a whole cloud on this host"),
    (
        "server",
        Applet::Server,
        "the EC2 API and the controllers (nova-api)",
    ),
    (
        "agent",
        Applet::Agent,
        "this host's networks and instances (nova-network, nova-compute)",
    ),
    (
        "manage",
        Applet::Manage,
        "the operator's command line (nova-manage)",
    ),
    (
        "dhcpbridge",
        Applet::Dhcpbridge,
        "called by dnsmasq (nova-dhcpbridge)",
    ),
    ("euca", Applet::Euca, "a small EC2 client (euca-*)"),
    (
        "image",
        Applet::Image,
        "build and register images (nova-manage image)",
    ),
    ("demo", Applet::Demo, "the main job in a sandbox"),
    ("version", Applet::Version, "the version"),
];

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
    out.push_str("\nnovanet COMMAND --help says more. Links named nova-manage, nova-api, nova-network,\nnova-compute, nova-dhcpbridge and euca-* do the same under the old names.\n");
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
