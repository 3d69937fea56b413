//! Handlers of security groups and their rules: from the request to the use case to the answer.
//! Depends on `control::groups`.

use super::Answered;
use crate::state::State;
use novanet_control::groups::{self as control, GroupView, SourceNames, SourceRef};
use novanet_control::{Caller, ControlError, Kind};
use novanet_ec2::action::{
    CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroups, GroupRef, IngressChange,
    IngressSource, ModifyInstanceAttribute,
};
use novanet_ec2::filter;
use novanet_ec2::response::{
    CreatedSecurityGroup, DescribedSecurityGroups, Done, Permission, PermissionSource,
    SecurityGroup,
};
use novanet_model::rule::{Source, Traffic};

pub(super) fn group_ref(group: &GroupRef) -> control::GroupRef {
    match group {
        GroupRef::Id(id) => control::GroupRef::Id(*id),
        GroupRef::Name(name) => control::GroupRef::Name(name.clone()),
    }
}

pub(super) async fn create(
    state: &State,
    caller: &Caller,
    request: &CreateSecurityGroup,
) -> Answered {
    let id = state
        .cloud
        .create_group(caller, &request.name, &request.description)
        .await?;
    Ok(Box::new(CreatedSecurityGroup(id)))
}

pub(super) async fn delete(
    state: &State,
    caller: &Caller,
    request: &DeleteSecurityGroup,
) -> Answered {
    state
        .cloud
        .delete_group(caller, &group_ref(&request.group))
        .await?;
    Ok(Box::new(Done("DeleteSecurityGroup")))
}

pub(super) async fn authorize(state: &State, caller: &Caller, request: &IngressChange) -> Answered {
    let change = state
        .cloud
        .authorize(caller, &group_ref(&request.group), &rules(request))
        .await?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("AuthorizeSecurityGroupIngress")))
}

pub(super) async fn of_instance(
    state: &State,
    caller: &Caller,
    request: &ModifyInstanceAttribute,
) -> Answered {
    let groups: Vec<_> = request.groups.iter().map(group_ref).collect();
    let change = state
        .cloud
        .set_instance_groups(caller, request.id, &groups)
        .await?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("ModifyInstanceAttribute")))
}

pub(super) async fn revoke(state: &State, caller: &Caller, request: &IngressChange) -> Answered {
    let change = state
        .cloud
        .revoke(caller, &group_ref(&request.group), &rules(request))
        .await?;
    state.cloud.applied(&change).await;
    Ok(Box::new(Done("RevokeSecurityGroupIngress")))
}

fn rules(request: &IngressChange) -> Vec<(Traffic, SourceRef)> {
    request
        .rules
        .iter()
        .map(|rule| {
            let source = match &rule.source {
                IngressSource::Cidr(cidr) => SourceRef::Cidr(*cidr),
                IngressSource::Group { group, owner } => SourceRef::Group {
                    group: group_ref(group),
                    project: owner.clone(),
                },
            };
            (rule.traffic, source)
        })
        .collect()
}

pub(super) async fn describe(
    state: &State,
    caller: &Caller,
    request: &DescribeSecurityGroups,
) -> Answered {
    let (views, names) = state.cloud.groups(caller).await?;
    let is = |view: &GroupView, wanted: &GroupRef| match wanted {
        GroupRef::Id(id) => view.group.id == *id,
        GroupRef::Name(name) => view.group.name == *name,
    };
    for wanted in &request.groups {
        if !views.iter().any(|view| is(view, wanted)) {
            return Err(ControlError::NotFound {
                kind: Kind::SecurityGroup,
                id: wanted.to_string(),
            }
            .into());
        }
    }
    let mut groups: Vec<SecurityGroup> = views
        .into_iter()
        .filter(|v| request.groups.is_empty() || request.groups.iter().any(|w| is(v, w)))
        .map(|view| group(view, &names))
        .collect();
    filter::retain(&request.filters, &mut groups)?;
    let next_token = request.page.take(&mut groups, |g| g.id.0);
    Ok(Box::new(DescribedSecurityGroups { groups, next_token }))
}

fn group(view: GroupView, names: &SourceNames) -> SecurityGroup {
    let permissions = view
        .rules
        .iter()
        .map(|rule| Permission {
            traffic: rule.traffic,
            source: match rule.source {
                Source::Cidr(cidr) => PermissionSource::Cidr(cidr),
                Source::Group(id) => PermissionSource::Group {
                    id,
                    name: names.get(&id).map(|g| g.name.clone()).unwrap_or_default(),
                    owner: names
                        .get(&id)
                        .map(|g| g.project.to_string())
                        .unwrap_or_default(),
                },
            },
        })
        .collect();
    SecurityGroup {
        id: view.group.id,
        owner: view.group.project.to_string(),
        name: view.group.name,
        description: view.group.description,
        permissions,
    }
}
