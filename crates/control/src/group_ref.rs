//! Names of groups and texts of rules, for the use cases of both. Depends on the model only.

use novanet_model::GroupId;
use novanet_model::rule::{Source, Traffic};

/// A group as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRef {
    /// By id.
    Id(GroupId),
    /// By name in the caller's project.
    Name(String),
}

pub(crate) fn text(group: &GroupRef) -> String {
    match group {
        GroupRef::Id(id) => id.to_string(),
        GroupRef::Name(name) => name.clone(),
    }
}

pub(crate) fn describe(traffic: Traffic, source: Source) -> String {
    let (protocol, from, to) = traffic.to_ec2();
    let ports = match (from, to) {
        (Some(from), Some(to)) => format!(" {from} to {to}"),
        _ => String::new(),
    };
    match source {
        Source::Cidr(cidr) => format!("{protocol}{ports} from {cidr}"),
        Source::Group(group) => format!("{protocol}{ports} from {group}"),
    }
}
