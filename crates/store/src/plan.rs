//! The plan, written: which host objects follow from a row, by the pure functions of
//! [`novanet_model::plan`], put into `host_objects` in the transaction that changed the row.

use crate::views::{self, Planned};
use crate::{
    Conn, PlanOwner, Result, StoreError, Tx, blocks, fixed_ips, floating_ips, groups, hosts,
    instances, members, network_change, networks, objects, vpns,
};
use novanet_model::plan::{self, CloudSettings, Placed};
use novanet_model::rows::{FloatingIp, SecurityRule};
use novanet_model::{
    FloatingIpId, GroupId, InstanceId, ModelError, NetworkId, ProjectId, RuleId, VpnId,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// What to plan again: an owner whose row has to be read, or a row as this transaction wrote it.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Its row is read.
    PlanOwner(PlanOwner),
    /// A floating IP as it is now.
    FloatingIp(FloatingIp),
    /// A rule as it is now.
    Rule(SecurityRule),
    /// A rule that is deleted.
    NoRule(RuleId),
}

impl From<PlanOwner> for Subject {
    fn from(owner: PlanOwner) -> Self {
        Self::PlanOwner(owner)
    }
}

impl Subject {
    fn owner(&self) -> PlanOwner {
        match self {
            Self::PlanOwner(owner) => *owner,
            Self::FloatingIp(float) => PlanOwner::FloatingIp(float.id),
            Self::Rule(rule) => PlanOwner::Rule(rule.id),
            Self::NoRule(id) => PlanOwner::Rule(*id),
        }
    }
}

/// Plans these again. Answers how many host objects changed. A row that does not validate (after
/// an edit by hand) keeps its last good objects; [`bad_rows`] shows it.
pub async fn replan(
    tx: &mut Tx,
    settings: &CloudSettings,
    subjects: impl IntoIterator<Item = impl Into<Subject>>,
) -> Result<usize> {
    let subjects: Vec<Subject> = subjects.into_iter().map(Into::into).collect();
    let owners: BTreeSet<PlanOwner> = subjects.iter().map(Subject::owner).collect();
    let mut cache = PlanCache::load(tx, &owners).await?;
    for subject in subjects {
        cache.note(subject);
    }
    let mut good = Vec::with_capacity(owners.len());
    for owner in owners {
        match cache.objects_of(tx, settings, owner).await {
            Ok(placed) => good.push((owner, placed)),
            Err(StoreError::BadRow { row, source }) => {
                tracing::error!(%owner, row, %source, "not planned: kept as it was last good");
            }
            Err(other) => return Err(other),
        }
    }
    objects::put_all(tx, &good).await
}

/// The host objects that follow from an owner's row now; none if the row is deleted.
pub async fn objects_of(
    c: &mut Conn,
    settings: &CloudSettings,
    owner: PlanOwner,
) -> Result<Vec<Placed>> {
    let mut cache = PlanCache::load(c, &BTreeSet::from([owner])).await?;
    cache.objects_of(c, settings, owner).await
}

fn bad_row((row, source): &(String, ModelError)) -> StoreError {
    StoreError::bad_row(row)(source.clone())
}

/// Rows that are read once for all owners that are planned together. Only host objects change
/// meanwhile.
#[derive(Default)]
struct PlanCache {
    floats: BTreeMap<FloatingIpId, FloatingIp>,
    rules: BTreeMap<RuleId, Option<SecurityRule>>,
    instances: BTreeMap<InstanceId, Planned>,
    hosts_with_source: BTreeMap<GroupId, Vec<String>>,
    hosts_of_group: BTreeMap<GroupId, Vec<String>>,
    hosts_of_project: BTreeMap<ProjectId, Vec<String>>,
}

impl PlanCache {
    async fn load(c: &mut Conn, owners: &BTreeSet<PlanOwner>) -> Result<Self> {
        let ids: BTreeSet<InstanceId> = owners
            .iter()
            .filter_map(|owner| match owner {
                PlanOwner::Instance(id) | PlanOwner::Membership(id) => Some(*id),
                _ => None,
            })
            .collect();
        Ok(Self {
            instances: views::planned(c, &ids).await?,
            ..Self::default()
        })
    }

    fn note(&mut self, subject: Subject) {
        match subject {
            Subject::PlanOwner(_) => {}
            Subject::FloatingIp(float) => drop(self.floats.insert(float.id, float)),
            Subject::Rule(rule) => drop(self.rules.insert(rule.id, Some(rule))),
            Subject::NoRule(id) => drop(self.rules.insert(id, None)),
        }
    }

    async fn float(&mut self, c: &mut Conn, id: FloatingIpId) -> Result<Option<FloatingIp>> {
        match self.floats.remove(&id) {
            Some(known) => Ok(Some(known)),
            None => floating_ips::by_id(c, id).await,
        }
    }

    async fn rule(&mut self, c: &mut Conn, id: RuleId) -> Result<Option<SecurityRule>> {
        match self.rules.remove(&id) {
            Some(known) => Ok(known),
            None => groups::rule_by_id(c, id).await,
        }
    }

