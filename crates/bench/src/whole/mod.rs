//! The whole system: `novanet up` on a host of a sandbox, EC2 calls by a signed client of this
//! process, packets from the host and from the internet beside it.
//!
//! The sandbox is made once; each measurement makes the instances and addresses that it needs. The
//! last one adds a host that only says hello, which would keep later removals from ending.

mod associate;
mod launch;
mod ping;
mod removal;
mod restart;
mod world;

use super::Measurement;

pub(super) use world::World;

/// What the group measures.
pub(super) const FIGURES: &[Measurement<World>] = &[
    Measurement {
        name: "whole/launch",
        about: "RunInstances call to first ping, one and 50 at once",
        run: launch::run,
    },
    Measurement {
        name: "whole/restart",
        about: "restart with 50 running instances and a running ping",
        run: restart::run,
    },
    Measurement {
        name: "whole/removal",
        about: "removal of 100 instances",
        run: removal::run,
    },
    Measurement {
        name: "whole/associate",
        about: "AssociateAddress call to reachable from outside; 1,000 allocate and associate",
        run: associate::run,
    },
];
