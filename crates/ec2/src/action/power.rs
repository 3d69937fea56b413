//! Stopping and starting instances.

use super::instances::InstanceIds;
use crate::error::Ec2Error;
use crate::fields::Fields;
use novanet_model::InstanceId;

/// StartInstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartInstances {
    /// At least one, each once.
    pub ids: Vec<InstanceId>,
}

impl StartInstances {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["AdditionalInfo"])?;
        let ids = InstanceIds::parse(fields)?.ids;
        Ok(Self { ids })
    }
}

/// StopInstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopInstances {
    /// At least one, each once.
    pub ids: Vec<InstanceId>,
}

impl StopInstances {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        // The host always asks first, and kills what does not end in two seconds.
        fields.flag("Force")?;
        for name in ["Hibernate", "SkipOsShutdown"] {
            fields.only(name, &["false"])?;
        }
        let ids = InstanceIds::parse(fields)?.ids;
        Ok(Self { ids })
    }
}
