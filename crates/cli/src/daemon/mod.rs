//! The applets that stay: `novanet up`, `novanet server`, `novanet agent`. They read the flags,
//! open the log, run until a signal stops them, and leave instances and rules as they are.

mod announce;
mod follow;
mod host;
mod log;
mod open;
mod ports;
mod serve;
mod server_half;
mod setup;

pub(crate) use host::agent_settings;

use crate::args::{Param, Reader};
use crate::environment;
use crate::failure::Failure;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use novanet_model::flags::Flags;
use tokio::signal::unix::{SignalKind, signal};

/// No words of their own: everything is a flag.
const NONE: &[Param] = &[];

/// `novanet up`: a whole cloud on this host.
pub(crate) fn up(args: &[String]) -> Result<String, Failure> {
    run("up", "a whole cloud on this host", args, serve::up)
}

/// `novanet server`: the EC2 API, the agent API and the controllers.
pub(crate) fn server(args: &[String]) -> Result<String, Failure> {
    let about = "the EC2 API and the controllers";
    run("server", about, args, serve::server)
}

/// `novanet agent`: this host's networks and instances.
pub(crate) fn agent(args: &[String]) -> Result<String, Failure> {
    let about = "this host's networks and instances";
    run("agent", about, args, serve::agent)
}

fn run<F>(
    applet: &str,
    about: &str,
    args: &[String],
    serve: fn(Flags, Shutdown) -> F,
) -> Result<String, Failure>
where
    F: Future<Output = Result<String, Failure>>,
{
    let flags = match flags(applet, about, args)? {
        Asked::Run(flags) => flags,
        Asked::Text(text) => return Ok(text),
    };
    log::open(&flags);
    runtime()?.block_on(async {
        // A terminal that is closed takes the log's reader away, not the cloud.
        let _hangup = signal(SignalKind::hangup());
        serve(flags, shutdown()).await
    })
}

/// What the command line wants.
enum Asked {
    /// To run with these flags.
    Run(Flags),
    /// To read this.
    Text(String),
}

fn flags(applet: &str, about: &str, args: &[String]) -> Result<Asked, Failure> {
    let mut line = Reader::new(args).rest(NONE);
    if line.help {
        return Ok(Asked::Text(help(applet, about)));
    }
    if line.version {
        return Ok(Asked::Text(crate::version::line()));
    }
    let given = std::mem::take(&mut line.given);
    if let Some(word) = line.words.first() {
        return Err(Failure::usage(format!(
            "novanet {applet}: {word:?} is not understood: this command takes flags only (--help)"
        )));
    }
    line.bind(NONE, &[])?;
    environment::flags(&given).map(Asked::Run)
}

fn help(applet: &str, about: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!("usage: novanet {applet} [--flag=value …]: {about}\n\n");
    for flag in novanet_model::flags::registry() {
        let _ = writeln!(
            text,
            "    --{:<32} {} [{}]",
            flag.name, flag.help, flag.default
        );
    }
    text.push_str("\nFlags may also stand in a file: --flagfile=FILE, or /etc/nova/nova.conf.\n");
    text.push_str(log::HELP);
    let _ = writeln!(
        text,
        "\nExample:\n    novanet {applet} --flagfile=/etc/nova/nova.conf"
    );
    text
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))
}

/// Resolves on SIGTERM or SIGINT, in every clone.
type Shutdown = Shared<BoxFuture<'static, ()>>;

fn shutdown() -> Shutdown {
    let signals = async {
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            // Without handlers the signals end the process, which is as good.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    signals.boxed().shared()
}
