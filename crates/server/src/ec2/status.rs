//! What clients ask of one instance: health, and properties one by one.

use super::Answered;
use super::instances::{select, state_of};
use crate::state::State;
use novanet_control::instances::InstanceState as Row;
use novanet_control::{Caller, Role};
use novanet_ec2::action::{Attribute, DescribeInstanceAttribute, DescribeInstanceStatus};
use novanet_ec2::filter;
use novanet_ec2::response::{
    AttributeValue, DescribedInstanceAttribute, DescribedInstanceStatus, GroupName, Health,
    InstanceState, InstanceStatus,
};

pub(super) async fn describe(
    state: &State,
    caller: &Caller,
    request: &DescribeInstanceStatus,
) -> Answered {
    let hosts = state.cloud.hosts().await?;
    let views = select(state, caller, &request.ids).await?;
    let mut statuses: Vec<InstanceStatus> = views
        .into_iter()
        // As in EC2: only running ones, unless all are asked for.
        .filter(|view| request.all || state_of(&view.row) == InstanceState::Running)
        .map(|view| {
            let host = view.row.host.as_deref();
            let host_up = hosts
                .iter()
                .any(|h| Some(h.name.as_str()) == host && state.cloud.is_up(h));
            InstanceStatus {
                id: view.row.id,
                state: state_of(&view.row),
                zone: view.row.availability_zone,
                instance: match view.row.state {
                    Row::Running => Health::Ok,
                    Row::Pending => Health::Initializing,
                    Row::Error => Health::Impaired,
                    _ => Health::NotApplicable,
                },
                system: if host_up {
                    Health::Ok
                } else {
                    Health::Impaired
                },
            }
        })
        .collect();
    filter::retain(&request.filters, &mut statuses)?;
    let next_token = request.page.take(&mut statuses, |s| s.id.0);
    Ok(Box::new(DescribedInstanceStatus {
        statuses,
        next_token,
    }))
}

/// User data often holds passwords: only users that may start instances read it.
pub(super) fn is_secret(attribute: Attribute) -> bool {
    attribute == Attribute::UserData
}

pub(super) async fn attribute(
    state: &State,
    caller: &Caller,
    request: &DescribeInstanceAttribute,
) -> Answered {
    if is_secret(request.attribute) {
        caller.require(Role::SysAdmin)?;
    }
    let view = state.cloud.instance(caller, request.id).await?;
    let value = match request.attribute {
        Attribute::InstanceType => AttributeValue::InstanceType(view.row.instance_type),
        Attribute::UserData => AttributeValue::UserData(state.cloud.user_data(&view.row)?),
        Attribute::Groups => AttributeValue::Groups(
            view.groups
                .into_iter()
                .map(|g| GroupName {
                    id: g.id,
                    name: g.name,
                })
                .collect(),
        ),
        Attribute::DisableApiTermination => AttributeValue::DisableApiTermination,
        Attribute::ShutdownBehavior => AttributeValue::ShutdownBehavior,
        Attribute::RootDeviceName => AttributeValue::RootDeviceName,
    };
    Ok(Box::new(DescribedInstanceAttribute {
        id: request.id,
        value,
    }))
}
