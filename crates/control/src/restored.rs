//! What the operator decides about a database that is not the one that a host follows: an older
//! copy, another one, an empty one (`db restored`; docs/restore.md). Until then the host changes
//! nothing.

use crate::caller::operator;
use crate::{Cloud, Result};
use novanet_model::HostObject;
use novanet_model::wire::Objects;
use novanet_store::{Tx, audit, clock, counters};

impl Cloud {
    /// `db restored --drop`: the database is right, and `host` removes what it does not know.
    /// `held` is what the host has: no number in it is given to another thing later.
    pub async fn drop_restored(&self, host: &str, held: &Objects) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        raise_counters(&mut tx, held).await?;
        clock::accept(&mut tx, host, &held.epoch).await?;
        let detail = format!("drop: was at {} of {}", held.version, held.epoch);
        audit::record(&mut tx, &operator(), "db.restored", None, host, &detail).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Moves the counters past every number that the host has.
pub(crate) async fn raise_counters(tx: &mut Tx, held: &Objects) -> Result<()> {
    let numbers = held.changes.iter().filter_map(|change| {
        Some(match change.object.as_ref()? {
            HostObject::Bridge(o) => ("networks", o.network.0),
            HostObject::Group(o) => ("security_groups", o.group.0),
            HostObject::Rule(o) => ("security_group_rules", o.rule.0),
            HostObject::Block(o) => ("provider_fw_rules", o.block.0),
            HostObject::Port(o) => ("group_combinations", o.combination.0),
            HostObject::Instance(o) => ("instances", o.instance.0),
            HostObject::Gateway(_)
            | HostObject::Dhcp(_)
            | HostObject::Binding(_)
            | HostObject::FloatingIp(_)
            | HostObject::Member(_)
            | HostObject::ProjectAddress(_)
            | HostObject::VpnForward(_) => return None,
        })
    });
    let mut largest = std::collections::BTreeMap::new();
    for (name, number) in numbers {
        let most = largest.entry(name).or_insert(number);
        *most = number.max(*most);
    }
    for (name, number) in largest {
        counters::raise(tx, name, number).await?;
    }
    Ok(())
}
