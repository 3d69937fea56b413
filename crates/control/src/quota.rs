//! Limits of a project: its own, else the flags'; shown with what is in use. Use cases check them
//! within their transactions.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::{ProjectId, Resource};
use novanet_store::{Conn, audit, fixed_ips, floating_ips, groups, key_pairs, members, projects};

/// A limit of a project and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub resource: Resource,
    /// `None`: no limit.
    pub limit: Option<i64>,
    /// The project's own limit, not the flag's.
    pub own: bool,
    /// In use. Rules: of the group with the most; key pairs: of the member with the most.
    pub used: i64,
}

impl Cloud {
    /// `project quota`: every limit of a project.
    pub async fn quotas(&self, project: &ProjectId) -> Result<Vec<Limit>> {
        let mut tx = self.db().read().await?;
        let usage = members::usage(&mut tx, project)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Project, project))?;
        let groups = groups::of_project(&mut tx, project).await?;
        let mut most_rules = 0;
        for group in &groups {
            most_rules = most_rules.max(groups::rules_of(&mut tx, group.id).await?.len());
        }
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut limits = Vec::new();
        for resource in Resource::ALL {
            let own = projects::quota(&mut tx, project, resource).await?;
            let used = match resource {
                Resource::Instances => usage.instances.0,
                Resource::Cores => usage.cores.0,
                Resource::Ram => usage.ram.0,
                Resource::FixedIps => fixed_ips::count_of(&mut tx, project).await?,
                Resource::FloatingIps => floating_ips::count_of(&mut tx, project).await?,
                Resource::SecurityGroups => count(groups.len()),
                Resource::SecurityGroupRules => count(most_rules),
                Resource::KeyPairs => key_pairs::most_of_members(&mut tx, project).await?,
            };
            limits.push(Limit {
                resource,
                limit: self.room_within(own, resource, 0),
                own: own.is_some(),
                used,
            });
        }
        Ok(limits)
    }

    /// `project quota KEY VALUE`: a project's own limit; `None`: no limit. One below what is in use
    /// takes nothing away.
    pub async fn set_quota(
        &self,
        project: &ProjectId,
        resource: Resource,
        limit: Option<u32>,
    ) -> Result<()> {
        // Planned: a launch that was before it or comes after it sees one limit.
        let mut tx = self.db().begin_planned().await?;
        if projects::by_id(&mut tx, project).await?.is_none() {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        let limit = limit.map_or(-1, i64::from);
        projects::set_quota(&mut tx, project, resource, limit).await?;
        let (of, detail) = (Some(project.as_str()), limit.to_string());
        let (actor, object) = (operator(), resource.as_str());
        audit::record(&mut tx, &actor, "project.quota", of, object, &detail).await?;
        tx.commit().await?;
        Ok(())
    }

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
