//! What novanet is about, as types and pure functions: ids, addresses, networks, rules, flags,
//! the host objects that follow from rows, and the messages between server and agent.
//!
//! Must not know: I/O, async, clocks, SQL, HTTP. Everything here can be called from a property
//! test without a set-up.

pub mod carve;
pub mod cidr;
pub mod credentials;
pub mod dhcp_option;
mod error;
pub mod flags;
pub mod host_addresses;
pub mod ids;
pub mod ifname;
pub mod instance_type;
pub mod mac;
pub mod micros;
pub mod network;
pub mod object;
pub mod object_key;
pub mod plan;
pub mod quota;
pub mod rows;
pub mod rule;
pub mod wire;

pub use cidr::parse_cidr;
pub use credentials::Credentials;
pub use dhcp_option::DhcpOption;
pub use error::ModelError;
pub use host_addresses::HostAddresses;
pub use ids::{
    AllocationId, AmiId, AssociationId, BlockId, CombinationId, FixedIpId, FloatingIpId, GroupId,
    ImageId, InstanceId, NetworkId, ProjectId, ProjectNumber, ReservationId, RuleId,
    SecurityGroupRuleId, SubnetId, VpnId,
};
pub use ifname::IfName;
pub use ipnet::Ipv4Net;
pub use mac::MacAddr;
pub use micros::Micros;
pub use network::check_domain;
pub use network::{NetworkKind, NetworkSpec};
pub use object::HostObject;
pub use object_key::{ObjectKey, ObjectKind};
pub use quota::{Quotas, Resource};
