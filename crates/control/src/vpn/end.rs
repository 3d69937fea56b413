//! The end of a VPN: a scrub of its project stops the Cloudpipe, and when every host has let go of
//! it, the addresses are free again. Depends on the pool.

use super::{name_of, record};
use crate::instances::finish_deleting;
use crate::{Caller, Cloud, Result};
use novanet_model::rows::Vpn;
use novanet_store::instances::{self, Row, State};
use novanet_store::{Conn, PlanOwner, Tx, certificates, groups, key_pairs, objects, pool, vpns};
use std::collections::BTreeSet;

impl Cloud {
    /// Ends a VPN and plans what follows, once. Its Cloudpipe stays until its host has let go of
    /// it: [`finish_deleting_vpns`] does the rest.
    pub(crate) async fn end_vpn(&self, tx: &mut Tx, vpn: &Vpn) -> Result<()> {
        if vpn.deleting {
            return Ok(());
        }
        let project = &vpn.project;
        let mut changed = owners(tx, vpn).await?;
        vpns::set_deleting(tx, vpn.id).await?;
        if let Some(secrets) = vpns::secrets(tx, vpn.id).await? {
            key_pairs::delete(tx, &secrets.user, &name_of(project)).await?;
        }
        certificates::revoke_servers(tx, project).await?;
        record(tx, "vpn.delete", project, &vpn.private_address.to_string()).await?;
        let cloudpipe = match vpn.instance {
            Some(id) => instances::by_id(tx, id).await?,
            None => None,
        };
        let ends = |row: &Row| !matches!(row.state, State::Terminated | State::Deleting);
        let cloudpipe = cloudpipe.filter(ends);
        if let Some(row) = &cloudpipe {
            let caller = Caller::operator(project.clone());
            changed.extend(self.let_go(tx, &caller, row).await?);
        }
        self.plan(tx, changed).await?;
        // Where no host has it any more, this is the end.
        if let Some(row) = &cloudpipe {
            finish_deleting(tx, row.id).await?;
        }
        finish_deleting_vpns(tx).await
    }
}

/// The plan owners whose host objects change with the end of a VPN.
pub(crate) async fn owners(c: &mut Conn, vpn: &Vpn) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = BTreeSet::from([PlanOwner::Vpn(vpn.id)]);
    let groups = groups::of_project(c, &vpn.project).await?;
    owners.extend(groups.into_iter().map(|group| PlanOwner::Group(group.id)));
    let cloudpipe = vpn.instance.into_iter();
    owners.extend(cloudpipe.flat_map(|id| [PlanOwner::Instance(id), PlanOwner::Membership(id)]));
    Ok(owners)
}

/// Frees what ended VPNs reserved, when every host has let go of the way in and of the Cloudpipe.
pub(crate) async fn finish_deleting_vpns(tx: &mut Tx) -> Result<()> {
    for vpn in vpns::deleting(tx).await? {
        let cloudpipe = match vpn.instance {
            Some(id) => instances::by_id(tx, id).await?,
            None => None,
        };
        let gone = cloudpipe.is_none_or(|row| row.state == State::Terminated);
        if gone && objects::removed_everywhere(tx, PlanOwner::Vpn(vpn.id)).await? {
            for address in vpn.clients.addresses().chain([vpn.private_address]) {
                pool::unreserve(tx, vpn.network, address).await?;
            }
            vpns::delete(tx, vpn.id).await?;
        }
    }
    Ok(())
}
