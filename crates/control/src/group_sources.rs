//! The sources of security group rules: which groups of which projects a caller may name, and the
//! end of rules that name a deleted group.

use crate::group_ref::{GroupRef, describe, text};
use crate::{Caller, ControlError, Kind, Result, Role};
use novanet_model::ProjectId;
use novanet_model::rows::SecurityRule;
use novanet_model::rule::Source;
use novanet_store::audit::Actor;
use novanet_store::groups::{self, Group};
use novanet_store::plan::Subject;
use novanet_store::{Conn, Tx, audit, members, projects, users};

/// The source of a rule, as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRef {
    /// Addresses.
    Cidr(novanet_model::Ipv4Net),
    /// A group of a project (`None`: the caller's).
    Group {
        /// The group.
        group: GroupRef,
        /// Its project (EC2's UserId).
        project: Option<ProjectId>,
    },
}

/// The source that a caller may put into a rule. Another project's group takes a say in that
/// project; without one it is not found, as one that does not exist.
pub(crate) async fn resolve(c: &mut Conn, caller: &Caller, source: &SourceRef) -> Result<Source> {
    match source {
        SourceRef::Cidr(cidr) => Ok(Source::Cidr(*cidr)),
        SourceRef::Group { group, project } => {
            let found = group_of(c, caller, group, project.as_ref()).await?;
            match found {
                Some(found) if may_name(c, caller, &found.project).await? => {
                    Ok(Source::Group(found.id))
                }
                _ => Err(ControlError::not_found(Kind::SecurityGroup, text(group))),
            }
        }
    }
}

/// What a source is, whether or not the caller may name it: only to be compared with its own rules.
pub(crate) async fn lookup(
    c: &mut Conn,
    caller: &Caller,
    source: &SourceRef,
) -> Result<Option<Source>> {
    match source {
        SourceRef::Cidr(cidr) => Ok(Some(Source::Cidr(*cidr))),
        SourceRef::Group { group, project } => {
            let found = group_of(c, caller, group, project.as_ref()).await?;
            Ok(found.map(|g| Source::Group(g.id)))
        }
    }
}

/// The group that a source names; `project`: EC2's UserId, the caller's if there is none. An id
/// says whose it is by itself, but must not contradict it.
async fn group_of(
    c: &mut Conn,
    caller: &Caller,
    group: &GroupRef,
    project: Option<&ProjectId>,
) -> Result<Option<Group>> {
    match group {
        GroupRef::Id(id) => {
            let found = groups::by_id(c, *id).await?;
            Ok(found.filter(|g| project.is_none_or(|p| *p == g.project)))
        }
        GroupRef::Name(name) => {
            let project = project.unwrap_or(&caller.project);
            Ok(groups::by_name(c, project, name).await?)
        }
    }
}

/// Whether the caller has a say in the groups of a project: its own, or one that it is a network
/// administrator or the manager of.
pub(crate) async fn may_name(c: &mut Conn, caller: &Caller, project: &ProjectId) -> Result<bool> {
    if caller.admin || *project == caller.project {
        return Ok(true);
    }
    let user = &caller.actor.who;
    let Some(found) = projects::by_id(c, project).await? else {
        return Ok(false);
    };
    if !projects::has_member(c, project, user).await? {
        return Ok(false);
    }
    let roles = users::roles(c, user, project).await?;
    Ok(found.manager == *user || roles.iter().any(|role| role == Role::NetAdmin.word()))
}

/// Revokes the rules of other projects that name a group before its deletion: they accept no
/// traffic any more, and must not keep its owner from deleting it.
pub(crate) async fn revoke_elsewhere(
    tx: &mut Tx,
    actor: &Actor,
    rules: Vec<SecurityRule>,
) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for rule in rules {
        let parent = groups::by_id(tx, rule.group).await?;
        groups::delete_rule(tx, rule.id).await?;
        subjects.push(Subject::NoRule(rule.id));
        subjects.extend(of_source(tx, rule.source).await?);
        let project = parent.as_ref().map(|g| g.project.as_str());
        let (object, detail) = (rule.group.to_string(), describe(rule.traffic, rule.source));
        let action = "security_group.revoke";
        audit::record(tx, actor, action, project, &object, &detail).await?;
    }
    Ok(subjects)
}

/// What a rule with this source is about besides itself.
pub(crate) async fn of_source(c: &mut Conn, source: Source) -> Result<Vec<Subject>> {
    let Source::Group(group) = source else {
        return Ok(Vec::new());
    };
    let memberships = members::memberships(c, group).await?;
    Ok(memberships.into_iter().map(Subject::PlanOwner).collect())
}
