//! Limits of a project: its own, else the flags'.

use crate::{Cloud, ControlError, Result};
use novanet_model::ProjectId;
use novanet_store::{Conn, projects};

impl Cloud {
    /// Refuses when `used + wanted` is more than the project may have of a resource.
    pub(crate) async fn within_quota(
        &self,
        c: &mut Conn,
        project: &ProjectId,
        resource: &'static str,
        used: i64,
        wanted: i64,
    ) -> Result<()> {
        match self.room(c, project, resource, used).await? {
            Some(room) if wanted > room => Err(ControlError::Quota {
                resource,
                used,
                wanted,
                limit: used + room,
            }),
            _ => Ok(()),
        }
    }

    /// How much more of a resource the project may have; `None`: as much as it likes. Negative when
    /// it has more than a limit that was lowered since.
    pub(crate) async fn room(
        &self,
        c: &mut Conn,
        project: &ProjectId,
        resource: &'static str,
        used: i64,
    ) -> Result<Option<i64>> {
        let quotas = self.config().quotas;
        let flag = match resource {
            "instances" => quotas.instances,
            "cores" => quotas.cores,
            "ram" => quotas.ram_mb,
            "fixed_ips" => quotas.fixed_ips,
            "floating_ips" => quotas.floating_ips,
            "security_groups" => quotas.security_groups,
            "security_group_rules" => quotas.security_group_rules,
            "key_pairs" => quotas.key_pairs,
            _ => None,
        };
        let limit = match projects::quota(c, project, resource).await? {
            Some(own) => own,
            None => flag.map_or(-1, i64::from),
        };
        Ok((limit >= 0).then_some(limit - used))
    }
}
