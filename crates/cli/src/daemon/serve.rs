//! Runs server, agent, or both in one process; also there they speak the real protocol over the
//! socket. Depends on `server`, `agent` and `control`.

use super::open::{bind, open};
use super::{Shutdown, follow, host, ports, server_half, setup};
use crate::failure::Failure;
use crate::running;
use futures_util::FutureExt as _;
use novanet_agent::link::host_addresses;
use novanet_agent::runtime::{self, AgentError, NamespaceLock, Options, preflight, run_with};
use novanet_agent::server_client::{Pace, ServerAddress};
use novanet_agent::settings::Settings;
use novanet_agent::{local, reserve};
use novanet_model::flags::Flags;
use novanet_model::wire::HostRole;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long server and agent may take to end after each other.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// `novanet up`. What the host lacks is said before anything is made.
pub(super) async fn up(flags: Flags, stop: Shutdown) -> Result<String, Failure> {
    host::say_what_is_missing(&flags);
    // Before anything is made; the agent takes it for good.
    drop(NamespaceLock::acquire().map_err(|e| Failure::because(&e))?);
    runtime::identity::check(&flags.state_path(), flags.host())
        .map_err(|e| Failure::because(&e))?;
    let able = if setup::is_first_start(&flags) {
        preflight::check_to_build(&flags.roles())
    } else {
        preflight::check(&flags.roles())
    };
    able.map_err(|e| Failure::because(&e))?;
    let settings = host::agent_settings(&flags)?;
    let here = setup::Here {
        host: flags.host().to_owned(),
        addresses: host_addresses(&settings).map_err(|e| Failure::because(&e))?,
    };
    let first = setup::First::of(&flags, here)?;
    let reserved = ports::reserve(&flags)?;
    let begun = server_half::begin(&flags, &first, reserved).await?;
    keep_reserve(&flags);
    let _registration = running::register("up", &flags);
    let upstream = ServerAddress::Unix(flags.path("server_socket"));
    // One stop for both: a signal, or the end of the other.
    let other_ended = CancellationToken::new();
    let stop = {
        let other_ended = other_ended.clone();
        async move {
            tokio::select! {
                () = stop => {}
                () = other_ended.cancelled() => {}
            }
        }
        .boxed()
        .shared()
    };
    let serving = async {
        let done = server_half::serve(&flags, &first, begun, stop.clone()).await;
        other_ended.cancel();
        done
    };
    let hosting = async {
        let done = host_on_own_threads(settings, options(&flags), upstream, stop.clone()).await;
        other_ended.cancel();
        done
    };
    let too_late = async {
        stop.clone().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    let both = async { tokio::join!(serving, hosting) };
    let done = tokio::select! {
        (served, hosted) = both => hosted.and(served),
        () = too_late => Err(Failure::failed("server or agent did not end in time")),
    };
    done?;
    tracing::info!("stopped; instances and rules stay as they are");
    Ok(String::new())
}

/// Runs the agent on threads of its own: what it waits for there (the kernel's lock of all network
/// settings, a disk, a program) delays no answer of the API.
async fn host_on_own_threads(
    settings: Settings,
    options: Options,
    upstream: ServerAddress,
    stop: Shutdown,
) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let (ended, end) = oneshot::channel();
    let work = move || {
        let done = runtime.block_on(run_with(settings, options, upstream, stop));
        let _ = ended.send(done); // the receiver is gone when the agent ends too late
        runtime.shutdown_background();
    };
    std::thread::Builder::new()
        .name("agent".to_owned())
        .spawn(work)
        .map_err(|e| Failure::failed(format!("cannot start the agent's thread: {e}")))?;
    match end.await {
        Ok(done) => done.map_err(|e| Failure::because(&e)),
        Err(_) => Err(Failure::failed(
            "the agent ended without a result: see the log, and start it again",
        )),
    }
}

/// `novanet server`.
pub(super) async fn server(flags: Flags, stop: Shutdown) -> Result<String, Failure> {
    let cloud = open(&flags, false).await?;
    keep_reserve(&flags);
    let server = bind(&flags, &cloud).await?;
    let _registration = running::register("server", &flags);
    let following = follow::address(&flags, server.regions(), async |_: &Flags| {});
    let done = tokio::select! {
        done = server.run(stop) => done,
        never = following => match never {},
    };
    cloud.close().await;
    done?;
    Ok(String::new())
}

/// `novanet agent`.
pub(super) async fn agent(flags: Flags, stop: Shutdown) -> Result<String, Failure> {
    host::say_what_is_missing(&flags);
    let settings = host::agent_settings(&flags)?;
    let upstream = ServerAddress::Unix(flags.path("server_socket"));
    let keeping = async {
        // One that is refused leaves nothing behind: its socket is the sign that it runs.
        let socket = local::socket_path(&flags.state_path());
        while UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        keep_reserve(&flags);
        let _registration = running::register("agent", &flags);
        std::future::pending().await
    };
    let hosting = async {
        let done = run_with(settings, options(&flags), upstream, stop).await;
        done.map_err(|e| refused(&e, &flags.roles()))
    };
    tokio::select! {
        done = hosting => done.map(|()| String::new()),
        never = keeping => never,
    }
}

/// Why the agent does not start. On an old host nova-compute stands beside nova-network.
fn refused(error: &AgentError, roles: &[HostRole]) -> Failure {
    let mut failure = Failure::because(error);
    if roles.len() == 1 && matches!(error, AgentError::AlreadyRunning(_)) {
        failure.message.push_str(
            " (one agent is both nova-network and nova-compute: novanet agent, or novanet up)",
        );
    }
    failure
}

/// Keeps space in the state folder that is given up when a database or a file finds none.
fn keep_reserve(flags: &Flags) {
    let (state, mb) = (flags.state_path(), flags.state_reserve_mb());
    let full = state.clone();
    novanet_control::when_full(move || {
        reserve::release(&full);
    });
    tokio::spawn(async move { reserve::keep(&state, mb).await });
}

fn options(flags: &Flags) -> Options {
    let heartbeat = u64::try_from(flags.number("report_interval")).unwrap_or(10);
    Options {
        roles: flags.roles(),
        pace: Pace {
            heartbeat: Duration::from_secs(heartbeat),
            ..Pace::default()
        },
        ..Options::default()
    }
}
