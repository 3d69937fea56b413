//! Limits of a project: its own, else the flags'.

use crate::{Cloud, ControlError, Result};
use novanet_model::{ProjectId, Resource};
use novanet_store::{Conn, projects};

impl Cloud {
    /// Refuses when `used + wanted` is more than the project may have of a resource.
    pub(crate) async fn within_quota(
        &self,
        c: &mut Conn,
        project: &ProjectId,
        resource: Resource,
        used: i64,
        wanted: i64,
    ) -> Result<()> {
        let own = projects::quota(c, project, resource).await?;
        match self.room_within(own, resource, used) {
            Some(room) if wanted > room => Err(ControlError::Quota {
                resource,
                used,
                wanted,
                limit: used + room,
            }),
            _ => Ok(()),
        }
    }

    /// How much more of a resource a project may have, whose own limit is `own`; `None`: as much as
    /// it likes. Negative when it has more than a limit that was lowered since.
    pub(crate) fn room_within(
        &self,
        own: Option<i64>,
        resource: Resource,
        used: i64,
    ) -> Option<i64> {
        let flag = self.config().quotas.limit(resource);
        let limit = own.unwrap_or_else(|| flag.map_or(-1, i64::from));
        (limit >= 0).then_some(limit - used)
    }
}
