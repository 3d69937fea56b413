//! The plan, written: which host objects follow from a row, by the pure functions of
//! [`novanet_model::plan`], put into `host_objects` in the transaction that changed the row.

use crate::{Conn, Result, Thing, Tx, floating_ips, groups, instances, members, networks, objects};
use novanet_model::GroupId;
use novanet_model::plan::{self, CloudSettings, Placed};
use std::collections::{BTreeMap, BTreeSet};

/// Plans these things again. Answers how many host objects changed.
pub async fn replan(
    tx: &mut Tx,
    settings: &CloudSettings,
    things: impl IntoIterator<Item = Thing>,
) -> Result<usize> {
    let mut changed = 0;
    for thing in things {
        let placed = objects_of(tx, settings, thing).await?;
        changed += objects::put(tx, thing, &placed).await?;
    }
    Ok(changed)
}

/// The host objects that follow from a thing's row now; none if the row is gone.
pub async fn objects_of(
    c: &mut Conn,
    settings: &CloudSettings,
    thing: Thing,
) -> Result<Vec<Placed>> {
    Ok(match thing {
        Thing::Network(id) => networks::by_id(c, id)
            .await?
            .map(|n| plan::objects_of_network(&n, settings))
            .unwrap_or_default(),
        Thing::Float(id) => floating_ips::by_id(c, id)
            .await?
            .map(|f| plan::objects_of_floating_ip(&f))
            .unwrap_or_default(),
        Thing::Instance(id) => instances::planned(c, id)
            .await?
            .map(|i| plan::objects_of_instance(&i))
            .unwrap_or_default(),
        Thing::Membership(id) => {
            let Some(instance) = instances::planned(c, id).await? else {
                return Ok(Vec::new());
            };
            let mut group_hosts: BTreeMap<GroupId, Vec<String>> = BTreeMap::new();
            for &group in &instance.groups {
                group_hosts.insert(group, members::hosts_with_source(c, group).await?);
            }
            let project_hosts = members::hosts_of_project(c, &instance.project).await?;
            let of = |g| group_hosts.get(&g).cloned().unwrap_or_default();
            plan::objects_of_membership(&instance, of, &project_hosts)
        }
        Thing::Group(id) => match groups::by_id(c, id).await? {
            Some(group) => {
                let hosts = members::hosts_of_group(c, id).await?;
                plan::objects_of_group(id, group.project_number, &hosts)
            }
            None => Vec::new(),
        },
        Thing::Rule(id) => match groups::rule_by_id(c, id).await? {
            Some(rule) => {
                let hosts = members::hosts_of_group(c, rule.group).await?;
                plan::objects_of_rule(&rule, &hosts)
            }
            None => Vec::new(),
        },
    })
}

/// Everything that could own host objects: all rows, and the owners of objects whose row is gone.
pub async fn all_things(c: &mut Conn) -> Result<BTreeSet<Thing>> {
    let mut things = BTreeSet::new();
    for network in networks::list(c).await? {
        things.insert(Thing::Network(network.id));
    }
    for float in floating_ips::list(c).await? {
        things.insert(Thing::Float(float.id));
    }
    for id in instances::living(c).await? {
        things.insert(Thing::Instance(id));
        things.insert(Thing::Membership(id));
    }
    things.extend(groups::all(c).await?.into_iter().map(Thing::Group));
    things.extend(groups::all_rules(c).await?.into_iter().map(Thing::Rule));
    let owners: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT owner FROM host_objects WHERE deleted = 0")
            .fetch_all(c)
            .await?;
    things.extend(owners.iter().filter_map(|o| o.parse::<Thing>().ok()));
    Ok(things)
}

/// Takes the marks of rows that were edited by hand; they are to be planned again.
pub async fn take_dirty(tx: &mut Tx) -> Result<BTreeSet<Thing>> {
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
