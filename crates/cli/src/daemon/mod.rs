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
use novanet_model::flags::Flags;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use host::agent_settings;

/// No words of their own: everything is a flag.
const NONE: &[Param] = &[];

/// `novanet up`: a whole cloud on this host.
pub(crate) fn up(args: &[String]) -> Result<String, Failure> {
    let Some(flags) = flags("up", "a whole cloud on this host", args)? else {
        return Ok(help("up", "a whole cloud on this host"));
    };
    log::open(&flags);
    runtime()?.block_on(serve::up(flags, stop()?))
}

/// `novanet server`: the EC2 API, the agent API and the controllers.
pub(crate) fn server(args: &[String]) -> Result<String, Failure> {
    let about = "the EC2 API and the controllers";
    let Some(flags) = flags("server", about, args)? else {
        return Ok(help("server", about));
    };
    log::open(&flags);
    runtime()?.block_on(serve::server(flags, stop()?))
}

/// `novanet agent`: this host's networks and instances.
pub(crate) fn agent(args: &[String]) -> Result<String, Failure> {
    let about = "this host's networks and instances";
    let Some(flags) = flags("agent", about, args)? else {
        return Ok(help("agent", about));
    };
    log::open(&flags);
    runtime()?.block_on(serve::agent(flags, stop()?))
}

/// The flags; `None`: help was asked for.
fn flags(face: &str, _about: &str, args: &[String]) -> Result<Option<Flags>, Failure> {
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
        let _ = writeln!(text, "    --{:<32} {} [{}]", flag.name, flag.help, flag.default);
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

/// Resolves on SIGTERM or SIGINT. Made before anything is started, so that none is missed.
fn stop() -> Result<impl Future<Output = ()> + Clone + Send + 'static, Failure> {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                let (Ok(mut term), Ok(mut int)) = (
                    signal(SignalKind::terminate()),
                    signal(SignalKind::interrupt()),
                ) else {
                    return;
                };
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                sender.send_replace(true);
            });
        })
        .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))?;
    Ok(Stop(receiver).wait())
}

struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    fn wait(self) -> Waiting {
        use futures_util::FutureExt as _;
        let mut receiver = self.0;
        async move {
            let _ = receiver.wait_for(|stop| *stop).await;
        }
        .boxed()
        .shared()
    }
}

type Waiting = futures_util::future::Shared<futures_util::future::BoxFuture<'static, ()>>;
