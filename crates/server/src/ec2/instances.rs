//! Handlers of instances: from the request to the use case to the answer. Depends on
//! `control::launch` and `control::instances`; a console comes from the instance's host.

use super::error::Refusal;
use super::groups::group_ref;
use super::{Answered, date_of};
use crate::state::State;
use novanet_control::Caller;
use novanet_control::instances::{InstanceRow, InstanceState as Row, InstanceView, Launch};
use novanet_ec2::action::{DescribeInstances, GetConsoleOutput, InstanceIds, RunInstances};
use novanet_ec2::response::{
    ConsoleOutput, DescribedInstances, Done, GroupName, Instance, InstanceState, ReasonCode,
    Reservation, RunningInstances, StateChange, StateChanges,
};
use novanet_ec2::{Code, Ec2Error};
use novanet_model::wire::{Answer, Question};
use novanet_model::{AmiId, ImageId, InstanceId, NetworkId};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// How long GetConsoleOutput waits for the instance's host.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(state: &State, caller: &Caller, request: RunInstances) -> Answered {
    let launch = Launch {
        image: ImageId(request.image.0),
        min: request.min.into(),
        max: request.max.into(),
        instance_type: Some(request.instance_type.name.to_owned()),
        key_name: request.key_name,
        groups: request.groups.iter().map(group_ref).collect(),
        user_data: request.user_data,
        client_token: request.client_token,
        public_address: request.public_address,
        availability_zone: request.zone,
        private_address: request.private_address,
        networks: request.subnets.iter().map(|s| NetworkId(s.0)).collect(),
    };
    let (ids, _) = state.cloud.run_instances(caller, &launch).await?;
    let views = state.cloud.instances_of(caller, &ids).await?;
    let reservation = reservations(views)
        .pop()
        .ok_or_else(|| Ec2Error::new(Code::InternalError, "The launch made no instances."))?;
    Ok(Box::new(RunningInstances(reservation)))
}

pub(super) async fn describe(
    state: &State,
    caller: &Caller,
    request: &DescribeInstances,
) -> Answered {
    let mut views = select(state, caller, &request.ids).await?;
    let next_token = if request.filters.is_empty() {
        request.page.take(&mut views, |v| v.row.id.0)
    } else {
        None
    };
    let mut described = DescribedInstances {
        reservations: reservations(views),
        next_token,
    };
    described.retain(&request.filters)?;
    Ok(Box::new(described))
}

/// The project's instances, only those named if any are; an unknown name is refused.
pub(super) async fn select(
    state: &State,
    caller: &Caller,
    ids: &[InstanceId],
) -> Result<Vec<InstanceView>, Refusal> {
    Ok(if ids.is_empty() {
        state.cloud.instances(caller).await?
    } else {
        state.cloud.instances_of(caller, ids).await?
    })
}

pub(super) async fn reboot(state: &State, caller: &Caller, request: &InstanceIds) -> Answered {
    state.cloud.reboot(caller, &request.ids).await?;
    Ok(Box::new(Done("RebootInstances")))
}

pub(super) async fn terminate(state: &State, caller: &Caller, request: &InstanceIds) -> Answered {
    let (before, _) = state.cloud.terminate(caller, &request.ids).await?;
    let changes = before
        .into_iter()
        .map(|(id, state)| StateChange {
            id,
            previous: ec2_state(state),
            current: if state == Row::Terminated {
                InstanceState::Terminated
            } else {
                InstanceState::ShuttingDown
            },
        })
        .collect();
    Ok(Box::new(StateChanges {
        action: "TerminateInstances",
        changes,
    }))
}

pub(super) async fn stop(state: &State, caller: &Caller, ids: &[InstanceId]) -> Answered {
    let (before, _) = state.cloud.stop(caller, ids).await?;
    let current = |row: &InstanceRow| match row.state {
        Row::Stopped => InstanceState::Stopped,
        _ => InstanceState::Stopping,
    };
    Ok(Box::new(changes("StopInstances", &before, current)))
}

