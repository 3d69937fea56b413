//! RunInstances. Calls at the same time share one transaction and its statements: with one call per
//! transaction, 8 concurrent callers launched 0.3 times as many instances on SQLite, and 0.2 times
//! as many on PostgreSQL.

mod addresses;
mod batch;
mod context;
mod idempotency;
mod leader;
mod networks;
mod queue;
mod rows;
mod types;
mod vpn;

pub(crate) use queue::Queue;

use crate::groups::GroupRef;
use crate::{Caller, Cloud, Result, Role};
use novanet_model::{ImageId, InstanceId, ModelError, NetworkId, SubnetId};
use novanet_store::Committed;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The most interfaces of an instance.
const MAX_INTERFACES: usize = 8;

/// nova's and EC2's limit for user data, in bytes.
pub const USER_DATA_LIMIT: usize = 16_384;

/// What RunInstances was asked for.
#[derive(Clone)]
pub struct Launch {
    /// The image.
    pub image: ImageId,
    /// At least this many, or none.
    pub min: i64,
    /// At most this many.
    pub max: i64,
    /// Name of the instance type; `None`: nova's `m1.small`.
    pub instance_type: Option<String>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Groups; empty: `default`.
    pub groups: Vec<GroupRef>,
    /// User data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// The same token again answers with the same instances.
    pub client_token: Option<String>,
    /// With a floating IP for each instance (`Some(false)`: without); `None`: as the cloud's
    /// `auto_assign_floating_ip` says.
    pub public_address: Option<bool>,
    /// Only on hosts of this zone.
    pub availability_zone: Option<String>,
    /// This fixed IP, for a single instance in a single network.
    pub private_address: Option<Ipv4Addr>,
    /// An interface in each of these networks, `eth0` first; empty: as the cloud chooses.
    pub networks: Vec<NetworkId>,
}

impl std::fmt::Debug for Launch {
    /// Without the user data, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("image", &self.image)
            .field("min", &self.min)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    /// RunInstances. The instances come back `pending`; their hosts start them.
    pub async fn run_instances(
        &self,
        caller: &Caller,
        launch: &Launch,
    ) -> Result<(Vec<InstanceId>, Committed)> {
        caller.require(Role::SysAdmin)?;
        check(launch)?;
        if launch.user_data.is_some() {
            // Before it shares a transaction with others.
            self.vault()?;
        }
        self.launch_queued(types::Call {
            caller: caller.clone(),
            launch: launch.clone(),
            is_cloudpipe: false,
        })
        .await
    }

    /// Launches the Cloudpipe of the caller's project, whose VPN is reserved. Of two calls at once
    /// both answer with the same instance.
    pub(crate) async fn launch_cloudpipe(
        &self,
        caller: Caller,
        launch: Launch,
    ) -> Result<(Vec<InstanceId>, Committed)> {
        self.launch_queued(types::Call {
            caller,
            launch,
            is_cloudpipe: true,
        })
        .await
    }
}

fn check(launch: &Launch) -> Result<()> {
    if launch.min < 1 || launch.max < launch.min {
        return Err(ModelError::new(
            "MinCount and MaxCount",
            format!("{} and {}", launch.min, launch.max),
            "must be at least 1, and MaxCount not below MinCount",
        )
        .into());
    }
    if launch.private_address.is_some() && launch.max != 1 {
        return Err(
            ModelError::new("PrivateIpAddress", "", "can be given for one instance only").into(),
        );
    }
    if launch.networks.len() > MAX_INTERFACES {
        return Err(ModelError::new(
            "interfaces",
            launch.networks.len(),
            format!("an instance has at most {MAX_INTERFACES}"),
        )
        .into());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = launch.networks.iter().find(|id| !seen.insert(**id)) {
        let subnet = SubnetId(twice.0);
        let reason = "is named twice: an instance has one interface in a network";
        return Err(ModelError::new("subnet", subnet, reason).into());
    }
    let length = launch.user_data.as_ref().map_or(0, Vec::len);
    if length > USER_DATA_LIMIT {
        return Err(ModelError::new(
            "UserData",
            format!("{length} bytes"),
            format!("must be at most {USER_DATA_LIMIT} bytes"),
        )
        .into());
    }
    Ok(())
}
