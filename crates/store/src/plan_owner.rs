//! What owns host objects: a row, or a part of one that changes on its own.

use novanet_model::{
    BlockId, FloatingIpId, GroupId, InstanceId, ModelError, NetworkId, RuleId, VpnId,
};
use std::fmt;
use std::str::FromStr;

/// A row whose host objects are planned together; the `owner` column of `host_objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanOwner {
    /// Bridge, gateway, DHCP range.
    Network(NetworkId),
    /// The instance, its ports and bindings.
    Instance(InstanceId),
    /// The instance's addresses as a member of groups and its project.
    Membership(InstanceId),
    /// A floating IP.
    FloatingIp(FloatingIpId),
    /// A group's chain.
    Group(GroupId),
    /// A rule.
    Rule(RuleId),
    /// A project's VPN.
    Vpn(VpnId),
    /// A provider rule.
    Block(BlockId),
}

impl fmt::Display for PlanOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(id) => write!(f, "network:{id}"),
            Self::Instance(id) => write!(f, "instance:{}", id.0),
            Self::Membership(id) => write!(f, "membership:{}", id.0),
            Self::FloatingIp(id) => write!(f, "float:{id}"),
            Self::Group(id) => write!(f, "group:{}", id.0),
            Self::Rule(id) => write!(f, "rule:{id}"),
            Self::Vpn(id) => write!(f, "vpn:{id}"),
            Self::Block(id) => write!(f, "block:{id}"),
        }
    }
}

impl FromStr for PlanOwner {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let bad = || ModelError::new("thing", text, "must be kind:number");
        let (kind, id) = text.split_once(':').ok_or_else(bad)?;
        let id: i64 = id.parse().map_err(|_| bad())?;
        match kind {
            "network" => Ok(Self::Network(NetworkId(id))),
            "instance" => Ok(Self::Instance(InstanceId(id))),
            "membership" => Ok(Self::Membership(InstanceId(id))),
            "float" => Ok(Self::FloatingIp(FloatingIpId(id))),
            "group" => Ok(Self::Group(GroupId(id))),
            "rule" => Ok(Self::Rule(RuleId(id))),
            "vpn" => Ok(Self::Vpn(VpnId(id))),
            "block" => Ok(Self::Block(BlockId(id))),
            _ => Err(bad()),
        }
    }
}
