//! The faces that stay: `novanet up`, `novanet server`, `novanet agent`. They read the flags, open
//! the log, run until they are told to stop, and leave instances and rules as they are.

mod host;
mod log;
mod novarc;
mod serve;
mod setup;

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
    let Some(flags) = flags("up", args)? else {
        return Ok(help("up", "a whole cloud on this host"));
    };
    log::open(&flags);
    runtime()?.block_on(serve::up(flags, stop()))
}

/// `novanet server`: the EC2 API, the agent API and the controllers.
pub(crate) fn server(args: &[String]) -> Result<String, Failure> {
    let about = "the EC2 API and the controllers";
    let Some(flags) = flags("server", args)? else {
        return Ok(help("server", about));
    };
    log::open(&flags);
    runtime()?.block_on(serve::server(flags, stop()))
}

/// `novanet agent`: this host's networks and instances.
pub(crate) fn agent(args: &[String]) -> Result<String, Failure> {
    let about = "this host's networks and instances";
    let Some(flags) = flags("agent", args)? else {
        return Ok(help("agent", about));
    };
    log::open(&flags);
    runtime()?.block_on(serve::agent(flags, stop()))
}

/// The flags; `None`: help was asked for.
fn flags(face: &str, args: &[String]) -> Result<Option<Flags>, Failure> {
    let mut line = Reader::new(args).rest(NONE);
    if line.help {
        return Ok(None);
    }
    let given = std::mem::take(&mut line.given);
    if let Some(word) = line.words.first() {
        return Err(Failure::usage(format!(
            "novanet {face}: {word:?} is not understood: this command takes flags only (--help)"
        )));
    }
    line.bind(NONE, &[])?;
    environment::flags(&given).map(Some)
}

fn help(face: &str, about: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!("usage: novanet {face} [--flag=value …]: {about}\n\n");
    for flag in novanet_model::flags::registry() {
        let _ = writeln!(
            text,
            "    --{:<32} {} [{}]",
            flag.name, flag.help, flag.default
        );
    }
    text.push_str("\nFlags may also stand in a file: --flagfile=FILE, or /etc/nova/nova.conf.\n");
    text
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))
}

/// Resolves on SIGTERM or SIGINT, for all who hold it.
type Stop = Shared<BoxFuture<'static, ()>>;

fn stop() -> Stop {
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
