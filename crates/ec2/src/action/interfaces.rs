//! The network interfaces that RunInstances asks for. Depends on the request's fields only.

use super::groups::GroupRef;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use novanet_model::{GroupId, SubnetId};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a request says of its instances' interfaces, in `NetworkInterface.N` and outside.
pub(super) struct Interfaces {
    /// A network for each interface, `eth0` first; empty: as the cloud chooses.
    pub(super) subnets: Vec<SubnetId>,
    /// Security groups.
    pub(super) groups: Vec<GroupRef>,
    /// The fixed IP of a single instance.
    pub(super) private_address: Option<Ipv4Addr>,
    /// With a floating IP; `None`: it does not say.
    pub(super) public_address: Option<bool>,
}

impl Interfaces {
    /// `groups`: those that the request names outside of interfaces.
    pub(super) fn parse(fields: &Fields<'_>, groups: Vec<GroupRef>) -> Result<Self, Ec2Error> {
        let mut all = Self {
            subnets: subnet(fields)?.into_iter().collect(),
            groups,
            private_address: private_address(fields)?,
            public_address: None,
        };
        all.read_all(fields)?;
        Ok(all)
    }

    /// awscli speaks of the interface as soon as a public address is mentioned.
    fn read_all(&mut self, fields: &Fields<'_>) -> Result<(), Ec2Error> {
        let combined = |why: &str| Ec2Error::new(Code::InvalidParameterCombination, why);
        let mut by_device = BTreeMap::new();
        let interfaces = fields.items("NetworkInterface")?;
        for (index, interface) in (0..).zip(&interfaces) {
            let device = interface.number("DeviceIndex")?.unwrap_or(index);
            if by_device.insert(device, interface).is_some() {
                return Err(combined(
                    "Two network interfaces have the same DeviceIndex.",
                ));
            }
        }
        if !by_device.keys().copied().eq(0..index_of(interfaces.len())) {
            return Err(combined(
                "The DeviceIndex of network interfaces must be 0, 1, 2 without a gap.",
            ));
        }
        if by_device.len() > 1 && self.private_address.is_some() {
            return Err(combined("PrivateIpAddress goes with one interface only."));
        }
        let mut subnets = Vec::new();
        for (device, interface) in &by_device {
            self.read_interface(interface, *device, by_device.len())?;
            subnets.extend(subnet(interface)?);
        }
        if !self.subnets.is_empty() && !subnets.is_empty() {
            return Err(combined(
                "SubnetId and NetworkInterface.N.SubnetId may not be used together.",
            ));
        }
        if by_device.len() > 1 && subnets.len() != by_device.len() {
            return Err(combined(
                "Each of several network interfaces needs a SubnetId.",
            ));
        }
        self.subnets.extend(subnets);
        Ok(())
    }

    fn read_interface(
        &mut self,
        interface: &Fields<'_>,
        device: i64,
        count: usize,
    ) -> Result<(), Ec2Error> {
        let unsupported = |why: &str| Err(Ec2Error::new(Code::UnsupportedOperation, why));
        interface.refuse(&["NetworkInterfaceId", "Ipv6Addresses"])?;
        interface.only("DeleteOnTermination", &["true"])?;
        if let Some(public) = interface.flag("AssociatePublicIpAddress")? {
            if device != 0 && public {
                return unsupported("Only the interface with DeviceIndex 0 gets a public address.");
            }
            if device == 0 {
                self.public_address = Some(public);
            }
        }
        let groups: Vec<GroupId> =
            interface.ids("SecurityGroupId", Code::InvalidGroupIdMalformed)?;
        let groups: Vec<GroupRef> = groups.into_iter().map(GroupRef::Id).collect();
        if device == 0 {
            self.groups.extend(groups);
        } else if !groups.is_empty() && groups != self.groups {
            return unsupported(
                "All interfaces of an instance have the same security groups here.",
            );
        }
        if let Some(address) = private_address(interface)? {
            if count > 1 {
                return unsupported(
                    "A private address can be chosen for an instance with one interface only.",
                );
            }
            self.private_address = Some(address);
        }
        Ok(())
    }
}

fn index_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn subnet(fields: &Fields<'_>) -> Result<Option<SubnetId>, Ec2Error> {
    fields.id("SubnetId", Code::InvalidSubnetIdMalformed)
}

fn private_address(fields: &Fields<'_>) -> Result<Option<Ipv4Addr>, Ec2Error> {
    fields.parsed(
        "PrivateIpAddress",
        Code::InvalidParameterValue,
        "must be an IPv4 address",
    )
}
