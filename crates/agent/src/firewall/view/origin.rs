//! The cloud's objects behind an item of the firewall: instance, project, group, rule, floating IP.
//! Depends on the items and on the claims of the desired state.

use crate::firewall::nft::item::{ElementKey, Key, Set, Value};
use crate::firewall::nft::types::Wanted;
use novanet_model::{GroupId, InstanceId, ProjectNumber, RuleId};
use novanet_reconcile::Origin as Claim;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

/// Where a line comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    floating_ip: Option<Ipv4Addr>,
    instance: Option<InstanceId>,
    project: Option<ProjectNumber>,
    group: Option<(GroupId, Option<String>)>,
    rule: Option<RuleId>,
    /// Of an item that none of these explains: the item itself.
    other: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.as_ref().map(|(group, name)| match name {
            Some(name) => format!("{group} {}", name.escape_default()),
            None => group.to_string(),
        });
        let parts = [
            self.floating_ip
                .map(|address| format!("floating IP {address}")),
            self.instance.map(|instance| instance.to_string()),
            group,
            self.rule.map(|rule| format!("rule {rule}")),
            self.project.map(|project| format!("project {project}")),
            self.other.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

impl Origin {
    pub(super) fn of_instance(instance: InstanceId) -> Self {
        Self {
            instance: Some(instance),
            ..Self::default()
        }
    }

    /// Its parts, for programs.
    pub(super) fn json(&self) -> impl Iterator<Item = (String, serde_json::Value)> {
        let text = |text: String| serde_json::Value::from(text);
        let (group, name) = self.group.clone().unzip();
        let parts = [
            ("floating_ip", self.floating_ip.map(|a| text(a.to_string()))),
            ("instance", self.instance.map(|i| text(i.to_string()))),
            ("group", group.map(|g| text(g.to_string()))),
            ("group_name", name.flatten().map(text)),
            ("rule", self.rule.map(|rule| rule.0.into())),
            ("project", self.project.map(|project| project.0.into())),
            ("item", self.other.clone().map(text)),
        ];
        let there = |(name, value): (&str, Option<_>)| Some((name.to_owned(), value?));
        parts.into_iter().filter_map(there)
    }
}

/// What the items of a host say about addresses and groups.
pub(super) struct Index {
    /// Ports of this host by address.
    ports: BTreeMap<Ipv4Addr, InstanceId>,
    /// Their addresses by the key of their object.
    objects: BTreeMap<String, Ipv4Addr>,
    projects: BTreeMap<Ipv4Addr, ProjectNumber>,
    groups: BTreeMap<GroupId, (Option<String>, Option<ProjectNumber>)>,
    floats: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

impl Index {
    pub(super) fn new(items: &BTreeMap<Key, Value>, desired: &Wanted) -> Self {
        let mut index = Self {
            ports: BTreeMap::new(),
            objects: BTreeMap::new(),
            projects: BTreeMap::new(),
            groups: BTreeMap::new(),
            floats: BTreeMap::new(),
        };
        for (key, value) in items {
            match (key, value) {
                (Key::Element(Set::FixedIps, ElementKey::Address(address)), _) => {
                    for (object, instance) in ports(desired, key) {
                        index.ports.insert(*address, instance);
                        index.objects.insert(object.to_owned(), *address);
                    }
                }
                (Key::Element(Set::Project(project), ElementKey::Address(address)), _) => {
                    index.projects.insert(*address, *project);
                }
                (
                    Key::Element(Set::FloatingToFixed, ElementKey::Address(floating)),
                    Value::Address(fixed),
                ) => {
                    index.floats.insert(*floating, *fixed);
                }
                (Key::Group(group), Value::Project(project)) => {
                    index.groups.entry(*group).or_default().1 = Some(*project);
                }
                (Key::GroupName(group), Value::Name(name)) => {
                    index.groups.entry(*group).or_default().0 = Some(name.clone());
                }
                _ => {}
            }
        }
        index
    }

    /// The instance with this address on this host.
    pub(super) fn port(&self, address: Ipv4Addr) -> Option<InstanceId> {
        self.ports.get(&address).copied()
    }

    /// The addresses of an instance on this host.
    pub(super) fn addresses(&self, instance: InstanceId) -> impl Iterator<Item = Ipv4Addr> {
        let of_instance = self.ports.iter().filter(move |(_, i)| **i == instance);
        of_instance.map(|(address, _)| *address)
    }

    /// The addresses of the ports that claim an item.
    pub(super) fn objects(&self, desired: &Wanted, key: &Key) -> Vec<Ipv4Addr> {
        let ports = ports(desired, key).into_iter();
        ports
            .filter_map(|(object, _)| self.objects.get(object).copied())
            .collect()
    }

    /// Where an item comes from.
    pub(super) fn origin(&self, key: &Key, value: Option<&Value>) -> Origin {
        let mut origin = match key {
            Key::Element(set, element) => self.of_element(*set, element, value),
            Key::Chain(group)
            | Key::Group(group)
            | Key::GroupName(group)
            | Key::Set(Set::Members(group)) => self.of_group(*group),
            Key::Rule(group, rule) => Origin {
                rule: Some(*rule),
                ..self.of_group(*group)
            },
            Key::Set(Set::Project(project)) => Origin {
                project: Some(*project),
                ..Origin::default()
            },
            _ => Origin::default(), // what the item's own name says
        };
        if origin == Origin::default() {
            origin.other = Some(key.to_string());
        }
        origin
    }

    fn of_group(&self, group: GroupId) -> Origin {
        let (name, project) = self.groups.get(&group).cloned().unwrap_or_default();
        Origin {
            group: Some((group, name)),
            project,
            ..Origin::default()
        }
    }

    fn of_address(&self, address: Ipv4Addr) -> Origin {
        Origin {
            instance: self.port(address),
            project: self.projects.get(&address).copied(),
            ..Origin::default()
        }
    }

    fn of_element(&self, set: Set, element: &ElementKey, value: Option<&Value>) -> Origin {
        match (set, element, value) {
            (Set::FloatingToFixed | Set::FloatingIps, ElementKey::Address(floating), _) => Origin {
                floating_ip: Some(*floating),
                ..self
                    .floats
                    .get(floating)
                    .map_or_else(Origin::default, |fixed| self.of_address(*fixed))
            },
            (Set::FixedToFloating, ElementKey::Address(fixed), Some(Value::Address(floating))) => {
                Origin {
                    floating_ip: Some(*floating),
                    ..self.of_address(*fixed)
                }
            }
            (Set::Members(group), ElementKey::Address(address), _) => {
                let of_address = self.of_address(*address);
                Origin {
                    instance: of_address.instance,
                    ..self.of_group(group)
                }
            }
            (Set::Project(project), ElementKey::Address(address), _) => Origin {
                project: Some(project),
                ..self.of_address(*address)
            },
            (
                _,
                ElementKey::Address(address) | ElementKey::InterfaceMacAddress(_, _, address),
                _,
            ) => self.of_address(*address),
            (_, ElementKey::InterfaceMac(name, _), _) => Origin {
                instance: of_port_name(name.as_str()),
                ..Origin::default()
            },
            _ => Origin::default(),
        }
    }
}

/// The instance of a port, from the port's name (`nv1a`, `nv1a.1`).
fn of_port_name(name: &str) -> Option<InstanceId> {
    let hex = name.strip_prefix("nv")?.split('.').next()?;
    i64::from_str_radix(hex, 16).ok().map(InstanceId)
}

/// The ports that claim an item, by the keys of their objects.
fn ports<'a>(desired: &'a Wanted, key: &Key) -> Vec<(&'a str, InstanceId)> {
    let port = |claim: &'a Claim| {
        let Claim::Object(object) = claim else {
            return None;
        };
        let number = object.0.strip_prefix("port/")?.split('/').next()?;
        Some((&object.0[..], InstanceId(number.parse().ok()?)))
    };
    desired.origins(key).filter_map(port).collect()
}
