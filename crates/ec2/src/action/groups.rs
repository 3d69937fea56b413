//! Security groups and their rules, in both spellings: the flat one of 2009 and
//! `IpPermissions.N` of 2011.

use super::names;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use crate::filter::Filter;
use crate::page::Page;
use novanet_model::rule::Traffic;
use novanet_model::{GroupId, Ipv4Net, ProjectId, SecurityGroupRuleId};

/// A security group as clients name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupRef {
    /// By name, within a project.
    Name(String),
    /// By id.
    Id(GroupId),
}

impl std::fmt::Display for GroupRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl GroupRef {
    /// Reads `GroupId` or `GroupName`; `None` if neither is there.
    fn optional(fields: &Fields<'_>, id: &str, name: &str) -> Result<Option<Self>, Ec2Error> {
        match (
            fields.id(id, Code::InvalidGroupIdMalformed)?,
            fields.get(name),
        ) {
            (Some(_), Some(_)) => Err(Ec2Error::new(
                Code::InvalidParameterCombination,
                format!(
                    "The parameters {} and {} cannot be used together.",
                    fields.name_of(id),
                    fields.name_of(name)
                ),
            )),
            (Some(id), None) => Ok(Some(Self::Id(id))),
            (None, Some(name)) => Ok(Some(Self::Name(name.to_owned()))),
            (None, None) => Ok(None),
        }
    }

    fn required(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        Self::optional(fields, "GroupId", "GroupName")?
            .ok_or_else(|| Ec2Error::missing("GroupId or GroupName"))
    }
}

/// CreateSecurityGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSecurityGroup {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
}

impl CreateSecurityGroup {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["VpcId", "TagSpecification"])?;
        let name = text(fields, "GroupName")?;
        let is_id = name
            .strip_prefix("sg-")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_id {
            return Err(fields.invalid("GroupName", &name, "must not look like a group id"));
        }
        let description = text(fields, "GroupDescription")?;
        Ok(Self { name, description })
    }
}

/// EC2's characters for names and descriptions of groups and rules.
fn text(fields: &Fields<'_>, name: &str) -> Result<String, Ec2Error> {
    let value = fields.require(name)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if value.len() > 255 || value.trim() != value || !value.chars().all(fits) {
        return Err(fields.invalid(
            name,
            value,
            "must be 1 to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(value.to_owned())
}

/// DescribeSecurityGroups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeSecurityGroups {
    /// Only these; one that does not exist is an error.
    pub groups: Vec<GroupRef>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Which page.
    pub page: Page,
}

impl DescribeSecurityGroups {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let by_name = names(fields, "GroupName")?.into_iter().map(GroupRef::Name);
        let by_id = fields.ids("GroupId", Code::InvalidGroupIdMalformed)?;
        Ok(Self {
            groups: by_name.chain(by_id.into_iter().map(GroupRef::Id)).collect(),
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}

/// DeleteSecurityGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteSecurityGroup {
    /// The group.
    pub group: GroupRef,
}

impl DeleteSecurityGroup {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        GroupRef::required(fields).map(|group| Self { group })
    }
}

/// AuthorizeSecurityGroupIngress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressChange {
    /// The group.
    pub group: GroupRef,
    /// The rules to add, at least one.
    pub rules: Vec<IngressRule>,
}

/// RevokeSecurityGroupIngress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressRevocation {
    /// By what the rules say.
    Rules(IngressChange),
    /// By their ids.
    Ids {
        /// The group whose rules they must be; `None`: any of the project's.
        group: Option<GroupRef>,
        /// The rules, at least one.
        ids: Vec<SecurityGroupRuleId>,
    },
}

/// DescribeSecurityGroupRules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeSecurityGroupRules {
    /// Only these; one that does not exist is an error.
    pub ids: Vec<SecurityGroupRuleId>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Which page.
    pub page: Page,
}

impl DescribeSecurityGroupRules {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        Ok(Self {
            ids: fields.ids(RULE_ID, Code::InvalidSecurityGroupRuleIdMalformed)?,
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}

const RULE_ID: &str = "SecurityGroupRuleId";

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The source.
    pub source: IngressSource,
    /// What it is for.
    pub description: Option<String>,
}

/// The source of a rule, as clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressSource {
    /// Addresses; host bits are cut off, as EC2 does.
    Cidr(Ipv4Net),
    /// The members of a group.
    Group {
        /// The group.
        group: GroupRef,
        /// The project whose group it is; `None` = the caller's.
        owner: Option<ProjectId>,
    },
}

