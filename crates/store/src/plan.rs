//! The plan, written: which host objects follow from a row, by the pure functions of
//! [`novanet_model::plan`], put into `host_objects` in the transaction that changed the row.

use crate::{
    Conn, Result, StoreError, Thing, Tx, floating_ips, groups, instances, members, networks,
    objects,
};
use novanet_model::plan::{self, CloudSettings, Placed};
use novanet_model::{GroupId, NetworkId};
use std::collections::{BTreeMap, BTreeSet};

/// Plans these things again. Answers how many host objects changed. A row that does not validate
/// (somebody edited it) keeps its last good objects; [`bad_rows`] shows it.
pub async fn replan(
    tx: &mut Tx,
    settings: &CloudSettings,
    things: impl IntoIterator<Item = Thing>,
) -> Result<usize> {
    let mut changed = 0;
    for thing in things {
        match objects_of(tx, settings, thing).await {
            Ok(placed) => changed += objects::put(tx, thing, &placed).await?,
            Err(StoreError::BadRow { row, source }) => {
                tracing::error!(%thing, row, %source, "not planned: kept as it was last good");
            }
            Err(other) => return Err(other),
        }
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

/// Rows that do not validate, and why: what hangs on them is as it was when they last did.
pub async fn bad_rows(c: &mut Conn, settings: &CloudSettings) -> Result<Vec<(Thing, String)>> {
    let mut bad = Vec::new();
    for thing in all_things(c).await? {
        match objects_of(c, settings, thing).await {
            Ok(_) => {}
            Err(error @ StoreError::BadRow { .. }) => bad.push((thing, error.to_string())),
            Err(other) => return Err(other),
        }
    }
    Ok(bad)
}

/// Everything that could own host objects: all rows, and the owners of objects whose row is gone.
pub async fn all_things(c: &mut Conn) -> Result<BTreeSet<Thing>> {
    let mut things = BTreeSet::new();
    for id in ids(c, "SELECT id FROM networks WHERE deleting = 0").await? {
        things.insert(Thing::Network(NetworkId(id)));
    }
    for id in ids(c, "SELECT id FROM floating_ips").await? {
        things.insert(Thing::Float(id));
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

async fn ids(c: &mut Conn, sql: &'static str) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar(sql).fetch_all(c).await?)
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
