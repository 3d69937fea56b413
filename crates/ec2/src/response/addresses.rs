//! Floating IPs.

use super::Answer;
use crate::filter::Filterable;
use crate::xml::Xml;
use novanet_model::InstanceId;
use novanet_model::{AllocationId, AssociationId};
use std::net::Ipv4Addr;

/// One domain for all: with it, clients use allocation ids, and both ways of naming work.
const DOMAIN: &str = "vpc";

/// A floating IP that the project has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Id.
    pub id: AllocationId,
    /// The address.
    pub public: Ipv4Addr,
    /// Where it leads, with the fixed IP there.
    pub target: Option<(InstanceId, Ipv4Addr)>,
    /// Its pool.
    pub pool: String,
}

impl Address {
    fn association(&self) -> Option<AssociationId> {
        self.target.map(|_| AssociationId(self.id.0))
    }
}

impl Filterable for Address {
    const NAMES: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "instance-id",
        "private-ip-address",
        "public-ip",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "allocation-id" => vec![self.id.to_string()],
            "association-id" => self.association().iter().map(ToString::to_string).collect(),
            "domain" => vec![DOMAIN.to_owned()],
            "instance-id" => self.target.iter().map(|(id, _)| id.to_string()).collect(),
            "private-ip-address" => self.target.iter().map(|(_, ip)| ip.to_string()).collect(),
            "public-ip" => vec![self.public.to_string()],
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeAddresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedAddresses(
    /// The addresses that the request names, or all.
    pub Vec<Address>,
);

impl Answer for DescribedAddresses {
    fn action(&self) -> &'static str {
        "DescribeAddresses"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("addressesSet", &self.0, |xml, address| {
            xml.value("publicIp", address.public);
            xml.value("allocationId", address.id);
            xml.text("domain", DOMAIN);
            let instance = address.target.map(|(id, _)| id);
            if instance.is_none() && xml.before("2012-01-01") {
                // The old tools want it empty, the new ones want it away.
                xml.empty("instanceId");
            }
            xml.optional("instanceId", instance);
            xml.optional("associationId", address.association());
            xml.optional("privateIpAddress", address.target.map(|(_, ip)| ip));
            xml.text("publicIpv4Pool", &address.pool);
            if !xml.before("2016-11-15") {
                xml.empty("tagSet");
            }
        });
    }
}

/// The answer to AllocateAddress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocatedAddress {
    /// Id.
    pub id: AllocationId,
    /// The address.
    pub public: Ipv4Addr,
    /// Its pool.
    pub pool: String,
}

impl Answer for AllocatedAddress {
    fn action(&self) -> &'static str {
        "AllocateAddress"
    }

    fn write(&self, xml: &mut Xml) {
        xml.value("publicIp", self.public);
        xml.text("domain", DOMAIN);
        xml.value("allocationId", self.id);
        xml.text("publicIpv4Pool", &self.pool);
    }
}

/// The answer to AssociateAddress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssociatedAddress(
    /// The floating IP that leads somewhere now.
    pub AllocationId,
);

impl Answer for AssociatedAddress {
    fn action(&self) -> &'static str {
        "AssociateAddress"
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("return", "true");
        xml.value("associationId", AssociationId(self.0.0));
    }
}
