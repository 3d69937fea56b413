//! `user delete` and `project delete`, and what they would do: the rows and host objects in the
//! order in which they go, and the reasons for a refusal. Depends on the plan.

use crate::caller::operator;
use crate::group_ref::describe;
use crate::group_sources::revoke_elsewhere;
use crate::preview::{Blocker, Effect, Preview, Step, refusal};
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::rows::SecurityRule;
use novanet_model::{AmiId, ProjectId, Resource};
use novanet_store::audit::Change;
use novanet_store::certificates::{self, Certificate};
use novanet_store::groups::{self, Group};
use novanet_store::instances::{self, State};
use novanet_store::plan::Subject;
use novanet_store::users::{self, User};
use novanet_store::{
    Conn, PlanOwner, Tx, audit, floating_ips, images, key_pairs, networks, objects, projects, vpns,
};
use std::collections::{BTreeMap, BTreeSet};

impl Cloud {
    /// `user delete`: with its roles, memberships and key pairs; its certificates are revoked.
    /// Refused while the user manages a project, and for the last administrator.
    pub async fn delete_user(&self, name: &str) -> Result<()> {
        // Planned transactions are serial: of two administrators that delete each other one stays.
        let mut tx = self.db().begin_planned().await?;
        let user = user(&mut tx, name).await?;
        if let Some(refusal) = refusal(Kind::User, name, &user_blockers(&mut tx, &user).await?) {
            return Err(refusal);
        }
        certificates::revoke_user(&mut tx, name, None).await?;
        users::delete(&mut tx, name).await?;
        audit::record(&mut tx, &operator(), "user.delete", None, name, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// What [`Cloud::delete_user`] would do.
    pub async fn preview_delete_user(&self, name: &str) -> Result<Preview> {
        let mut tx = self.db().read().await?;
        let user = user(&mut tx, name).await?;
        let blockers = user_blockers(&mut tx, &user).await?;
        let mut steps = Vec::new();
        for certificate in certificates::of_user(&mut tx, name).await? {
            steps.extend(ended(&certificate, ""));
        }
        for (_, role, project) in users::given_roles(&mut tx, name).await? {
            steps.push(role_step(&role, name, &project));
        }
        for project in projects::list(&mut tx, name).await? {
            steps.push(membership(name, project.id.as_str()));
        }
        for pair in key_pairs::of_user(&mut tx, name).await? {
            let object = format!("key pair {}", pair.name);
            steps.push(Step::of_row(Effect::Remove, object, pair.fingerprint));
        }
        let keys = format!("access key {}", user.access_key);
        steps.push(Step::of_row(Effect::Remove, format!("user {name}"), keys));
        Ok(Preview { steps, blockers })
    }

    /// `project delete`, with its groups. Refused while it has instances, addresses, networks or
    /// images.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        require(&mut tx, id).await?;
        if let Some(refusal) = refusal(Kind::Project, id, &project_blockers(&mut tx, id).await?) {
            return Err(refusal);
        }
        let own = groups::of_project(&mut tx, id).await?;
        let elsewhere = rules_elsewhere(&mut tx, &own).await?;
        let mut subjects = revoke_elsewhere(&mut tx, &operator(), elsewhere).await?;
        certificates::leave_project(&mut tx, id).await?;
        projects::delete(&mut tx, id).await?;
        record_groups(&mut tx, id, &own).await?;
        subjects.extend(
            own.iter()
                .map(|g| Subject::PlanOwner(PlanOwner::Group(g.id))),
        );
        self.plan(&mut tx, subjects).await?;
        let object = id.as_str();
        audit::record(&mut tx, &operator(), "project.delete", None, object, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// What [`Cloud::delete_project`] would do: its rows, then what hosts have of its groups.
    pub async fn preview_delete_project(&self, id: &ProjectId) -> Result<Preview> {
        let mut tx = self.db().read().await?;
        let project = require(&mut tx, id).await?;
        let blockers = project_blockers(&mut tx, id).await?;
        let own = groups::of_project(&mut tx, id).await?;
        let elsewhere = rules_elsewhere(&mut tx, &own).await?;
        let rules = groups::rules_of_project(&mut tx, id).await?;
        let mut steps = Vec::new();
        for rule in &elsewhere {
            let parent = groups::by_id(&mut tx, rule.group).await?;
            let of = parent.map_or_else(String::new, |g| {
                format!(" of group {} in project {}", g.name, g.project)
            });
            steps.push(rule_step(rule, &of));
        }
        steps.extend(rows_of(&mut tx, id).await?);
        for group in &own {
            let of = format!(" of group {}", group.name);
            let its = rules.iter().filter(|rule| rule.group == group.id);
            steps.extend(its.map(|rule| rule_step(rule, &of)));
            let object = format!("security group {}", group.name);
            steps.push(Step::of_row(Effect::Remove, object, group.id.to_string()));
        }
        let manager = format!("managed by {}", project.manager);
        steps.push(Step::of_row(
            Effect::Remove,
            format!("project {id}"),
            manager,
        ));
        let of_rules = elsewhere.iter().chain(&rules);
        let of_rules = of_rules.map(|rule| PlanOwner::Rule(rule.id));
        let owners: BTreeSet<PlanOwner> = of_rules
            .chain(own.iter().map(|group| PlanOwner::Group(group.id)))
            .collect();
        let on_hosts = objects::of_owners(&mut tx, &owners).await?;
        let on_hosts = Preview::between(&on_hosts, &BTreeMap::new(), blockers);
        steps.extend(on_hosts.steps);
        Ok(Preview { steps, ..on_hosts })
    }
}

async fn user(c: &mut Conn, name: &str) -> Result<User> {
    let found = users::by_id(c, name).await?;
    found.ok_or_else(|| ControlError::not_found(Kind::User, name))
}

async fn require(c: &mut Conn, id: &ProjectId) -> Result<projects::Project> {
    let found = projects::by_id(c, id).await?;
    found.ok_or_else(|| ControlError::not_found(Kind::Project, id))
}

/// What keeps a user from being deleted.
async fn user_blockers(c: &mut Conn, user: &User) -> Result<Vec<Blocker>> {
    let name = &user.id;
    let mut all = Vec::new();
    if user.is_admin
        && !users::list(c)
            .await?
            .iter()
            .any(|u| u.is_admin && u.id != *name)
    {
        all.push(Blocker {
            object: "the cloud".to_owned(),
            reason: "has no other administrator (make one first: nova-manage user admin NAME)"
                .to_owned(),
        });
    }
    let managed = projects::list(c, "").await?.into_iter();
    let managed = managed.filter(|project| project.manager == *name);
    all.extend(managed.map(|project| Blocker {
        object: format!("project {}", project.id),
        reason: format!(
            "is managed by it (delete the project first, or give it another manager: nova-manage \
             project modify {} USER)",
            project.id
        ),
    }));
    Ok(all)
}

/// What keeps a project from being deleted: all that it owns beside its groups.
async fn project_blockers(c: &mut Conn, id: &ProjectId) -> Result<Vec<Blocker>> {
    let mut all = Vec::new();
    for instance in instances::list(c, Some(id)).await? {
        let reason = match instance.state {
            State::Terminated => continue,
            State::Deleting => "is being terminated (wait until its host has removed it)",
            _ => "belongs to it (terminate it first)",
        };
        all.push(Blocker {
            object: format!("instance {}", instance.id),
            reason: reason.to_owned(),
        });
    }
    let scrub = format!("nova-manage project scrub {id}");
    let floats = floating_ips::of_project(c, id).await?;
    all.extend(floats.into_iter().map(|float| Blocker {
        object: format!("floating IP {}", float.address),
        reason: format!("belongs to it (release it first, or: {scrub})"),
    }));
    if let Some(vpn) = vpns::of_project(c, id).await? {
        all.push(Blocker {
            object: format!("VPN at {}", vpn.private_address),
            reason: if vpn.deleting {
                "is being removed (wait until its host has removed it)".to_owned()
            } else {
                format!("belongs to it (scrub it first: {scrub})")
            },
        });
    }
    let networks = networks::of_project(c, id).await?;
    all.extend(networks.into_iter().map(|network| Blocker {
        object: format!("network {}", network.cidr),
        reason: format!("belongs to it (scrub it first: {scrub})"),
    }));
    for image in images::of_project(c, id).await? {
        let ami = AmiId(image.id.0);
        all.push(Blocker {
            object: format!("image {ami} ({})", image.name),
            reason: format!("belongs to it (delete it first: nova-manage image delete {ami})"),
        });
    }
    Ok(all)
}

/// Rules of other projects that name these groups.
async fn rules_elsewhere(c: &mut Conn, own: &[Group]) -> Result<Vec<SecurityRule>> {
    let mut elsewhere = Vec::new();
    for group in own {
        let rules = groups::rules_with_source(c, group.id).await?;
        let is_elsewhere = |rule: &SecurityRule| !own.iter().any(|g| g.id == rule.group);
        elsewhere.extend(rules.into_iter().filter(is_elsewhere));
    }
    Ok(elsewhere)
}

/// A project's certificates, roles, members, limits and the records of its ended instances.
async fn rows_of(c: &mut Conn, id: &ProjectId) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let name = id.as_str();
    for certificate in certificates::of_project(c, id).await? {
        steps.extend(ended(&certificate, name));
    }
    if certificates::authority(c, name).await?.is_some() {
        let object = "certificate authority".to_owned();
        steps.push(Step::of_row(
            Effect::Remove,
            object,
            format!("of project {id}"),
        ));
    }
    for (user, role, project) in users::given_roles(c, "").await? {
        if project == name {
            steps.push(role_step(&role, &user, name));
        }
    }
    for member in projects::members(c, id).await? {
        steps.push(membership(&member, name));
    }
    for resource in Resource::ALL {
        if let Some(limit) = projects::quota(c, id, resource).await? {
            let object = format!("quota {}", resource.as_str());
            steps.push(Step::of_row(Effect::Remove, object, limit.to_string()));
        }
    }
    for instance in instances::list(c, Some(id)).await? {
        if instance.state == State::Terminated {
            let object = format!("instance {}", instance.id);
            let what = "record of a terminated one".to_owned();
            steps.push(Step::of_row(Effect::Remove, object, what));
        }
    }
    Ok(steps)
}

/// The end of a certificate: removed with the authority of the deleted project, else revoked, once.
fn ended(certificate: &Certificate, deleted: &str) -> Option<Step> {
    let object = format!("certificate {}", certificate.serial);
    let owner = match certificate.user.as_str() {
        "" => "a server".to_owned(),
        user => format!("user {user}"),
    };
    let what = format!("of {owner} in project {}", certificate.project);
    let with_authority = !deleted.is_empty() && certificate.authority == deleted;
    let effect = match (with_authority, certificate.revoked_at) {
        (true, _) => Effect::Remove,
        (false, None) => Effect::Revoke,
        (false, Some(_)) => return None,
    };
    Some(Step::of_row(effect, object, what))
}

fn role_step(role: &str, user: &str, project: &str) -> Step {
    let place = match project {
        "" => "all projects".to_owned(),
        one => format!("project {one}"),
    };
    let what = format!("of user {user} in {place}");
    Step::of_row(Effect::Remove, format!("role {role}"), what)
}

fn membership(user: &str, project: &str) -> Step {
    let what = format!("of user {user} in project {project}");
    Step::of_row(Effect::Remove, "membership".to_owned(), what)
}

fn rule_step(rule: &SecurityRule, of: &str) -> Step {
    let what = format!("{}{of}", describe(rule.traffic, rule.source));
    Step::of_row(Effect::Remove, format!("rule {}", rule.id), what)
}

/// Records that a project's groups went with it.
async fn record_groups(tx: &mut Tx, id: &ProjectId, groups: &[Group]) -> Result<()> {
    let actor = operator();
    let objects: Vec<String> = groups.iter().map(|g| g.id.to_string()).collect();
    let gone = groups.iter().zip(&objects).map(|(group, object)| Change {
        actor: &actor,
        action: "security_group.delete",
        project: Some(id.as_str()),
        object,
        detail: &group.name,
    });
    Ok(audit::record_all(tx, &gone.collect::<Vec<_>>()).await?)
}
