//! What is different about launching a Cloudpipe: its address is the VPN's reserved one, its network
//! the VPN's. Depends on the VPN's row.

use super::types::{Call, PrepareError};
use crate::{ControlError, Kind};
use novanet_model::rows::{Network, Vpn};
use novanet_store::instances::{self, State};
use novanet_store::pool::{self, AllocatedIp};
use novanet_store::{Tx, networks, vpns};

/// The VPN of the caller's project and its network, if it has no Cloudpipe now. Writes follow, so
/// the caller has the transaction for itself.
pub(super) async fn vacant(
    tx: &mut Tx,
    call: &Call,
    alone: bool,
) -> Result<(Vpn, Network), PrepareError> {
    if !alone {
        return Err(PrepareError::RetryAlone);
    }
    let project = &call.caller.project;
    let missing = || ControlError::not_found(Kind::Vpn, project);
    let vpn = vpns::of_project(tx, project).await?.ok_or_else(missing)?;
    if vpn.deleting {
        let reason = "is being removed by a scrub (try again in a moment)";
        return Err(ControlError::in_use(Kind::Vpn, project, reason).into());
    }
    if let Some(id) = vpn.instance
        && let Some(row) = instances::by_id(tx, id).await?
    {
        match row.state {
            State::Terminated => {}
            State::Deleting => {
                let reason = format!(
                    "its Cloudpipe {id} is being terminated (try again in a moment; nova-manage \
                     service list shows whether its host is up)"
                );
                return Err(ControlError::in_use(Kind::Vpn, project, reason).into());
            }
            _ => return Err(PrepareError::AlreadyLaunched(vec![id])),
        }
    }
    let network = networks::by_id(tx, vpn.network).await?;
    let network = network.ok_or_else(missing)?;
    Ok((vpn, network))
}

/// The VPN's reserved address.
pub(super) async fn address(tx: &mut Tx, vpn: &Vpn) -> Result<AllocatedIp, PrepareError> {
    let address = vpn.private_address;
    let id = pool::take_reserved(tx, vpn.network, address)
        .await?
        .ok_or_else(|| {
            let reason = "is not reserved for the VPN any more, or an instance has it";
            ControlError::in_use(Kind::FixedIp, address, reason)
        })?;
    Ok(AllocatedIp { id, address })
}
