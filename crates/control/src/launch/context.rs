//! Rows that the launches of one transaction need, read once for all of them. Depends on the store.

use super::networks::{Networks, Wants};
use super::types::{Call, PrepareError};
use crate::groups::{self, DEFAULT};
use crate::placement::Hosts;
use crate::{Caller, Cloud, ControlError, Kind, Result, images};
use novanet_model::rows::Network;
use novanet_model::{CombinationId, GroupId, ImageId, NetworkKind, ProjectId};
use novanet_store::images::Image;
use novanet_store::members::Usage;
use novanet_store::{Tx, fixed_ips, groups as group_rows, members};
use std::collections::{BTreeMap, BTreeSet};

/// Rows read in this transaction, with the changes of its earlier launches.
pub(super) struct LaunchContext {
    /// One call only: it may write before it is certain to succeed, as all is taken back with it.
    pub(super) alone: bool,
    pub(super) hosts: Hosts,
    networks: Networks,
    usage: BTreeMap<ProjectId, Usage>,
    addresses: BTreeMap<ProjectId, i64>,
    images: BTreeMap<(ProjectId, ImageId), Image>,
    defaults: BTreeMap<ProjectId, GroupId>,
    combinations: BTreeMap<Vec<GroupId>, CombinationId>,
}

impl LaunchContext {
    pub(super) async fn load(tx: &mut Tx, alone: bool) -> Result<Self> {
        Ok(Self {
            alone,
            hosts: Hosts::load(tx).await?,
            networks: Networks::load(tx).await?,
            usage: BTreeMap::new(),
            addresses: BTreeMap::new(),
            images: BTreeMap::new(),
            defaults: BTreeMap::new(),
            combinations: BTreeMap::new(),
        })
    }

    /// What the project uses, the launches before this one in the transaction too.
    pub(super) async fn usage(&mut self, tx: &mut Tx, project: &ProjectId) -> Result<&mut Usage> {
        if !self.usage.contains_key(project) {
            // Since the check of the signature, another request may have deleted the project.
            let usage = members::usage(tx, project)
                .await?
                .ok_or_else(|| ControlError::not_found(Kind::Project, project))?;
            self.usage.insert(project.clone(), usage);
        }
        self.usage
            .get_mut(project)
            .ok_or_else(|| ControlError::not_found(Kind::Project, project))
    }

    /// How many addresses the project has, for a limit of them.
    pub(super) async fn addresses(&mut self, tx: &mut Tx, project: &ProjectId) -> Result<&mut i64> {
        if !self.addresses.contains_key(project) {
            let count = fixed_ips::count_of(tx, project).await?;
            self.addresses.insert(project.clone(), count);
        }
        Ok(self.addresses.entry(project.clone()).or_default())
    }

    pub(super) async fn image(&mut self, tx: &mut Tx, call: &Call) -> Result<Image> {
        let key = (call.caller.project.clone(), call.launch.image);
        // Administrators may see what others in the project do not.
        if let Some(image) = self.images.get(&key)
            && images::visible(image, &call.caller)
        {
            return Ok(image.clone());
        }
        let image = images::find(tx, &call.caller, call.launch.image).await?;
        self.images.insert(key, image.clone());
        Ok(image)
    }

    /// The groups of a launch, ascending.
    pub(super) async fn groups(
        &mut self,
        cloud: &Cloud,
        tx: &mut Tx,
        call: &Call,
    ) -> Result<Vec<GroupId>, PrepareError> {
        let caller = &call.caller;
        if call.launch.groups.is_empty() {
            return Ok(vec![self.default_group(cloud, tx, caller).await?]);
        }
        let mut ids = BTreeSet::new();
        for group in &call.launch.groups {
            ids.insert(groups::find(tx, caller, group).await?.id);
        }
        Ok(ids.into_iter().collect())
    }

    async fn default_group(
        &mut self,
        cloud: &Cloud,
        tx: &mut Tx,
        caller: &Caller,
    ) -> Result<GroupId, PrepareError> {
        let project = &caller.project;
        if let Some(id) = self.defaults.get(project) {
            return Ok(*id);
        }
        let id = match group_rows::by_name(tx, project, DEFAULT).await? {
            Some(group) => group.id,
            None if !self.alone => return Err(PrepareError::RetryAlone),
            None => {
                let user = &caller.actor.who;
                cloud
                    .ensure_default_group(tx, &caller.actor, project, user)
                    .await?
            }
        };
        self.defaults.insert(project.clone(), id);
        Ok(id)
    }

    pub(super) async fn combination(
        &mut self,
        tx: &mut Tx,
        groups: &[GroupId],
    ) -> Result<CombinationId> {
        if let Some(id) = self.combinations.get(groups) {
            return Ok(*id);
        }
        let id = group_rows::combination(tx, groups).await?;
        self.combinations.insert(groups.to_vec(), id);
        Ok(id)
    }

    /// See [`Networks::of`].
    pub(super) async fn networks_for(
        &mut self,
        cloud: &Cloud,
        tx: &mut Tx,
        call: &Call,
    ) -> Result<Vec<Network>, PrepareError> {
        let project = &call.caller.project;
        let first = self.usage(tx, project).await?.instances.0 == 0;
        let wants = Wants {
            caller: &call.caller,
            networks: &call.launch.networks,
            vlan: first && cloud.config().network_manager == NetworkKind::Vlan,
            alone: self.alone,
        };
        self.networks.of(tx, &self.hosts, &wants).await
    }
}
