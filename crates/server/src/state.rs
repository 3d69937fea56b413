//! The state that all handlers share. Depends on the cloud, the questions, the regions and the
//! gates.

use crate::lockout::Lockouts;
use crate::questions::Questions;
use crate::regions::Regions;
use novanet_control::Cloud;
use novanet_http::Gate;

/// Shared by all handlers of both listeners.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) cloud: Cloud,
    pub(crate) questions: Questions,
    pub(crate) regions: Regions,
    pub(crate) lockouts: Lockouts,
    /// The EC2 API's connections.
    pub(crate) ec2_gate: Gate,
    /// The agent API's.
    pub(crate) agent_gate: Gate,
}
