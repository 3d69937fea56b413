//! Use cases of security groups and their rules. Depends on `group_sources` for rules that name
//! another group.

use crate::caller::record;
pub use crate::group_ref::GroupRef;
use crate::group_ref::{describe, text};
pub use crate::group_sources::SourceRef;
use crate::group_sources::{lookup, may_name, of_source, resolve, revoke_elsewhere};
use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use novanet_model::rows::SecurityRule;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{GroupId, ModelError, ProjectId, Resource, RuleId, SecurityGroupRuleId};
use novanet_store::audit::Actor;
use novanet_store::groups::{self, Group};
use novanet_store::plan::Subject;
use novanet_store::{Committed, Conn, PlanOwner, StoreError, Tx, audit};
use std::collections::BTreeMap;

/// The group that every project has, and instances are in when none is named.
pub const DEFAULT: &str = "default";

/// A group with its rules.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// The group.
    pub group: Group,
    /// Its rules.
    pub rules: Vec<SecurityRule>,
}

/// A source that is a group, with its project; its name is empty if it is another project's and the
/// caller has no say there.
pub type SourceNames = BTreeMap<GroupId, Group>;

impl Cloud {
    /// CreateSecurityGroup.
    pub async fn create_group(
        &self,
        caller: &Caller,
        name: &str,
        description: &str,
    ) -> Result<GroupId> {
        caller.require(Role::NetAdmin)?;
        check_text("GroupName", name)?;
        check_text("GroupDescription", description)?;
        let mut tx = self.db().begin_planned().await?;
        self.still_there(&mut tx, caller).await?;
        self.ensure_default_group(&mut tx, &caller.actor, &caller.project, &caller.actor.who)
            .await?;
        let used = groups::of_project(&mut tx, &caller.project).await?.len();
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        self.within_quota(&mut tx, &caller.project, Resource::SecurityGroups, used, 1)
            .await?;
        let inserted = groups::insert(
            &mut tx,
            &caller.project,
            &caller.actor.who,
            name,
            description,
        )
        .await;
        let id = match inserted {
            Err(StoreError::Conflict(_)) => {
                return Err(ControlError::exists(Kind::SecurityGroup, name));
            }
            other => other?,
        };
        record(&mut tx, caller, "security_group.create", id, name).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// DescribeSecurityGroups: the project's, with rules, and the groups that rules name.
    pub async fn groups(&self, caller: &Caller) -> Result<(Vec<GroupView>, SourceNames)> {
        if self.missing_default(&caller.project).await? {
            let mut tx = self.db().begin_planned().await?;
            self.still_there(&mut tx, caller).await?;
            self.ensure_default_group(&mut tx, &caller.actor, &caller.project, &caller.actor.who)
                .await?;
            tx.commit().await?;
        }
        let mut tx = self.db().read().await?;
        // As many statements for a hundred groups as for one.
        let mut rules: BTreeMap<GroupId, Vec<SecurityRule>> = BTreeMap::new();
        for rule in groups::rules_of_project(&mut tx, &caller.project).await? {
            rules.entry(rule.group).or_default().push(rule);
        }
        let own = groups::of_project(&mut tx, &caller.project).await?;
        let views = own
            .into_iter()
            .map(|group| GroupView {
                rules: rules.remove(&group.id).unwrap_or_default(),
                group,
            })
            .collect();
        let mut names = SourceNames::new();
        for mut source in groups::sources_of_project(&mut tx, &caller.project).await? {
            if !may_name(&mut tx, caller, &source.project).await? {
                source.name.clear();
            }
            names.insert(source.id, source);
        }
        Ok((views, names))
    }

    async fn missing_default(&self, project: &ProjectId) -> Result<bool> {
        let mut tx = self.db().read().await?;
        Ok(groups::by_name(&mut tx, project, DEFAULT).await?.is_none())
    }

    /// DeleteSecurityGroup.
    pub async fn delete_group(&self, caller: &Caller, group: &GroupRef) -> Result<()> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let group = find(&mut tx, caller, group).await?;
        let in_use = |why: String| Err(ControlError::in_use(Kind::SecurityGroup, &group.name, why));
        if group.name == DEFAULT {
            return in_use("every project has it; it cannot be deleted".to_owned());
        }
        let with = groups::members(&mut tx, group.id).await?;
        if let Some(first) = with.first() {
            return in_use(format!(
                "{} instances are in it, {first} among them",
                with.len()
            ));
        }
        let own = groups::of_project(&mut tx, &caller.project).await?;
        let (inside, outside): (Vec<_>, Vec<_>) = groups::rules_with_source(&mut tx, group.id)
            .await?
            .into_iter()
            .partition(|rule| own.iter().any(|g| g.id == rule.group));
        if let Some(rule) = inside.iter().find(|rule| rule.group != group.id) {
            return in_use(format!("a rule of group {} names it", rule.group));
        }
        let mut subjects = revoke_elsewhere(&mut tx, &caller.actor, outside).await?;
        groups::delete(&mut tx, group.id).await?;
        record(
            &mut tx,
            caller,
            "security_group.delete",
            group.id,
            &group.name,
        )
        .await?;
        subjects.push(Subject::PlanOwner(PlanOwner::Group(group.id)));
        self.plan(&mut tx, subjects).await?;
        tx.commit().await?;
        Ok(())
    }