    async fn objects_of(
        &mut self,
        c: &mut Conn,
        settings: &CloudSettings,
        owner: PlanOwner,
    ) -> Result<Vec<Placed>> {
        Ok(match owner {
            PlanOwner::Network(id) => match networks::by_id(c, id).await? {
                Some(network) => {
                    network_change::refuse_misfit(c, &network).await?;
                    let reservations = fixed_ips::reservations(c, network.id).await?;
                    plan::objects_of_network(&network, &reservations, settings)
                }
                None => Vec::new(),
            },
            PlanOwner::FloatingIp(id) => match self.float(c, id).await? {
                Some(float) => {
                    if float.fixed.is_some() {
                        floating_ips::check(&float)?;
                    }
                    plan::objects_of_floating_ip(&float)
                }
                None => Vec::new(),
            },
            PlanOwner::Instance(id) => match self.instances.get(&id) {
                Some(Ok(instance)) => plan::objects_of_instance(instance),
                Some(Err(bad)) => return Err(bad_row(bad)),
                None => Vec::new(),
            },
            PlanOwner::Membership(id) => self.membership(c, id).await?,
            PlanOwner::Group(id) => match groups::by_id(c, id).await? {
                Some(group) => {
                    let vpn = vpns::of_project(c, &group.project).await?;
                    let clients = vpn.filter(|vpn| !vpn.deleting).map(|vpn| vpn.clients);
                    let hosts = self.of_group(c, id).await?;
                    plan::objects_of_group(id, group.project_number, &group.name, clients, hosts)
                }
                None => Vec::new(),
            },
            PlanOwner::Rule(id) => match self.rule(c, id).await? {
                Some(rule) => plan::objects_of_rule(&rule, self.of_group(c, rule.group).await?),
                None => Vec::new(),
            },
            PlanOwner::Vpn(id) => match vpns::by_id(c, id).await? {
                Some(vpn) => plan::objects_of_vpn(&vpn),
                None => Vec::new(),
            },
            PlanOwner::Block(id) => match blocks::by_id(c, id).await? {
                Some(block) => {
                    let hosts = hosts::list(c).await?.into_iter().map(|host| host.name);
                    plan::objects_of_block(&block, &hosts.collect::<Vec<_>>())
                }
                None => Vec::new(),
            },
        })
    }

    async fn membership(&mut self, c: &mut Conn, id: InstanceId) -> Result<Vec<Placed>> {
        let instance = match self.instances.get(&id) {
            Some(Ok(instance)) => instance,
            Some(Err(bad)) => return Err(bad_row(bad)),
            None => return Ok(Vec::new()),
        };
        for &group in &instance.groups {
            if let Entry::Vacant(unknown) = self.hosts_with_source.entry(group) {
                unknown.insert(members::hosts_with_source(c, group).await?);
            }
        }
        let project = &instance.project;
        if !self.hosts_of_project.contains_key(project) {
            let hosts = members::hosts_of_project(c, project).await?;
            self.hosts_of_project.insert(project.clone(), hosts);
        }
        let of = |g| self.hosts_with_source.get(&g).cloned().unwrap_or_default();
        let hosts = self.hosts_of_project.get(project).map_or(&[][..], |h| h);
        Ok(plan::objects_of_membership(instance, of, hosts))
    }

    async fn of_group(&mut self, c: &mut Conn, group: GroupId) -> Result<&[String]> {
        Ok(match self.hosts_of_group.entry(group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(members::hosts_of_group(c, group).await?),
        })
    }
}

/// Rows that do not validate, and why. Their host objects are those of the last valid row.
pub async fn bad_rows(c: &mut Conn, settings: &CloudSettings) -> Result<Vec<(PlanOwner, String)>> {
    let mut bad = Vec::new();
    for owner in all_owners(c).await? {
        let validated = match owner {
            // Also one that leads nowhere: its next owner would find out.
            PlanOwner::FloatingIp(id) => match floating_ips::by_id(c, id).await? {
                Some(float) => floating_ips::check(&float),
                None => Ok(()),
            },
            other => objects_of(c, settings, other).await.map(|_| ()),
        };
        match validated {
            Ok(()) => {}
            Err(error @ StoreError::BadRow { .. }) => bad.push((owner, error.to_string())),
            Err(other) => return Err(other),
        }
    }
    Ok(bad)
}

/// Everything that could own host objects: all rows, and the owners of objects whose row is
/// deleted.
pub async fn all_owners(c: &mut Conn) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = BTreeSet::new();
    for id in ids(c, "SELECT id FROM networks WHERE deleting = 0").await? {
        owners.insert(PlanOwner::Network(NetworkId(id)));
    }
    for id in ids(c, "SELECT id FROM floating_ips").await? {
        owners.insert(PlanOwner::FloatingIp(FloatingIpId(id)));
    }
    for id in instances::living(c).await? {
        owners.insert(PlanOwner::Instance(id));
        owners.insert(PlanOwner::Membership(id));
    }
    for id in ids(c, "SELECT id FROM vpns").await? {
        owners.insert(PlanOwner::Vpn(VpnId(id)));
    }
    owners.extend(groups::all(c).await?.into_iter().map(PlanOwner::Group));
    owners.extend(groups::all_rules(c).await?.into_iter().map(PlanOwner::Rule));
    owners.extend(blocks::ids(c).await?.into_iter().map(PlanOwner::Block));
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT owner FROM host_objects WHERE deleted = 0")
            .fetch_all(c)
            .await?;
    owners.extend(stored.iter().filter_map(|o| o.parse::<PlanOwner>().ok()));
    Ok(owners)
}

async fn ids(c: &mut Conn, sql: &'static str) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar(sql).fetch_all(c).await?)
}

/// Takes the marks of rows that were edited by hand; they are to be planned again.
pub async fn take_dirty(tx: &mut Tx) -> Result<BTreeSet<PlanOwner>> {
    let marks: Vec<String> = sqlx::query_scalar("DELETE FROM dirty RETURNING thing")
        .fetch_all(&mut **tx)
        .await?;
    Ok(marks.iter().filter_map(|m| m.parse().ok()).collect())
}

/// Whether rows were edited by hand.
pub async fn has_dirty(c: &mut Conn) -> Result<bool> {
    let any: Option<String> = sqlx::query_scalar("SELECT thing FROM dirty LIMIT 1")
        .fetch_optional(c)
        .await?;
    Ok(any.is_some())
}
