//! Security groups and their rules.

use super::{Answer, next_token};
use crate::filter::Filterable;
use crate::xml::Xml;
use novanet_model::rule::Traffic;
use novanet_model::{GroupId, Ipv4Net};

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Id.
    pub id: GroupId,
    /// Project.
    pub owner: String,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Its rules. Those for the same traffic are written as one, with several sources.
    pub permissions: Vec<Permission>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The source.
    pub source: PermissionSource,
    /// What it is for.
    pub description: Option<String>,
}

/// One source of a traffic, and what it is for.
type Source<'a> = (&'a PermissionSource, Option<&'a String>);

/// The source of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionSource {
    /// Addresses.
    Cidr(Ipv4Net),
    /// A group.
    Group {
        /// Id.
        id: GroupId,
        /// Name.
        name: String,
        /// Project.
        owner: String,
    },
}

impl SecurityGroup {
    /// The rules by traffic, in the order in which each traffic first appears.
    fn by_traffic(&self) -> Vec<(Traffic, Vec<Source<'_>>)> {
        let mut out: Vec<(Traffic, Vec<Source<'_>>)> = Vec::new();
        for permission in &self.permissions {
            let source = (&permission.source, permission.description.as_ref());
            match out
                .iter_mut()
                .find(|(traffic, _)| *traffic == permission.traffic)
            {
                Some((_, sources)) => sources.push(source),
                None => out.push((permission.traffic, vec![source])),
            }
        }
        out
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("ownerId", &self.owner);
        if !xml.before("2011-01-01") {
            xml.value("groupId", self.id);
        }
        xml.text("groupName", &self.name);
        xml.text("groupDescription", &self.description);
        xml.list(
            "ipPermissions",
            self.by_traffic(),
            |xml, (traffic, from)| {
                write_permission(xml, traffic, &from);
            },
        );
        if !xml.before("2011-11-01") {
            // There are no rules for the way out: everything may leave.
            let everywhere = PermissionSource::Cidr(Ipv4Net::default());
            xml.list("ipPermissionsEgress", [Traffic::Any], |xml, traffic| {
                write_permission(xml, traffic, &[(&everywhere, None)]);
            });
            xml.empty("tagSet");
        }
    }
}

fn write_permission(xml: &mut Xml, traffic: Traffic, sources: &[Source<'_>]) {
    let (protocol, from, to) = traffic.to_ec2();
    xml.text("ipProtocol", protocol);
    xml.optional("fromPort", from);
    xml.optional("toPort", to);
    let says = !xml.before("2016-11-15");
    let groups = sources.iter().filter_map(|(source, about)| match source {
        PermissionSource::Group { id, name, owner } => Some((id, name, owner, about)),
        PermissionSource::Cidr(_) => None,
    });
    xml.list("groups", groups, |xml, (id, name, owner, about)| {
        xml.text("userId", owner);
        if !xml.before("2011-01-01") {
            xml.value("groupId", id);
        }
        xml.text("groupName", name);
        xml.optional("description", about.filter(|_| says));
    });
    let ranges = sources.iter().filter_map(|(source, about)| match source {
        PermissionSource::Cidr(cidr) => Some((cidr, about)),
        PermissionSource::Group { .. } => None,
    });
    xml.list("ipRanges", ranges, |xml, (cidr, about)| {
        xml.value("cidrIp", cidr);
        xml.optional("description", about.filter(|_| says));
    });
}

impl Filterable for SecurityGroup {
    const NAMES: &'static [&'static str] = &[
        "description",
        "group-id",
        "group-name",
        "ip-permission.cidr",
        "ip-permission.from-port",
        "ip-permission.group-id",
        "ip-permission.group-name",
        "ip-permission.protocol",
        "ip-permission.to-port",
        "owner-id",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let traffics = self.permissions.iter().map(|rule| rule.traffic.to_ec2());
        let sources = self.permissions.iter().map(|rule| &rule.source);
        match name {
            "description" => vec![self.description.clone()],
            "group-id" => vec![self.id.to_string()],
            "group-name" => vec![self.name.clone()],
            "owner-id" => vec![self.owner.clone()],
            "ip-permission.protocol" => traffics.map(|traffic| traffic.0.to_owned()).collect(),
            "ip-permission.from-port" => traffics
                .filter_map(|traffic| traffic.1.map(|port| port.to_string()))
                .collect(),
            "ip-permission.to-port" => traffics
                .filter_map(|traffic| traffic.2.map(|port| port.to_string()))
                .collect(),
            "ip-permission.cidr" => sources
                .filter_map(|source| match source {
                    PermissionSource::Cidr(cidr) => Some(cidr.to_string()),
                    PermissionSource::Group { .. } => None,
                })
                .collect(),
            "ip-permission.group-id" => sources
                .filter_map(|source| match source {
                    PermissionSource::Group { id, .. } => Some(id.to_string()),
                    PermissionSource::Cidr(_) => None,
                })
                .collect(),
            "ip-permission.group-name" => sources
                .filter_map(|source| match source {
                    PermissionSource::Group { name, .. } => Some(name.clone()),
                    PermissionSource::Cidr(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeSecurityGroups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedSecurityGroups {
    /// The groups of this page.
    pub groups: Vec<SecurityGroup>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl Answer for DescribedSecurityGroups {
    fn action(&self) -> &'static str {
        "DescribeSecurityGroups"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("securityGroupInfo", &self.groups, |xml, group| {
            group.write(xml);
        });
        next_token(xml, self.next_token.as_ref());
    }
}

/// The answer to CreateSecurityGroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedSecurityGroup(
    /// The new group.
    pub GroupId,
);

impl Answer for CreatedSecurityGroup {
    fn action(&self) -> &'static str {
        "CreateSecurityGroup"
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("return", "true");
        xml.value("groupId", self.0);
    }
}
