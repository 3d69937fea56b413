//! The one action of STS, the security token service: whose credentials a request is signed with.

use crate::error::Ec2Error;
use crate::fields::Fields;

/// GetCallerIdentity. It has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetCallerIdentity;

impl GetCallerIdentity {
    #[allow(clippy::unnecessary_wraps)] // as all actions
    pub(super) fn parse(_: &Fields<'_>) -> Result<Self, Ec2Error> {
        Ok(Self)
    }
}
