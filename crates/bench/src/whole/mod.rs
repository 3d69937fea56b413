//! The whole way: `novanet up` on a host of a sandbox, EC2 calls by a signed client of this
//! process, packets from the host and from the internet beside it. The sandbox is made once; what a
//! measurement needs of it (so many instances, so many addresses), it sees to itself. The last one
//! brings a host that only says hello: what is removed after that is never gone everywhere.

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
