//! One host's own work, from the host object to the kernel's state: real subsystems of the agent in
//! a network namespace. Depends on `agent` and `lab`; there is no server and no instance.

mod bare;
mod dhcp;
mod float;
mod objects;
mod start;

use super::Measurement;
use anyhow::{Result, ensure};
use std::path::Path;

/// What the group measures.
pub(super) const FIGURES: &[Measurement<World>] = &[
    Measurement {
        name: "host/float",
        about: "one more floating IP, from host object to in force, at N = 10 and 10,000",
        run: float::run,
    },
    Measurement {
        name: "host/dhcp",
        about: "one more host in a network of 1,000, until dnsmasq answers for it",
        run: dhcp::run,
    },
    Measurement {
        name: "host/start",
        about: "start with 1,000 floating IPs and 200 ports to rules in force",
        run: start::run,
    },
];

/// Nothing is shared: every host is made for its measurement.
pub(super) struct World;

impl World {
    /// Fails without root: network namespaces need it.
    pub(super) fn new(_: &Path) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "makes network namespaces, which needs root"
        );
        Ok(Self)
    }
}