    /// [`Cloud::authorize_described`] of rules without descriptions.
    pub async fn authorize(
        &self,
        caller: &Caller,
        group: &GroupRef,
        wanted: &[(Traffic, SourceRef)],
    ) -> Result<Committed> {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(traffic, source)| NewRule {
                traffic: *traffic,
                source: source.clone(),
                description: None,
            })
            .collect();
        let (committed, _) = self.authorize_described(caller, group, &wanted).await?;
        Ok(committed)
    }

    /// AuthorizeSecurityGroupIngress: all rules or none. Answers with the new rules and the groups
    /// that they name.
    pub async fn authorize_described(
        &self,
        caller: &Caller,
        group: &GroupRef,
        wanted: &[NewRule],
    ) -> Result<(Committed, GroupView)> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let group = find(&mut tx, caller, group).await?;
        let mut rules = groups::rules_of(&mut tx, group.id).await?;
        let used = i64::try_from(rules.len()).unwrap_or(i64::MAX);
        let more = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        self.within_quota(
            &mut tx,
            &caller.project,
            Resource::SecurityGroupRules,
            used,
            more,
        )
        .await?;
        let (mut subjects, mut added) = (Vec::new(), Vec::new());
        for NewRule {
            traffic,
            source,
            description,
        } in wanted
        {
            let source = resolve(&mut tx, caller, source).await?;
            if rules
                .iter()
                .any(|r| r.traffic == *traffic && r.source == source)
            {
                return Err(ControlError::exists(Kind::Rule, describe(*traffic, source)));
            }
            let mut rule = groups::insert_rule(&mut tx, group.id, *traffic, source).await?;
            if let Some(description) = description {
                check_description(description)?;
                groups::describe_rule(&mut tx, rule.id, description).await?;
                rule.description = Some(description.clone());
            }
            subjects.push(Subject::Rule(rule.clone()));
            added.push(rule.clone());
            rules.push(rule);
            subjects.extend(of_source(&mut tx, source).await?);
            let detail = describe(*traffic, source);
            record(
                &mut tx,
                caller,
                "security_group.authorize",
                group.id,
                &detail,
            )
            .await?;
        }
        self.plan(&mut tx, subjects).await?;
        let rules = added;
        Ok((tx.commit().await?, GroupView { group, rules }))
    }

    /// RevokeSecurityGroupIngress by the ids of rules: all or none. `group`: they must be its own.
    pub async fn revoke_by_id(
        &self,
        caller: &Caller,
        group: Option<&GroupRef>,
        unwanted: &[RuleId],
    ) -> Result<Committed> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let group = match group {
            Some(group) => Some(find(&mut tx, caller, group).await?.id),
            None => None,
        };
        let own = groups::rules_of_project(&mut tx, &caller.project).await?;
        let mut subjects = Vec::new();
        for id in unwanted {
            let of_id =
                |rule: &&SecurityRule| rule.id == *id && group.is_none_or(|g| rule.group == g);
            let Some(rule) = own.iter().find(of_id) else {
                let id = SecurityGroupRuleId(id.0);
                return Err(ControlError::not_found(Kind::Rule, id));
            };
            groups::delete_rule(&mut tx, rule.id).await?;
            subjects.push(Subject::NoRule(rule.id));
            subjects.extend(of_source(&mut tx, rule.source).await?);
            let detail = describe(rule.traffic, rule.source);
            let action = "security_group.revoke";
            record(&mut tx, caller, action, rule.group, &detail).await?;
        }
        self.plan(&mut tx, subjects).await?;
        Ok(tx.commit().await?)
    }

    /// RevokeSecurityGroupIngress: all rules or none.
    pub async fn revoke(
        &self,
        caller: &Caller,
        group: &GroupRef,
        unwanted: &[(Traffic, SourceRef)],
    ) -> Result<Committed> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let group = find(&mut tx, caller, group).await?;
        let rules = groups::rules_of(&mut tx, group.id).await?;
        let mut subjects = Vec::new();
        for (traffic, source) in unwanted {
            // The rule is the caller's, whatever group of whatever project it names.
            let named = lookup(&mut tx, caller, source).await?;
            let of_rule = |r: &&SecurityRule| r.traffic == *traffic && Some(r.source) == named;
            let Some(rule) = rules.iter().find(of_rule) else {
                let source = resolve(&mut tx, caller, source).await?;
                return Err(ControlError::not_found(
                    Kind::Rule,
                    describe(*traffic, source),
                ));
            };
            let source = rule.source;
            groups::delete_rule(&mut tx, rule.id).await?;
            subjects.push(Subject::NoRule(rule.id));
            subjects.extend(of_source(&mut tx, source).await?);
            let detail = describe(*traffic, source);
            record(&mut tx, caller, "security_group.revoke", group.id, &detail).await?;
        }
        self.plan(&mut tx, subjects).await?;
        Ok(tx.commit().await?)
    }

    /// The project's default group, made at first need: nothing in, members may talk to each other.
    pub(crate) async fn ensure_default_group(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        project: &ProjectId,
        user: &str,
    ) -> Result<GroupId> {
        if let Some(group) = groups::by_name(tx, project, DEFAULT).await? {
            return Ok(group.id);
        }
        let id = groups::insert(tx, project, user, DEFAULT, DEFAULT).await?;
        let source = Source::Group(id);
        groups::insert_rule(tx, id, Traffic::Any, source).await?;
        let rule = describe(Traffic::Any, source);
        for (action, detail) in [("create", DEFAULT), ("authorize", rule.as_str())] {
            let action = format!("security_group.{action}");
            let (project, object) = (Some(project.as_str()), id.to_string());
            audit::record(tx, actor, &action, project, &object, detail).await?;
        }
        Ok(id)
    }
}

/// A rule to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The source.
    pub source: SourceRef,
    /// What it is for: 1 to 255 printable characters.
    pub description: Option<String>,
}

fn check_description(text: &str) -> Result<()> {
    check_text("Description", text)
}

/// A group of the caller's project.
pub(crate) async fn find(c: &mut Conn, caller: &Caller, group: &GroupRef) -> Result<Group> {
    let found = match group {
        GroupRef::Id(id) => groups::by_id(c, *id)
            .await?
            .filter(|g| g.project == caller.project),
        GroupRef::Name(name) => groups::by_name(c, &caller.project, name).await?,
    };
    found.ok_or_else(|| ControlError::not_found(Kind::SecurityGroup, text(group)))
}

fn check_text(what: &'static str, value: &str) -> Result<()> {
    if value.is_empty() || value.len() > 255 || value.chars().any(char::is_control) {
        return Err(ModelError::new(what, value, "must be 1 to 255 printable characters").into());
    }
    Ok(())
}
