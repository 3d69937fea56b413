//! What an adoption takes from the host besides its instances: rules of groups, and where floating
//! IPs lead.

use super::Adoption;
use crate::Result;
use novanet_model::GroupId;
use novanet_model::object::FloatingIp;
use novanet_model::rule::Source;
use novanet_store::{PlanOwner, floating_ips, groups, instances};
use std::collections::BTreeSet;

impl Adoption<'_> {
    pub(super) async fn rules(&mut self, past: bool) -> Result<()> {
        let rules = std::mem::take(&mut self.held.rules);
        let known: BTreeSet<_> = rules.iter().map(|rule| rule.rule).collect();
        let of: BTreeSet<GroupId> = rules.iter().map(|rule| rule.group).collect();
        for rule in rules {
            let there = groups::rule_by_id(&mut self.tx, rule.rule).await?.is_some();
            let mut wanted = vec![rule.group];
            if let Source::Group(source) = rule.source {
                wanted.push(source);
            }
            let mut missing = None;
            for group in wanted {
                if groups::by_id(&mut self.tx, group).await?.is_none() {
                    missing = Some(group);
                }
            }
            let (id, group) = (rule.rule, rule.group);
            match missing {
                _ if there => {}
                Some(unknown) => self.done.push(format!(
                    "rule {id} of {group}: left out, the database does not know {unknown}"
                )),
                None => {
                    groups::insert_rule_as(&mut self.tx, id, group, rule.traffic, rule.source)
                        .await?;
                    self.done.push(format!("rule {id} of {group}: adopted"));
                }
            }
        }
        for group in of.into_iter().filter(|_| past) {
            for rule in groups::rules_of(&mut self.tx, group).await? {
                if !known.contains(&rule.id) {
                    groups::delete_rule(&mut self.tx, rule.id).await?;
                    self.owners.insert(PlanOwner::Rule(rule.id));
                    let id = rule.id;
                    self.done
                        .push(format!("rule {id} of {group}: revoked, as on the host"));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn floats(&mut self, past: bool) -> Result<()> {
        let held = std::mem::take(&mut self.held.floats);
        for float in floating_ips::list(&mut self.tx).await? {
            let here = float.fixed.as_ref().and_then(|f| f.host.as_deref()) == Some(self.host);
            let kept = held.iter().any(|h| h.address == float.address);
            if past && here && !kept {
                floating_ips::point(&mut self.tx, float.id, None).await?;
                self.owners.insert(PlanOwner::FloatingIp(float.id));
                let address = float.address;
                self.done.push(format!(
                    "floating IP {address}: disassociated, as on the host"
                ));
            }
        }
        for float in held {
            let line = match self.float(float).await? {
                Ok(line) => line,
                Err(why) => Some(format!("left out: {why}")),
            };
            let address = float.address;
            self.done
                .extend(line.map(|line| format!("floating IP {address}: {line}")));
        }
        Ok(())
    }

    /// Leads a floating IP where the host leads it; `None`: it does already.
    async fn float(&mut self, held: &FloatingIp) -> Result<Result<Option<String>, String>> {
        let FloatingIp { address, fixed, .. } = *held;
        let unknown = format!("nobody has {fixed}");
        let Some(owner) = self.held.owners.get(&fixed).copied() else {
            return Ok(Err(unknown));
        };
        let Some(target) = instances::target(&mut self.tx, owner).await? else {
            return Ok(Err(unknown));
        };
        let Some((fixed_id, _)) = target.addresses.iter().find(|(_, ip)| *ip == fixed) else {
            return Ok(Err(unknown));
        };
        let mut row = floating_ips::by_address(&mut self.tx, address).await?;
        if row.is_none() {
            let pool = &self.cloud.config().floating_pool;
            let interface = held.interface.as_ref();
            floating_ips::insert(&mut self.tx, &[address], pool, interface).await?;
            row = floating_ips::by_address(&mut self.tx, address).await?;
        }
        let Some(row) = row else {
            return Ok(Err("its row could not be made".to_owned()));
        };
        match &row.project {
            None => {
                floating_ips::take(&mut self.tx, address, "", &target.project).await?;
            }
            Some(project) if *project != target.project => {
                return Ok(Err(format!("it is project {project}'s in the database")));
            }
            Some(_) => {}
        }
        if row.fixed.as_ref().is_some_and(|f| f.address == fixed) {
            return Ok(Ok(None));
        }
        floating_ips::point(&mut self.tx, row.id, Some(*fixed_id)).await?;
        self.owners.insert(PlanOwner::FloatingIp(row.id));
        Ok(Ok(Some(format!("adopted, leads to {owner} {fixed}"))))
    }
}
