//! The resources that a quota limits, and the limits of the flags. A new resource does not compile
//! until it has a limit. Pure types.

use std::fmt;

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Living instances.
    Instances,
    /// Their virtual processors.
    Cores,
    /// Their memory in MiB.
    Ram,
    /// Fixed addresses of living instances.
    FixedIps,
    /// Allocated floating addresses.
    FloatingIps,
    /// Security groups.
    SecurityGroups,
    /// Rules of one security group.
    SecurityGroupRules,
    /// Key pairs.
    KeyPairs,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 8] = [
        Self::Instances,
        Self::Cores,
        Self::Ram,
        Self::FixedIps,
        Self::FloatingIps,
        Self::SecurityGroups,
        Self::SecurityGroupRules,
        Self::KeyPairs,
    ];

    /// The value of the column `quotas.resource`; also the word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Cores => "cores",
            Self::Ram => "ram",
            Self::FixedIps => "fixed_ips",
            Self::FloatingIps => "floating_ips",
            Self::SecurityGroups => "security_groups",
            Self::SecurityGroupRules => "security_group_rules",
            Self::KeyPairs => "key_pairs",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Limits of a project from the flags `quota_*`; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Instances.
    pub instances: Option<u32>,
    /// Processors.
    pub cores: Option<u32>,
    /// Memory in MiB.
    pub ram_mb: Option<u32>,
    /// Floating addresses.
    pub floating_ips: Option<u32>,
    /// Fixed addresses.
    pub fixed_ips: Option<u32>,
    /// Security groups.
    pub security_groups: Option<u32>,
    /// Rules of one security group.
    pub security_group_rules: Option<u32>,
    /// Key pairs.
    pub key_pairs: Option<u32>,
}

impl Quotas {
    /// The limit of a resource; `None` is no limit.
    pub fn limit(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Instances => self.instances,
            Resource::Cores => self.cores,
            Resource::Ram => self.ram_mb,
            Resource::FixedIps => self.fixed_ips,
            Resource::FloatingIps => self.floating_ips,
            Resource::SecurityGroups => self.security_groups,
            Resource::SecurityGroupRules => self.security_group_rules,
            Resource::KeyPairs => self.key_pairs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_a_limit_of_its_own() {
        let quotas = Quotas {
            instances: Some(0),
            cores: Some(1),
            ram_mb: Some(2),
            fixed_ips: Some(3),
            floating_ips: Some(4),
            security_groups: Some(5),
            security_group_rules: Some(6),
            key_pairs: Some(7),
        };
        let limits = Resource::ALL.map(|resource| quotas.limit(resource));
        assert_eq!(limits, [0, 1, 2, 3, 4, 5, 6, 7].map(Some));
        let names: std::collections::BTreeSet<_> = Resource::ALL.map(Resource::as_str).into();
        assert_eq!(names.len(), Resource::ALL.len());
    }
}