pub(super) async fn start(state: &State, caller: &Caller, ids: &[InstanceId]) -> Answered {
    let (before, _) = state.cloud.start(caller, ids).await?;
    let current = |row: &InstanceRow| match row.state {
        Row::Running => InstanceState::Running,
        _ => InstanceState::Pending,
    };
    Ok(Box::new(changes("StartInstances", &before, current)))
}

fn changes(
    action: &'static str,
    before: &[InstanceRow],
    current: impl Fn(&InstanceRow) -> InstanceState,
) -> StateChanges {
    let change = |row: &InstanceRow| StateChange {
        id: row.id,
        previous: state_of(row),
        current: current(row),
    };
    StateChanges {
        action,
        changes: before.iter().map(change).collect(),
    }
}

pub(super) async fn console(
    state: &State,
    caller: &Caller,
    request: &GetConsoleOutput,
) -> Answered {
    let output = match &state.cloud.console_host(caller, request.id).await? {
        Some(host) => {
            let question = Question::Console {
                instance: request.id,
            };
            match state.questions.ask(host, question, CONSOLE_TIMEOUT).await {
                Ok(Answer::Text { text }) => text,
                Ok(Answer::Failed { message }) => {
                    tracing::warn!(host, instance = %request.id, message, "console");
                    String::new()
                }
                Err(_) => {
                    return Err(Ec2Error::new(
                        Code::Unavailable,
                        format!("The host {host} does not answer now; try again."),
                    )
                    .into());
                }
            }
        }
        None => String::new(),
    };
    Ok(Box::new(ConsoleOutput {
        id: request.id,
        at: OffsetDateTime::now_utc(),
        output: output.into_bytes(),
    }))
}

/// Instances by reservation, in the order of the reservations' ids.
fn reservations(views: Vec<InstanceView>) -> Vec<Reservation> {
    let mut by_id: BTreeMap<_, Reservation> = BTreeMap::new();
    for view in views {
        let id = view.row.reservation;
        by_id
            .entry(id)
            .or_insert_with(|| Reservation {
                id,
                owner: view.row.project.to_string(),
                instances: Vec::new(),
            })
            .instances
            .push(instance(view));
    }
    by_id.into_values().collect()
}

fn instance(view: InstanceView) -> Instance {
    let reason = view.reason().unwrap_or_default().to_owned();
    let row = view.row;
    Instance {
        id: row.id,
        image: AmiId(row.image.0),
        state: state_of(&row),
        reason,
        reason_code: match row.state {
            Row::Error => ReasonCode::Failed,
            Row::Stopped if row.halted => ReasonCode::StoppedByUser,
            Row::Stopped => ReasonCode::EndedByItself,
            _ => ReasonCode::Pending,
        },
        hostname: row.hostname,
        private_address: view.ports.first().map(|p| p.address),
        public_address: view.public_address,
        key_name: row.key_name,
        launch_index: u32::try_from(row.launch_index).unwrap_or(0),
        instance_type: row.instance_type,
        launch_time: date_of(row.created_at),
        zone: row.availability_zone,
        architecture: std::env::consts::ARCH.to_owned(),
        client_token: row.client_token,
        groups: view
            .groups
            .into_iter()
            .map(|g| GroupName {
                id: g.id,
                name: g.name,
            })
            .collect(),
    }
}

/// The state that clients see.
pub(super) fn state_of(row: &InstanceRow) -> InstanceState {
    if row.is_stopping() {
        InstanceState::Stopping
    } else {
        ec2_state(row.state)
    }
}

/// EC2 has no state for "could not be started"; nova said `pending` for ever. Clients' waiters end
/// on `terminated` and `stopped`, and the reason says why.
fn ec2_state(state: Row) -> InstanceState {
    match state {
        Row::Pending => InstanceState::Pending,
        Row::Running => InstanceState::Running,
        Row::Stopped | Row::Error => InstanceState::Stopped,
        Row::Deleting => InstanceState::ShuttingDown,
        Row::Terminated => InstanceState::Terminated,
    }
}
