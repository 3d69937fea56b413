//! Types that the files of a launch share. Depends on rows and placement only.

use super::Launch;
use crate::placement::Place;
use crate::{Caller, ControlError};
use novanet_model::instance_type::InstanceType;
use novanet_model::rows::Network;
use novanet_model::{CombinationId, GroupId, InstanceId, VpnId};
use novanet_store::Committed;
use novanet_store::images::Image;
use novanet_store::key_pairs::KeyPair;
use novanet_store::pool::AllocatedIp;

/// A RunInstances call.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) launch: Launch,
    /// It launches the Cloudpipe of the caller's project: at the VPN's address, in its network only,
    /// outside of quotas, and only if there is none.
    pub(super) is_cloudpipe: bool,
}

/// The result of a call.
pub(super) enum Outcome {
    Done(Vec<InstanceId>, Committed),
    Refused(ControlError),
    /// Another attempt in a transaction of its own can succeed.
    RetryAlone,
}

/// Why [`Cloud::prepare`] has no plan for a call.
pub(super) enum PrepareError {
    Failed(ControlError),
    /// It would have to write before it is certain to succeed.
    RetryAlone,
    /// An earlier call with the same client token launched these.
    AlreadyLaunched(Vec<InstanceId>),
}

impl<E: Into<ControlError>> From<E> for PrepareError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A call that nothing refuses but a lack of addresses.
pub(super) struct Plan {
    pub(super) networks: Vec<Network>,
    pub(super) count: usize,
    pub(super) image: Image,
    pub(super) size: &'static InstanceType,
    pub(super) key: Option<KeyPair>,
    pub(super) groups: Vec<GroupId>,
    pub(super) combination: CombinationId,
    pub(super) places: Vec<Place>,
    pub(super) requested: Option<AllocatedIp>,
    /// The VPN whose Cloudpipe it becomes.
    pub(super) vpn: Option<VpnId>,
}
