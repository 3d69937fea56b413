//! Handlers of security groups and their rules: from the request to the use case to the answer.
//! Depends on `control::groups`.

use super::Answered;
use crate::state::State;
use novanet_control::groups::{self as control, GroupView, NewRule, SourceNames, SourceRef};
use novanet_control::{Caller, ControlError, Kind};
use novanet_ec2::action::{
    CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroupRules, DescribeSecurityGroups,
    GroupRef, IngressChange, IngressRevocation, IngressSource, ModifyInstanceAttribute,
};
use novanet_ec2::filter;
use novanet_ec2::response::{
    AuthorizedIngress, CreatedSecurityGroup, DescribedSecurityGroupRules, DescribedSecurityGroups,
    Done, Permission, PermissionSource, SecurityGroup, SecurityGroupRule,
};
use novanet_model::rows::SecurityRule;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{RuleId, SecurityGroupRuleId};

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
    let rules: Vec<_> = rules(request)
        .into_iter()
        .zip(&request.rules)
        .map(|((traffic, source), rule)| NewRule {
            traffic,
            source,
            description: rule.description.clone(),
        })
        .collect();
    let (change, added) = state
        .cloud
        .authorize_described(caller, &group_ref(&request.group), &rules)
        .await?;
    state.cloud.applied(&change).await;
    let (_, names) = state.cloud.groups(caller).await?;
    Ok(Box::new(AuthorizedIngress(group_rules(&added, &names))))
}

pub(super) async fn describe_rules(
    state: &State,
    caller: &Caller,
    request: &DescribeSecurityGroupRules,
) -> Answered {
    let (views, names) = state.cloud.groups(caller).await?;
    let all = views.iter().flat_map(|view| group_rules(view, &names));
    let mut rules: Vec<SecurityGroupRule> = all.collect();
    for id in &request.ids {
        if !rules.iter().any(|rule| rule.id == *id) {
            return Err(no_rule(*id).into());
        }
    }
    rules.retain(|rule| request.ids.is_empty() || request.ids.contains(&rule.id));
    filter::retain(&request.filters, &mut rules)?;
    let next_token = request.page.take(&mut rules, |rule| rule.id.0);
    Ok(Box::new(DescribedSecurityGroupRules { rules, next_token }))
}

fn no_rule(id: SecurityGroupRuleId) -> ControlError {
    ControlError::NotFound {
        kind: Kind::Rule,
        id: id.to_string(),
    }
}

/// The rules of a group, each by itself.
fn group_rules(view: &GroupView, names: &SourceNames) -> Vec<SecurityGroupRule> {
    let rule = |rule: &SecurityRule| SecurityGroupRule {
        id: SecurityGroupRuleId(rule.id.0),
        group: view.group.id,
        owner: view.group.project.to_string(),
        traffic: rule.traffic,
        source: source(rule.source, names),
        description: rule.description.clone(),
    };
    view.rules.iter().map(rule).collect()
}

fn source(source: Source, names: &SourceNames) -> PermissionSource {
    match source {
        Source::Cidr(cidr) => PermissionSource::Cidr(cidr),
        Source::Group(id) => PermissionSource::Group {
            id,
            name: names.get(&id).map(|g| g.name.clone()).unwrap_or_default(),
            owner: names
                .get(&id)
                .map(|g| g.project.to_string())
                .unwrap_or_default(),
        },
    }
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

pub(super) async fn revoke(
    state: &State,
    caller: &Caller,
    request: &IngressRevocation,
) -> Answered {
    let cloud = &state.cloud;
    let change = match request {
        IngressRevocation::Rules(request) => {
            let group = group_ref(&request.group);
            cloud.revoke(caller, &group, &rules(request)).await?
        }
        IngressRevocation::Ids { group, ids } => {
            let group = group.as_ref().map(group_ref);
            let ids: Vec<_> = ids.iter().map(|id| RuleId(id.0)).collect();
            cloud.revoke_by_id(caller, group.as_ref(), &ids).await?
        }
    };
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
            source: source(rule.source, names),
            description: rule.description.clone(),
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