impl IngressRevocation {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let ids = fields.ids(RULE_ID, Code::InvalidSecurityGroupRuleIdMalformed)?;
        if ids.is_empty() {
            return IngressChange::parse(fields).map(Self::Rules);
        }
        for other in [
            "IpPermissions",
            "IpProtocol",
            "CidrIp",
            "SourceSecurityGroupName",
        ] {
            if fields.has(other) {
                return Err(Ec2Error::new(
                    Code::InvalidParameterCombination,
                    format!("The parameters {RULE_ID} and {other} cannot be used together."),
                ));
            }
        }
        let group = GroupRef::optional(fields, "GroupId", "GroupName")?;
        Ok(Self::Ids { group, ids })
    }
}

impl IngressChange {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["TagSpecification"])?;
        let group = GroupRef::required(fields)?;
        let permissions = fields.items("IpPermissions")?;
        let mut rules = Vec::new();
        for permission in &permissions {
            structured(permission, &mut rules)?;
        }
        if permissions.is_empty() {
            rules.push(flat(fields)?);
        }
        Ok(Self { group, rules })
    }
}

/// `IpProtocol`, `FromPort`, `ToPort`, `CidrIp`, `SourceSecurityGroupName`, all at the top.
fn flat(fields: &Fields<'_>) -> Result<IngressRule, Ec2Error> {
    let source_group = fields.get("SourceSecurityGroupName");
    let traffic = match (fields.get("IpProtocol"), source_group) {
        (None, Some(_)) => Traffic::Any,
        (None, None) => return Err(Ec2Error::missing("IpProtocol")),
        (Some(_), _) => traffic(fields)?,
    };
    let source = match (fields.get("CidrIp"), source_group) {
        (Some(_), Some(_)) => {
            return Err(Ec2Error::new(
                Code::InvalidParameterCombination,
                "The parameters CidrIp and SourceSecurityGroupName cannot be used together.",
            ));
        }
        (Some(cidr), None) => IngressSource::Cidr(parse_cidr(fields, "CidrIp", cidr)?),
        (None, Some(name)) => IngressSource::Group {
            group: GroupRef::Name(name.to_owned()),
            owner: owner(fields, "SourceSecurityGroupOwnerId")?,
        },
        (None, None) => IngressSource::Cidr(Ipv4Net::default()),
    };
    Ok(IngressRule {
        traffic,
        source,
        description: None,
    })
}

/// One member of `IpPermissions`: one traffic, any number of sources.
fn structured(fields: &Fields<'_>, rules: &mut Vec<IngressRule>) -> Result<(), Ec2Error> {
    for unsupported in ["Ipv6Ranges", "PrefixListIds"] {
        fields.refuse(&[unsupported])?;
    }
    fields.require("IpProtocol")?;
    let traffic = traffic(fields)?;
    let before = rules.len();
    for range in fields.items("IpRanges")? {
        let cidr = range.require("CidrIp")?;
        let source = IngressSource::Cidr(parse_cidr(&range, "CidrIp", cidr)?);
        rules.push(IngressRule {
            traffic,
            source,
            description: description(&range)?,
        });
    }
    for pair in fields.items("Groups")? {
        let group = GroupRef::optional(&pair, "GroupId", "GroupName")?
            .ok_or_else(|| Ec2Error::missing(&pair.name_of("GroupId")))?;
        let owner = owner(&pair, "UserId")?;
        let source = IngressSource::Group { group, owner };
        rules.push(IngressRule {
            traffic,
            source,
            description: description(&pair)?,
        });
    }
    if rules.len() == before {
        // euca2ools 1.3 on boto 2.1 sends none and means all addresses.
        let source = IngressSource::Cidr(Ipv4Net::default());
        rules.push(IngressRule {
            traffic,
            source,
            description: None,
        });
    }
    Ok(())
}

/// What a rule is for; empty counts as not said.
fn description(fields: &Fields<'_>) -> Result<Option<String>, Ec2Error> {
    match fields.get("Description") {
        None | Some("") => Ok(None),
        Some(_) => text(fields, "Description").map(Some),
    }
}

fn traffic(fields: &Fields<'_>) -> Result<Traffic, Ec2Error> {
    Traffic::parse(
        fields.require("IpProtocol")?,
        fields.number("FromPort")?,
        fields.number("ToPort")?,
    )
    .map_err(|error| Ec2Error::from_model(Code::InvalidParameterValue, &error))
}

fn parse_cidr(fields: &Fields<'_>, name: &str, text: &str) -> Result<Ipv4Net, Ec2Error> {
    novanet_model::parse_cidr(text)
        .map(|net| net.trunc())
        .ok_or_else(|| fields.invalid(name, text, "must look like 10.0.0.0/24"))
}

/// The owner of a source group; nova's clients may write `user:project`.
fn owner(fields: &Fields<'_>, name: &str) -> Result<Option<ProjectId>, Ec2Error> {
    fields
        .get(name)
        .map(|text| {
            let project = text.rsplit_once(':').map_or(text, |(_, project)| project);
            crate::fields::parse_id(project, Code::InvalidParameterValue)
        })
        .transpose()
}
