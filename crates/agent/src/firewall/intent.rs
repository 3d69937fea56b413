//! What the firewall of a host is for, in the words of the cloud: the host objects that it renders.
//! Depends on the model only; each backend renders an intent in its own way.

use novanet_model::HostObject;
use novanet_model::object::{
    Block, Dhcp, FloatingIp, Gateway, Group, Member, Port, ProjectAddress, Rule, VpnForward,
};

/// One thing that the firewall must provide. A new kind is an error in every backend until the
/// backend renders it.
#[derive(Debug, Clone, Copy)]
pub enum Intent<'a> {
    /// A network of this host: its range is ours, its gateway serves DNS, and instances leave it by
    /// NAT.
    Gateway(&'a Gateway),
    /// A network of this host whose gateway is another machine: the host serves DHCP, DNS and
    /// metadata in it, and forwards nothing from it.
    Unrouted(&'a Dhcp),
    /// A floating IP stands for a fixed IP, in both directions.
    FloatingIp(&'a FloatingIp),
    /// A security group: its project, and its name for comments. Its project's VPN clients reach
    /// its members without a rule.
    Group(&'a Group),
    /// A rule of a group lets traffic in.
    Rule(&'a Rule),
    /// No instance hears this traffic, whatever its groups accept.
    Block(&'a Block),
    /// An address is a member of a group that is the source of a rule.
    Member(&'a Member),
    /// An address belongs to a project: other projects' addresses need a rule with a source group.
    ProjectAddress(&'a ProjectAddress),
    /// A port passes what its MAC, addresses and groups allow, and nothing else. Behind a
    /// Cloudpipe's port are its VPN clients too: with any MAC that is no instance's, and with an
    /// address of theirs. To others, a client is a member of the Cloudpipe's groups.
    Port(&'a Port),
    /// A public UDP port leads to a Cloudpipe, for packets from outside and from the host itself.
    VpnForward(&'a VpnForward),
}

impl<'a> Intent<'a> {
    /// `None`: the object is no concern of the firewall.
    pub fn of(object: &'a HostObject) -> Option<Self> {
        match object {
            HostObject::Gateway(o) => Some(Self::Gateway(o)),
            HostObject::FloatingIp(o) => Some(Self::FloatingIp(o)),
            HostObject::Group(o) => Some(Self::Group(o)),
            HostObject::Rule(o) => Some(Self::Rule(o)),
            HostObject::Block(o) => Some(Self::Block(o)),
            HostObject::Member(o) => Some(Self::Member(o)),
            HostObject::ProjectAddress(o) => Some(Self::ProjectAddress(o)),
            HostObject::Port(o) => Some(Self::Port(o)),
            HostObject::Dhcp(o) if o.router.is_some() => Some(Self::Unrouted(o)),
            HostObject::VpnForward(o) => Some(Self::VpnForward(o)),
            HostObject::Bridge(_)
            | HostObject::Dhcp(_)
            | HostObject::Binding(_)
            | HostObject::Instance(_) => None,
        }
    }
}
