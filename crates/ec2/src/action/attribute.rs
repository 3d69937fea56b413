//! Changes of an instance's properties: of its security groups, which are the only ones that can be
//! changed while it lives.

use super::groups::GroupRef;
use super::instances::one_id;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use novanet_model::InstanceId;

/// Properties of EC2 that cannot be changed here.
const OTHERS: &[&str] = &[
    "Attribute",
    "Value",
    "BlockDeviceMapping",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnaSupport",
    "InstanceInitiatedShutdownBehavior",
    "InstanceType",
    "Kernel",
    "Ramdisk",
    "SourceDestCheck",
    "SriovNetSupport",
    "UserData",
];

/// ModifyInstanceAttribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyInstanceAttribute {
    /// The instance.
    pub id: InstanceId,
    /// Its groups from now on: at least one.
    pub groups: Vec<GroupRef>,
}

impl ModifyInstanceAttribute {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let id = one_id(fields)?;
        fields.refuse(OTHERS)?;
        let groups: Vec<_> = fields
            .ids("GroupId", Code::InvalidGroupIdMalformed)?
            .into_iter()
            .map(GroupRef::Id)
            .collect();
        if groups.is_empty() {
            return Err(Ec2Error::missing("GroupId"));
        }
        Ok(Self { id, groups })
    }
}
