//! The use case that changes the security groups of an instance that lives. Depends on `groups` for
//! their names and on the plan of members.

use crate::groups::{GroupRef, find};
use crate::instances::{find as find_instance, note, word};
use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use novanet_model::{InstanceId, ModelError};
use novanet_store::instances::State;
use novanet_store::{Committed, groups, members};
use std::collections::BTreeSet;

impl Cloud {
    /// ModifyInstanceAttribute: the instance is in these groups from now on, and in no others.
    /// Connections that only a former group allowed end with the change.
    ///
    /// # Errors
    ///
    /// The caller has no role netadmin, a group or the instance is not the project's, the list is
    /// empty, or the instance ends.
    pub async fn set_instance_groups(
        &self,
        caller: &Caller,
        id: InstanceId,
        wanted: &[GroupRef],
    ) -> Result<Committed> {
        caller.require(Role::NetAdmin)?;
        if wanted.is_empty() {
            return Err(ModelError::new("groups", "", "must be at least one").into());
        }
        let mut tx = self.db().begin_planned().await?;
        let row = find_instance(&mut tx, caller, id).await?;
        if matches!(row.state, State::Deleting | State::Terminated) {
            let why = format!("is {}, its groups cannot be changed", word(&row));
            return Err(ControlError::in_use(Kind::Instance, id, why));
        }
        let mut to = BTreeSet::new();
        for group in wanted {
            let found = find(&mut tx, caller, group).await?;
            // An admin sees instances of all projects; a group protects those of its own.
            if found.project != row.project {
                return Err(ControlError::not_found(Kind::SecurityGroup, found.id));
            }
            to.insert(found.id);
        }
        let to: Vec<_> = to.into_iter().collect();
        let before = groups::of_instance(&mut tx, id).await?;
        let from: Vec<_> = before.into_iter().map(|group| group.id).collect();
        let owners = members::change_groups(&mut tx, (id, row.host.as_deref()), &from, &to).await?;
        let names: Vec<_> = to.iter().map(ToString::to_string).collect();
        let of = (row.project.as_str(), &id.to_string());
        note(
            &mut tx,
            &caller.actor,
            "instance.groups",
            of,
            &names.join(" "),
        )
        .await?;
        self.plan(&mut tx, owners).await?;
        Ok(tx.commit().await?)
    }
}
