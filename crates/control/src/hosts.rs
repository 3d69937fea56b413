//! Use cases of hosts: rename one, forget one that is gone for good, say why one does nothing now.
//! Depends on rows only; asks no host.

use crate::agents::finish_deletions;
use crate::caller::operator;
use crate::instances::InstanceView;
use crate::preview::Blocker;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::Micros;
use novanet_model::rows::Network;
use novanet_model::wire::HostRole;
use novanet_store::hosts::{self, Host};
use novanet_store::instances::{self, State};
use novanet_store::{Conn, Tx, audit, networks, now};
use std::collections::BTreeMap;

/// How many are named in a refusal.
const NAMED: usize = 5;

impl Cloud {
    /// `host rename`: all that names the host, in one transaction; its agent has the same objects
    /// under the new name. `stopped`: the caller has seen to it that the agent does not run.
    pub async fn rename_host(&self, old: &str, new: &str, stopped: bool) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        let host = self.stopped_host(&mut tx, old, stopped).await?;
        if hosts::by_name(&mut tx, new).await?.is_some() {
            return Err(ControlError::Exists {
                kind: Kind::Host,
                id: new.to_owned(),
            });
        }
        hosts::rename(&mut tx, &host.name, new).await?;
        let detail = format!("to {new}");
        audit::record(&mut tx, &operator(), "host.rename", None, old, &detail).await?;
        tx.commit().await?;
        Ok(())
    }

    /// `host delete`: forgets a host that is gone for good, with what it was told. Refused while it
    /// has instances or networks.
    pub async fn delete_host(&self, name: &str) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        let host = self.stopped_host(&mut tx, name, false).await?;
        let refused = |reason: String| Err(ControlError::in_use(Kind::Host, name, reason));
        let all = instances::list(&mut tx, None).await?;
        let here = all.iter().filter(|row| row.host.as_deref() == Some(name));
        let living = here.filter(|r| !matches!(r.state, State::Deleting | State::Terminated));
        let living: Vec<String> = living.map(|row| row.id.to_string()).collect();
        if !living.is_empty() {
            return refused(format!(
                "has the instances {}: terminate them first (nova-manage vm terminate)",
                named(&living)
            ));
        }
        let served = networks::list(&mut tx).await?;
        let served = served.iter().filter(|n| n.host.as_deref() == Some(name));
        let served: Vec<String> = served.map(|network| network.cidr.to_string()).collect();
        if let Some(first) = served.first() {
            return refused(format!(
                "is the gateway of {}: nova-manage network modify {first} --host OTHER, or \
                 nova-manage network delete {first}",
                named(&served)
            ));
        }
        hosts::delete(&mut tx, &host.name).await?;
        audit::record(&mut tx, &operator(), "host.delete", None, name, "").await?;
        finish_deletions(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Refuses a host that cannot be the gateway of a network; the reasons that keep it where it
    /// is.
    pub(crate) async fn gateway_blockers(
        &self,
        tx: &mut Tx,
        network: &Network,
        to: &str,
    ) -> Result<Vec<Blocker>> {
        let host = hosts::by_name(tx, to).await?;
        let host = host.ok_or_else(|| ControlError::not_found(Kind::Host, to))?;
        if !host.roles.contains(&HostRole::Network) || !host.kinds.contains(&network.kind) {
            let reason = format!("host {to} does not serve {} networks", network.kind);
            return Err(ControlError::in_use(Kind::Network, network.cidr, reason));
        }
        let mut elsewhere = Vec::new();
        for instance in instances::living_in_network(tx, network.id).await? {
            let row = instances::by_id(tx, instance).await?;
            if row.and_then(|row| row.host).as_deref() != Some(to) {
                elsewhere.push(Blocker {
                    object: format!("instance {instance}"),
                    reason: format!(
                        "is not on {to}, and would lose its network: terminate it first"
                    ),
                });
            }
        }
        Ok(elsewhere)
    }

    /// Says of instances that wait, and whose host says nothing about them, why nothing happens
    /// there.
    pub(crate) async fn explain(&self, c: &mut Conn, views: &mut [InstanceView]) -> Result<()> {
        let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
        for view in views {
            let row = &mut view.row;
            let (State::Pending, None, Some(name)) = (row.state, &row.detail, &row.host) else {
                continue;
            };
            if !known.contains_key(name) {
                known.insert(name.clone(), self.trouble_of(c, name).await?);
            }
            row.detail = known.get(name).cloned().flatten();
        }
        Ok(())
    }

    /// Why a host does nothing now; `None`: it works, as far as is known.
    async fn trouble_of(&self, c: &mut Conn, name: &str) -> Result<Option<String>> {
        let remedy = "start novanet up, or novanet agent, there";
        let Some(host) = hosts::by_name(c, name).await? else {
            return Ok(Some(format!(
                "host {name}: no agent has run there ({remedy})"
            )));
        };
        if !self.is_up(&host) {
            let since = at(host.seen_at);
            return Ok(Some(format!(
                "host {name}: no agent since {since} ({remedy})"
            )));
        }
        let troubles = hosts::troubles(c, name).await?;
        Ok((!troubles.is_empty()).then(|| format!("host {name}: {}", troubles.join("; "))))
    }

    /// A host whose agent does not run, as far as is known.
    async fn stopped_host(&self, tx: &mut Tx, name: &str, stopped: bool) -> Result<Host> {
        let host = hosts::by_name(tx, name).await?;
        let host = host.ok_or_else(|| ControlError::not_found(Kind::Host, name))?;
        if !stopped && self.is_up(&host) {
            let ago = now().since(host.seen_at).as_secs();
            let patience = self.config().service_down_time.as_secs();
            let reason = format!(
                "its agent was heard of {ago} s ago: stop it first (it counts as stopped {patience} \
                 s after its last word)"
            );
            return Err(ControlError::in_use(Kind::Host, name, reason));
        }
        Ok(host)
    }
}

/// A moment, for people.
fn at(moment: Micros) -> String {
    let moment = moment.date().unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, hour, minute) = (moment.date(), moment.hour(), moment.minute());
    format!("{date} {hour:02}:{minute:02}:{:02} UTC", moment.second())
}

/// The first few, and how many more.
fn named(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut text = all[..all.len() - more].join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    text
}
