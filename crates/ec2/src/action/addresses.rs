//! Floating IPs, by address (as the manual's tools name them) or by allocation id.

use crate::error::{Code, Ec2Error};
use crate::fields::{Fields, parse_id};
use crate::filter::Filter;
use novanet_model::InstanceId;
use novanet_model::{AllocationId, AssociationId};
use std::net::Ipv4Addr;

/// A floating IP as clients name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressRef {
    /// By address.
    Ip(Ipv4Addr),
    /// By allocation.
    Allocation(AllocationId),
}

impl std::fmt::Display for AddressRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Allocation(id) => id.fmt(f),
        }
    }
}

impl AddressRef {
    fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let id = fields.id("AllocationId", Code::InvalidAllocationIdMalformed)?;
        one_of(address(fields, "PublicIp")?, id, "AllocationId")
    }
}

/// An address or an id: one, not both.
fn one_of(
    ip: Option<Ipv4Addr>,
    id: Option<AllocationId>,
    id_name: &str,
) -> Result<AddressRef, Ec2Error> {
    match (ip, id) {
        (Some(_), Some(_)) => Err(Ec2Error::new(
            Code::InvalidParameterCombination,
            format!("The parameters PublicIp and {id_name} cannot be used together."),
        )),
        (Some(ip), None) => Ok(AddressRef::Ip(ip)),
        (None, Some(id)) => Ok(AddressRef::Allocation(id)),
        (None, None) => Err(Ec2Error::missing(&format!("PublicIp or {id_name}"))),
    }
}

fn address(fields: &Fields<'_>, name: &str) -> Result<Option<Ipv4Addr>, Ec2Error> {
    fields.parsed(
        name,
        Code::InvalidAddressMalformed,
        "must be an IPv4 address",
    )
}

/// AllocateAddress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllocateAddress {
    /// This one, if it is free.
    pub address: Option<Ipv4Addr>,
    /// From this pool.
    pub pool: Option<String>,
}

impl AllocateAddress {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["TagSpecification"])?;
        // The clients' word for classic or VPC: both mean the same here.
        fields.only("Domain", &["standard", "vpc"])?;
        let address = match address(fields, "Address")? {
            Some(address) => Some(address),
            None => self::address(fields, "PublicIp")?,
        };
        Ok(Self {
            address,
            pool: fields.get("PublicIpv4Pool").map(str::to_owned),
        })
    }
}

/// AssociateAddress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociateAddress {
    /// The floating IP.
    pub address: AddressRef,
    /// The instance that it is to lead to.
    pub instance: InstanceId,
    /// To this one of the instance's fixed IPs; `None` = its first.
    pub private_address: Option<Ipv4Addr>,
    /// `Some(false)`: not if it leads somewhere already.
    pub allow_reassociation: Option<bool>,
}

impl AssociateAddress {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["NetworkInterfaceId"])?;
        let address = AddressRef::parse(fields)?;
        let instance = fields
            .id("InstanceId", Code::InvalidInstanceIdMalformed)?
            .ok_or_else(|| Ec2Error::missing("InstanceId"))?;
        Ok(Self {
            address,
            instance,
            private_address: fields.parsed(
                "PrivateIpAddress",
                Code::InvalidParameterValue,
                "must be an IPv4 address",
            )?,
            allow_reassociation: fields.flag("AllowReassociation")?,
        })
    }
}

/// DisassociateAddress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisassociateAddress {
    /// The floating IP. An association's id is its floating IP's number.
    pub address: AddressRef,
    /// Whether the client named an association: then that it does not exist is the error to give.
    pub by_association: bool,
}

impl DisassociateAddress {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let association: Option<AssociationId> =
            fields.id("AssociationId", Code::InvalidAssociationIdMalformed)?;
        let by_association = association.is_some();
        let id = association.map(|association| AllocationId(association.0));
        let address = one_of(address(fields, "PublicIp")?, id, "AssociationId")?;
        Ok(Self {
            address,
            by_association,
        })
    }
}

/// ReleaseAddress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseAddress {
    /// The floating IP.
    pub address: AddressRef,
}

impl ReleaseAddress {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        AddressRef::parse(fields).map(|address| Self { address })
    }
}

/// DescribeAddresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeAddresses {
    /// Only these; one that the project has not is an error.
    pub addresses: Vec<AddressRef>,
    /// Filters.
    pub filters: Vec<Filter>,
}

impl DescribeAddresses {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let mut addresses = Vec::new();
        for text in fields.list("PublicIp")? {
            let ip = text.parse().map_err(|_| {
                let invalid = fields.invalid("PublicIp", text, "must be an IPv4 address");
                Ec2Error::new(Code::InvalidAddressMalformed, invalid.message)
            })?;
            addresses.push(AddressRef::Ip(ip));
        }
        for text in fields.list("AllocationId")? {
            let id = parse_id(text, Code::InvalidAllocationIdMalformed)?;
            addresses.push(AddressRef::Allocation(id));
        }
        Ok(Self {
            addresses,
            filters: Filter::parse(fields)?,
        })
    }
}
