//! Rules of security groups, each with its id.

use super::{Answer, PermissionSource, next_token};
use crate::filter::Filterable;
use crate::xml::Xml;
use novanet_model::rule::Traffic;
use novanet_model::{GroupId, SecurityGroupRuleId};

/// A rule of a security group. All rules are of traffic that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroupRule {
    /// Id.
    pub id: SecurityGroupRuleId,
    /// Its group.
    pub group: GroupId,
    /// The project of its group.
    pub owner: String,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The source.
    pub source: PermissionSource,
    /// What it is for.
    pub description: Option<String>,
}

impl SecurityGroupRule {
    fn write(&self, xml: &mut Xml) {
        xml.value("securityGroupRuleId", self.id);
        xml.value("groupId", self.group);
        xml.text("groupOwnerId", &self.owner);
        xml.text("isEgress", "false");
        let (protocol, from, to) = self.traffic.to_ec2();
        xml.text("ipProtocol", protocol);
        xml.value("fromPort", from.unwrap_or(-1));
        xml.value("toPort", to.unwrap_or(-1));
        match &self.source {
            PermissionSource::Cidr(cidr) => xml.value("cidrIpv4", cidr),
            PermissionSource::Group { id, owner, .. } => {
                xml.element("referencedGroupInfo", |xml| {
                    xml.value("groupId", id);
                    xml.text("userId", owner);
                });
            }
        }
        xml.optional("description", self.description.as_ref());
        xml.empty("tagSet");
    }
}

impl Filterable for SecurityGroupRule {
    const NAMES: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "group-id" => vec![self.group.to_string()],
            "security-group-rule-id" => vec![self.id.to_string()],
            _ => Vec::new(),
        }
    }
}

fn write_rules(xml: &mut Xml, rules: &[SecurityGroupRule]) {
    xml.list("securityGroupRuleSet", rules, |xml, rule| rule.write(xml));
}

/// The answer to DescribeSecurityGroupRules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedSecurityGroupRules {
    /// The rules of this page.
    pub rules: Vec<SecurityGroupRule>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl Answer for DescribedSecurityGroupRules {
    fn action(&self) -> &'static str {
        "DescribeSecurityGroupRules"
    }

    fn write(&self, xml: &mut Xml) {
        write_rules(xml, &self.rules);
        next_token(xml, self.next_token.as_ref());
    }
}

/// The answer to AuthorizeSecurityGroupIngress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthorizedIngress(
    /// The new rules.
    pub Vec<SecurityGroupRule>,
);

impl Answer for AuthorizedIngress {
    fn action(&self) -> &'static str {
        "AuthorizeSecurityGroupIngress"
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("return", "true");
        if !xml.before("2016-11-15") {
            write_rules(xml, &self.0);
        }
    }
}
