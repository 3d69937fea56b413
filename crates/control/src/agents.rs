//! Use cases of agents: hello, follow, status, leases. The server maps its HTTP protocol to them.

use crate::caller::{controller, operator};
use crate::instances::finish_deleting;
use crate::networks::{finish_deleting_networks, owners_of_network};
use crate::vpn::end::finish_deleting_vpns;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::wire::{
    Digest, Follow, Hello, HostRole, InstanceReport, InstanceState, LeaseChange, LeaseEvent,
    Objects, Status,
};
use novanet_model::{InstanceId, ModelError};
use novanet_store::hosts::{self, Host};
use novanet_store::instances::{self, State};
use novanet_store::{Conn, Tx, audit, clock, fixed_ips, networks, now, objects, views, vpns};

impl Cloud {
    /// Whether a host has been heard of lately (`service_down_time`).
    pub fn is_up(&self, host: &Host) -> bool {
        host.seen_at + self.config().service_down_time > now()
    }

    /// An agent introduces itself. A network host takes the networks that have none.
    pub async fn hello(&self, host: &str, hello: &Hello) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        let new = hosts::by_name(&mut tx, host).await?.is_none();
        hosts::hello(&mut tx, host, hello).await?;
        if new {
            let actor = controller("hosts");
            audit::record(&mut tx, &actor, "host.join", None, host, &hello.version).await?;
            self.plan_blocks(&mut tx).await?;
        }
        if hello.roles.contains(&HostRole::Network) {
            self.take_networks(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Gives networks without a gateway to the first network host, with what depends on them.
    async fn take_networks(&self, tx: &mut Tx) -> Result<()> {
        let Some(host) = self.gateway_host(tx).await? else {
            return Ok(());
        };
        for id in networks::without_host(tx).await? {
            networks::set_host(tx, id, &host).await?;
            let owners = owners_of_network(tx, id).await?;
            self.plan(tx, owners).await?;
        }
        Ok(())
    }

    /// The changes of a host's objects after `follow`, or a list of all.
    pub async fn follow(&self, host: &str, follow: &Follow) -> Result<Objects> {
        let mut c = self.db().connection().await?;
        Ok(objects::follow(&mut c, host, follow).await?)
    }

    /// The digest of the objects that an up-to-date follower has.
    pub async fn digest(&self, host: &str) -> Result<Digest> {
        let mut c = self.db().connection().await?;
        Ok(objects::digest(&mut c, host).await?)
    }

    /// [`Cloud::digest`] with the fingerprint, which costs what the host has objects.
    pub async fn full_digest(&self, host: &str) -> Result<Digest> {
        let mut c = self.db().connection().await?;
        Ok(objects::full_digest(&mut c, host).await?)
    }

    /// A heartbeat with what changed on the host.
    pub async fn status(&self, host: &str, status: &Status) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        let moved = hosts::by_name(&mut tx, host).await?.is_none_or(|before| {
            before.applied_version != status.version || before.applied_epoch != status.epoch
        });
        let mut changes = Vec::new();
        for report in &status.instances {
            changes.extend(change_of(&mut tx, report).await?);
        }
        // A heartbeat of a host that has applied nothing new finishes nothing.
        let finishes = moved && has_deletions(&mut tx).await?;
        if finishes || !changes.is_empty() {
            clock::lock(&mut tx).await?;
        }
        hosts::report(&mut tx, host, &status.epoch, status.version, &status.errors).await?;
        for change in changes {
            note_instance(&mut tx, host, change).await?;
        }
        if finishes {
            finish_deletions(&mut tx).await?;
        }
        tx.commit().await?;
        self.reports().tell(host, status.version);
        Ok(())
    }

    /// Ends deletions that no report ended: errors that went away, two hosts that reported at the
    /// same moment and did not see each other.
    pub(crate) async fn finish_deletions(&self) -> Result<()> {
        {
            let mut tx = self.db().read().await?;
            if !has_deletions(&mut tx).await? {
                return Ok(());
            }
        }
        let mut tx = self.db().begin_unplanned().await?;
        clock::lock(&mut tx).await?;
        finish_deletions(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Lease events of a host's journal.
    pub async fn leases(&self, host: &str, events: &[LeaseEvent]) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        if events.len() > 1 {
            clock::lock(&mut tx).await?;
        }
        for event in events {
            let leased = event.event == LeaseChange::Leased;
            let mac = event.mac.to_string();
            if !fixed_ips::set_leased(&mut tx, event.address, &mac, leased).await? {
                // A lease of an address that has another owner by now is old news.
                tracing::debug!(host, address = %event.address, mac, "lease of nobody");
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// `host list`, `service list`.
    pub async fn hosts(&self) -> Result<Vec<Host>> {
        let mut tx = self.db().read().await?;
        Ok(hosts::list(&mut tx).await?)
    }

    /// `host zone`: puts a host into an availability zone; the next instances are placed so.
    pub async fn set_zone(&self, host: &str, zone: &str) -> Result<()> {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if zone.is_empty() || zone.len() > 255 || !zone.chars().all(ok) {
            let why = "must be 1 to 255 letters, digits, '-', '_' or '.'";
            return Err(ModelError::new("zone", zone, why).into());
        }
        let mut tx = self.db().begin_unplanned().await?;
        let Some(before) = hosts::by_name(&mut tx, host).await? else {
            return Err(ControlError::not_found(Kind::Host, host));
        };
        hosts::set_zone(&mut tx, host, zone).await?;
        let detail = format!("{} to {zone}", before.availability_zone);
        audit::record(&mut tx, &operator(), "host.zone", None, host, &detail).await?;
        tx.commit().await?;
        Ok(())
    }

    /// `service enable` and `service disable`: whether a host gets new instances and becomes the
    /// gateway of new networks. What runs there goes on.
    pub async fn set_enabled(&self, host: &str, enabled: bool) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        if hosts::by_name(&mut tx, host).await?.is_none() {
            return Err(ControlError::not_found(Kind::Host, host));
        }
        hosts::set_disabled(&mut tx, host, !enabled).await?;
        let action = if enabled {
            "service.enable"
        } else {
            "service.disable"
        };
        audit::record(&mut tx, &operator(), action, None, host, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// Objects that are not in force on a host.
    pub async fn host_errors(&self, host: &str) -> Result<Vec<novanet_model::wire::ObjectError>> {
        let mut tx = self.db().read().await?;
        if hosts::by_name(&mut tx, host).await?.is_none() {
            return Err(ControlError::not_found(Kind::Host, host));
        }
        Ok(hosts::errors_of(&mut tx, host).await?)
    }

    /// The host that an instance is on.
    pub async fn host_of(&self, id: InstanceId) -> Result<Option<String>> {
        let mut tx = self.db().read().await?;
        Ok(instances::by_id(&mut tx, id).await?.and_then(|r| r.host))
    }
}

async fn has_deletions(c: &mut Conn) -> Result<bool> {
    Ok(!instances::deleting(c).await?.is_empty()
        || !networks::deleting(c).await?.is_empty()
        || !vpns::deleting(c).await?.is_empty())
}

pub(crate) async fn finish_deletions(tx: &mut Tx) -> Result<()> {
    for id in views::let_go(tx).await? {
        finish_deleting(tx, id).await?;
    }
    finish_deleting_vpns(tx).await?;
    finish_deleting_networks(tx).await
}

/// What a report changes of an instance's row.
struct Change<'a> {
    instance: InstanceId,
    state: State,
    report: &'a InstanceReport,
}

/// Compares a report with the row; `None`: it changes nothing.
async fn change_of<'a>(c: &mut Conn, report: &'a InstanceReport) -> Result<Option<Change<'a>>> {
    let Some(row) = instances::by_id(c, report.instance).await? else {
        return Ok(None);
    };
    let state = match report.state {
        InstanceState::Pending => State::Pending,
        InstanceState::Running => State::Running,
        InstanceState::Stopped => State::Stopped,
        InstanceState::Error => State::Error,
        // The instance ended by itself: its host makes it again, because its object is still there.
        InstanceState::Gone => return Ok(None),
    };
    let differs = state != row.state || report.detail != row.detail;
    Ok(differs.then_some(Change {
        instance: row.id,
        state,
        report,
    }))
}

/// Writes a host's report of an instance. A report of an earlier boot, or of an instance that is
/// being deleted, changes nothing.
async fn note_instance(tx: &mut Tx, host: &str, change: Change<'_>) -> Result<()> {
    let Change {
        instance,
        state,
        report,
    } = change;
    // Not `set_state`: on PostgreSQL a TerminateInstances may have come in between.
    let detail = report.detail.as_deref();
    if !instances::report_state(tx, instance, host, report.boot, state, detail).await? {
        tracing::debug!(host, %instance, "old news");
    }
    Ok(())
}
