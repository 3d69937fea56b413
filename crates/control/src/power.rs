//! StopInstances and StartInstances. A stopped instance keeps its row, addresses, groups and disk;
//! only its host object says that it must not run.

use crate::instances::{find, record, word};
use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use novanet_model::InstanceId;
use novanet_store::instances::{self, Row, State};
use novanet_store::{Committed, PlanOwner};

impl Cloud {
    /// StopInstances: all or none. Answers with each row before. One that is stopped or being
    /// stopped stays as it is; one that is not up yet is refused, as in EC2.
    pub async fn stop(&self, caller: &Caller, ids: &[InstanceId]) -> Result<(Vec<Row>, Committed)> {
        self.set_power(caller, ids, Power::Off).await
    }

    /// StartInstances: all or none. Answers with each row before. One that is up or on its way
    /// stays as it is; one that could not be started is tried again at once.
    pub async fn start(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<(Vec<Row>, Committed)> {
        self.set_power(caller, ids, Power::On).await
    }

    async fn set_power(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        power: Power,
    ) -> Result<(Vec<Row>, Committed)> {
        caller.require(Role::SysAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let mut before = Vec::new();
        let mut owners = Vec::new();
        for &id in ids {
            let row = find(&mut tx, caller, id).await?;
            match power.of(&row) {
                Next::Stays => {}
                Next::Refused => {
                    let cannot = format!("is {}, which cannot be {}", word(&row), power.word());
                    return Err(ControlError::in_use(Kind::Instance, id, cannot));
                }
                Next::Changes => {
                    instances::set_halted(&mut tx, id, power == Power::Off).await?;
                    if power == Power::On {
                        instances::count_boot(&mut tx, id).await?;
                    }
                    record(&mut tx, caller, power.action(), &row).await?;
                    owners.push(PlanOwner::Instance(id));
                }
            }
            before.push(row);
        }
        self.plan(&mut tx, owners).await?;
        Ok((before, tx.commit().await?))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Off,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Changes,
    Stays,
    Refused,
}

impl Power {
    fn of(self, row: &Row) -> Next {
        if matches!(row.state, State::Deleting | State::Terminated) {
            return Next::Refused;
        }
        match self {
            Self::Off if row.halted => Next::Stays,
            Self::Off => match row.state {
                State::Stopped => Next::Stays,
                State::Pending => Next::Refused,
                _ => Next::Changes,
            },
            // Its host may be about to end the boot that a start would count as done.
            Self::On if row.is_stopping() => Next::Refused,
            Self::On => match row.state {
                State::Pending | State::Running => Next::Stays,
                _ => Next::Changes,
            },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::On => "started",
            Self::Off => "stopped",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::On => "instance.start",
            Self::Off => "instance.stop",
        }
    }
}
