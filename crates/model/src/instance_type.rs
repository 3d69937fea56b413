//! Instance types: nova's five, which its first database migration inserts.

use serde::Serialize;

/// A size of instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// Its name, e.g. `m1.tiny`.
    pub name: &'static str,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Virtual processors.
    pub vcpus: u32,
    /// Local disk in GiB (0 = as the image).
    pub local_gb: u32,
    /// nova's `flavorid`.
    pub flavor_id: u32,
}

/// All types, smallest first (figures: nova 2011.3, `instance_types` table).
pub const INSTANCE_TYPES: [InstanceType; 5] = [
    InstanceType {
        name: "m1.tiny",
        memory_mb: 512,
        vcpus: 1,
        local_gb: 0,
        flavor_id: 1,
    },
    InstanceType {
        name: "m1.small",
        memory_mb: 2048,
        vcpus: 1,
        local_gb: 20,
        flavor_id: 2,
    },
    InstanceType {
        name: "m1.medium",
        memory_mb: 4096,
        vcpus: 2,
        local_gb: 40,
        flavor_id: 3,
    },
    InstanceType {
        name: "m1.large",
        memory_mb: 8192,
        vcpus: 4,
        local_gb: 80,
        flavor_id: 4,
    },
    InstanceType {
        name: "m1.xlarge",
        memory_mb: 16384,
        vcpus: 8,
        local_gb: 160,
        flavor_id: 5,
    },
];

/// The type of this name.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name)
}
