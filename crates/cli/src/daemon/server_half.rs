//! The server half of `novanet up`. While its database cannot be used, it says why and tries again;
//! the agent half goes on from its ledger, as firewall, DHCP and metadata need no server.

use super::open::{bind, open};
use super::ports::ReservedPorts;
use super::{Shutdown, announce, follow, setup};
use crate::failure::Failure;
use crate::say;
use novanet_agent::runtime;
use novanet_control::Cloud;
use novanet_model::Micros;
use novanet_model::flags::Flags;
use novanet_server::Server;
use std::net::SocketAddr;
use std::time::Duration;

/// Pause between two attempts to open the database.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A server that is ready to run.
pub(super) struct ServerHalf {
    cloud: Cloud,
    server: Server,
    ready: setup::Ready,
    address: SocketAddr,
    /// When it was made ready.
    since: Micros,
}

/// The server, if its database can be used; `None`: the agent has to go on alone. A host whose
/// agent has no ledger yet has nothing to keep: there the error ends the start.
pub(super) async fn begin(
    flags: &Flags,
    first: &setup::First,
    reserved: ReservedPorts,
) -> Result<Option<ServerHalf>, Failure> {
    let has_ledger = runtime::has_ledger(&flags.state_path());
    let error = match open(flags, true).await {
        Ok(cloud) => match prepare(flags, first, cloud, Some(reserved)).await {
            Ok(half) => return Ok(Some(half)),
            Err(error) if !error.of_database => return Err(error),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if !has_ledger {
        return Err(error);
    }
    say_why(&error);
    Ok(None)
}

/// Runs the server until `stop`; while its database cannot be used, waits for that.
pub(super) async fn serve(
    flags: &Flags,
    first: &setup::First,
    mut begun: Option<ServerHalf>,
    stop: Shutdown,
) -> Result<(), Failure> {
    loop {
        let half = if let Some(half) = begun.take() {
            half
        } else {
            tokio::select! {
                half = come_back(flags, first) => half,
                () = stop.clone() => return Ok(()),
            }
        };
        let ServerHalf {
            cloud,
            server,
            ready,
            address,
            since,
        } = half;
        let announcing = async {
            announce::when_up(&cloud, flags, &ready, (address, since)).await;
            std::future::pending().await
        };
        let regions = server.regions();
        let following =
            follow::address(
                flags,
                regions,
                async |flags: &Flags| match setup::credentials(&cloud, flags).await {
                    Ok(novarc) => say::line(&format!(
                        "novarc has the host's new address: {}",
                        novarc.display()
                    )),
                    Err(error) => {
                        tracing::warn!(error = error.message, "novarc has the old address");
                    }
                },
            );
        let done = tokio::select! {
            done = server.run(stop.clone()) => done,
            never = announcing => never,
            never = following => match never {},
        };
        cloud.close().await;
        match done.map_err(Failure::from) {
            Err(error) if error.of_database => say_why(&error),
            done => return done,
        }
    }
}

/// Waits until the database can be used, and makes the server ready. Says when the reason changes.
async fn come_back(flags: &Flags, first: &setup::First) -> ServerHalf {
    let mut said = None;
    loop {
        tokio::time::sleep(RETRY_INTERVAL).await;
        let ready = match open(flags, true).await {
            Ok(cloud) => prepare(flags, first, cloud, None).await,
            Err(error) => Err(error),
        };
        match ready {
            Ok(half) => {
                tracing::info!("the database is back: the server runs");
                return half;
            }
            Err(error) if said.as_ref() == Some(&error.message) => {}
            Err(error) => {
                // The first one was said at the start.
                if said.is_some() {
                    say_why(&error);
                }
                said = Some(error.message);
            }
        }
    }
}

fn say_why(error: &Failure) {
    tracing::error!(
        why = %error.message,
        "the server does not run; firewall, DHCP and metadata go on from the agent's ledger"
    );
}

async fn prepare(
    flags: &Flags,
    first: &setup::First,
    cloud: Cloud,
    reserved: Option<ReservedPorts>,
) -> Result<ServerHalf, Failure> {
    let since = novanet_control::now();
    first.check(&cloud).await?;
    drop(reserved);
    let server = bind(flags, &cloud).await?;
    let ready = setup::run(&cloud, flags, first).await?;
    let address = server
        .ec2_address()
        .map_err(|e| Failure::failed(format!("EC2 API: {e}")))?;
    Ok(ServerHalf {
        cloud,
        server,
        ready,
        address,
        since,
    })
}
