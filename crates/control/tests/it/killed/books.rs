//! Whether the audit log and the rows tell the same story: every entry has its change, and the
//! other way round.

use anyhow::{Result, ensure};
use novanet_control::Cloud;
use novanet_store::audit::Entry;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};

/// Actions that begin something, actions that end it, and the rows for which it has begun and not
/// ended.
const COUNTED: &[(&[&str], &[&str], &str)] = &[
    (
        &["security_group.create"],
        &["security_group.delete"],
        "SELECT 'sg-' || id FROM security_groups",
    ),
    (&["instance.run"], &[], "SELECT 'i-' || id FROM instances"),
    (
        &["instance.run"],
        &["instance.terminate"],
        "SELECT 'i-' || id FROM instances WHERE state NOT IN ('deleting', 'terminated')",
    ),
    (
        &["floating_ip.allocate"],
        &["floating_ip.release"],
        "SELECT address FROM floating_ips WHERE project_id IS NOT NULL",
    ),
    (
        &["floating_ip.associate"],
        &["floating_ip.disassociate", "floating_ip.release"],
        "SELECT address FROM floating_ips WHERE fixed_ip_id IS NOT NULL",
    ),
    (
        &["fixed_ip.reserve"],
        &["fixed_ip.unreserve"],
        "SELECT address FROM fixed_ips WHERE reserved = 1",
    ),
    (
        &["network.create"],
        &["network.delete"],
        "SELECT cidr FROM networks WHERE deleting = 0",
    ),
    (
        &["project.create"],
        &["project.delete"],
        "SELECT id FROM projects",
    ),
    (&["user.create"], &["user.delete"], "SELECT id FROM users"),
    (
        &["key_pair.create", "key_pair.import"],
        &["key_pair.delete"],
        "SELECT p.project_id || '/' || k.name FROM key_pairs k \
         JOIN user_project_association p ON p.user_id = k.user_id",
    ),
];

/// The counted rows, and how often the log has them.
const COUNTS: &[(&str, &str)] = &[(
    "instance.reboot",
    "SELECT 'i-' || id, boot - 1 FROM instances WHERE boot > 1",
)];

/// Rows that contradict each other: there must be none.
const NEVER: &[(&str, &str)] = &[
    (
        "an address of nobody's, or of somebody who is gone",
        "SELECT f.address FROM fixed_ips f LEFT JOIN instances i ON i.id = f.instance_id \
         WHERE f.instance_id IS NOT NULL AND (i.id IS NULL OR i.state = 'terminated')",
    ),
    (
        "an address with two owners",
        "SELECT address FROM fixed_ips GROUP BY address HAVING count(*) > 1",
    ),
    (
        "an instance without an address",
        "SELECT CAST(id AS TEXT) FROM instances WHERE state <> 'terminated' \
         AND id NOT IN (SELECT instance_id FROM fixed_ips WHERE instance_id IS NOT NULL)",
    ),
    (
        "an instance in no group",
        "SELECT CAST(id AS TEXT) FROM instances WHERE state <> 'terminated' \
         AND id NOT IN (SELECT instance_id FROM security_group_instance_association)",
    ),
    (
        "two floating IPs for one address",
        "SELECT CAST(fixed_ip_id AS TEXT) FROM floating_ips WHERE fixed_ip_id IS NOT NULL \
         GROUP BY fixed_ip_id HAVING count(*) > 1",
    ),
];

pub(super) async fn agree(cloud: &Cloud) -> Result<()> {
    let mut entries = cloud.audit(None, i64::MAX).await?;
    // In the order of their commits: the numbers of planned ones go up, those of others down.
    entries.sort_by_key(|e| e.id.abs());
    for entry in &mut entries {
        entry.object = with_number(&entry.object);
    }
    for (begin, end, sql) in COUNTED {
        let told = told(&entries, begin, end);
        let there: BTreeSet<String> = column(cloud, sql).await?.into_iter().collect();
        ensure!(
            told == there,
            "{begin:?}: told {told:?}, there is {there:?}"
        );
    }
    rules(cloud, &entries).await?;
    for (action, sql) in COUNTS {
        let mut told: BTreeMap<&str, i64> = BTreeMap::new();
        for entry in entries.iter().filter(|e| e.action == *action) {
            *told.entry(&entry.object).or_default() += 1;
        }
        let there = counted(cloud, sql).await?;
        let there: BTreeMap<&str, i64> = there.iter().map(|(o, n)| (o.as_str(), *n)).collect();
        ensure!(told == there, "{action}: told {told:?}, there is {there:?}");
    }
    for (what, sql) in NEVER {
        let found = column(cloud, sql).await?;
        ensure!(found.is_empty(), "{what}: {found:?}");
    }
    Ok(())
}

/// `i-0000000a` as SQL can write it too: `i-10`.
fn with_number(object: &str) -> String {
    for kind in ["i-", "sg-"] {
        if let Some(number) = object.strip_prefix(kind)
            && let Ok(number) = i64::from_str_radix(number, 16)
        {
            return format!("{kind}{number}");
        }
    }
    object.to_owned()
}

/// The things that have begun and not ended.
fn told(entries: &[Entry], begin: &[&str], end: &[&str]) -> BTreeSet<String> {
    let mut living = BTreeMap::new();
    for entry in entries {
        let project = entry.project_id.as_deref().unwrap_or_default();
        let object = if entry.action.starts_with("key_pair.") {
            format!("{project}/{}", entry.object)
        } else {
            entry.object.clone()
        };
        if entry.action == "project.delete" {
            // Its groups go with it.
            living.retain(|_, of| *of != object);
        }
        if begin.contains(&entry.action.as_str()) {
            living.insert(object, project.to_owned());
        } else if end.contains(&entry.action.as_str()) {
            living.remove(&object);
        }
    }
    living.into_keys().collect()
}

/// As many rules as were authorized and not revoked, in each group that is there.
async fn rules(cloud: &Cloud, entries: &[Entry]) -> Result<()> {
    let sql = "SELECT 'sg-' || g.id, count(r.id) FROM security_groups g \
        LEFT JOIN security_group_rules r ON r.parent_group_id = g.id GROUP BY g.id";
    for (group, there) in counted(cloud, sql).await? {
        let of = |action: &str| {
            let these = entries.iter().filter(|e| e.object == group);
            i64::try_from(these.filter(|e| e.action == action).count()).unwrap()
        };
        let told = of("security_group.authorize") - of("security_group.revoke");
        ensure!(told == there, "{group}: told of {told} rules, has {there}");
    }
    Ok(())
}

async fn column(cloud: &Cloud, sql: &str) -> Result<Vec<String>> {
    let mut tx = cloud.db().read().await?;
    let sql = AssertSqlSafe(sql.to_owned());
    Ok(sqlx::query_scalar(sql).fetch_all(&mut *tx).await?)
}

async fn counted(cloud: &Cloud, sql: &str) -> Result<Vec<(String, i64)>> {
    let mut tx = cloud.db().read().await?;
    let sql = AssertSqlSafe(sql.to_owned());
    Ok(sqlx::query_as(sql).fetch_all(&mut *tx).await?)
}
