//! Opens the cloud's database and the server's port and socket, for `server` and for the server half
//! of `up`. Depends on the key file and on the check of the state folder (`identity`).

use super::follow;
use crate::failure::Failure;
use crate::{identity, keyfile};
use novanet_control::{Cloud, CloudConfig};
use novanet_model::flags::Flags;
use novanet_server::{Server, ServerConfig};
use std::net::SocketAddr;

/// Opens the cloud with its key. An empty database gets its schema; an older one only with `up`,
/// which is alone with it.
pub(super) async fn open(flags: &Flags, migrate: bool) -> Result<Cloud, Failure> {
    let config = CloudConfig::from_flags(flags);
    identity::before_opening(flags)?;
    let cloud = Cloud::open(config.clone(), None).await?;
    let (have, want) = cloud.schema_version().await?;
    let migrate = have == 0 || (migrate && have < want);
    if migrate {
        // An older copy is not brought up to date, and an empty one is not filled, by mistake.
        refuse_another(&cloud, flags).await?;
        cloud.migrate().await?;
    }
    cloud.require_schema().await?;
    refuse_another(&cloud, flags).await?;
    let fresh = cloud.users().await?.is_empty();
    let vault = keyfile::open(&flags.path("secret_key_file"), fresh)?;
    cloud.close().await;
    let cloud = Cloud::open(config, Some(vault)).await?;
    let sealed = cloud.seal_user_data().await?;
    if sealed > 0 {
        tracing::info!(instances = sealed, "user data of earlier versions sealed");
    }
    Ok(cloud)
}

/// Refuses a database that is not the one of this state folder. Nothing was changed before.
async fn refuse_another(cloud: &Cloud, flags: &Flags) -> Result<(), Failure> {
    let verdict = identity::compare(cloud, flags).await?;
    identity::refuse(&verdict, cloud.db().name(), flags)
}

/// Binds the port and the socket.
pub(super) async fn bind(flags: &Flags, cloud: &Cloud) -> Result<Server, Failure> {
    let config = ServerConfig {
        ec2_listen: SocketAddr::V4(flags.ec2_listen()),
        agent_socket: flags.path("server_socket"),
        regions: follow::endpoints(flags),
        name: format!("{}:{}", flags.host(), std::process::id()),
        clock_file: novanet_server::clock_file::path(&flags.state_path()),
    };
    Ok(Server::bind(config, cloud.clone()).await?)
}
