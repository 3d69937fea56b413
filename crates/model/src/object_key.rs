//! Keys and kinds of host objects. A new kind does not compile until each right, limit and order
//! that depends on kinds has an answer for it. Depends on ids only.

use crate::NetworkId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The key of a host object, unique on its host: `kind/part/part`. Sorts by kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectKey(pub String);

impl ObjectKey {
    /// The key under which a host reports that it refuses a network as a whole.
    pub fn of_network(network: NetworkId) -> Self {
        Self(format!("network/{network}"))
    }

    /// The kind of the object; `None`: a newer server's kind, or [`ObjectKey::of_network`].
    pub fn kind(&self) -> Option<ObjectKind> {
        let word = self.0.split('/').next().unwrap_or_default();
        let mut all = ObjectKind::ALL.into_iter();
        all.find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of host objects, one for each variant of [`HostObject`](crate::HostObject).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // as the variants of `HostObject`
pub enum ObjectKind {
    Bridge,
    Gateway,
    Dhcp,
    Binding,
    FloatingIp,
    Group,
    Rule,
    Block,
    Member,
    ProjectAddress,
    Port,
    Instance,
    VpnForward,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Bridge,
        Self::Gateway,
        Self::Dhcp,
        Self::Binding,
        Self::FloatingIp,
        Self::Group,
        Self::Rule,
        Self::Block,
        Self::Member,
        Self::ProjectAddress,
        Self::Port,
        Self::Instance,
        Self::VpnForward,
    ];

    /// The first word of its keys, and the value of the column `host_objects.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Gateway => "gateway",
            Self::Dhcp => "dhcp",
            Self::Binding => "binding",
            Self::FloatingIp => "float",
            Self::Group => "group",
            Self::Rule => "rule",
            Self::Block => "block",
            Self::Member => "member",
            Self::ProjectAddress => "project",
            Self::Port => "port",
            Self::Instance => "instance",
            Self::VpnForward => "vpn",
        }
    }

    /// Whether objects of other kinds need this one on the host. An agent removes such an object
    /// only after the objects that need it.
    pub fn is_structural(self) -> bool {
        match self {
            Self::Bridge
            | Self::Gateway
            | Self::Dhcp
            | Self::Binding
            | Self::Group
            | Self::Port
            | Self::Instance => true,
            Self::FloatingIp
            | Self::Rule
            | Self::Block
            | Self::Member
            | Self::ProjectAddress
            | Self::VpnForward => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_kind_and_an_unknown_word_has_none() {
        for kind in ObjectKind::ALL {
            let key = ObjectKey(format!("{}/1/2", kind.as_str()));
            assert_eq!(key.kind(), Some(kind));
        }
        assert_eq!(ObjectKey::of_network(NetworkId(1)).kind(), None);
        assert_eq!(ObjectKey("floats/1".to_owned()).kind(), None);
    }
}
