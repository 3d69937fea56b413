//! Instances: what waiters, tables and scripts of clients look at.

use super::{Answer, next_token};
use crate::error::Ec2Error;
use crate::filter::{self, Filter, Filterable};
use crate::xml::Xml;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use novanet_model::{AmiId, GroupId, InstanceId, ReservationId};
use std::net::Ipv4Addr;
use time::OffsetDateTime;

/// The first API version whose clients print the elements `ipAddress` and `privateIpAddress`; up to
/// 2011-01-01 (euca2ools 1.3 with boto 1.9 and 2.1) they print names only.
const SHOWS_ADDRESSES: &str = "2011-01-02";

/// EC2's states of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Not up yet.
    Pending,
    /// Up.
    Running,
    /// On its way out.
    ShuttingDown,
    /// Gone.
    Terminated,
    /// On its way down.
    Stopping,
    /// Down, may come up again.
    Stopped,
}

impl InstanceState {
    /// Its number.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn write(self, xml: &mut Xml, name: &str) {
        xml.element(name, |xml| {
            xml.value("code", self.code());
            xml.text("name", self.as_str());
        });
    }
}

/// What kind of reason an instance has for its state: EC2's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonCode {
    /// It waits for something.
    Pending,
    /// It ended by itself.
    EndedByItself,
    /// A user stopped it.
    StoppedByUser,
    /// The cloud could not start it.
    Failed,
}

impl ReasonCode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::EndedByItself => "Client.InstanceInitiatedShutdown",
            Self::StoppedByUser => "Client.UserInitiatedShutdown",
            Self::Failed => "Server.InternalError",
        }
    }
}

/// A security group that an instance is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName {
    /// Id.
    pub id: GroupId,
    /// Name.
    pub name: String,
}

impl GroupName {
    pub(super) fn write(&self, xml: &mut Xml) {
        // Groups had no ids before 2011: `groupId` was the name, and clients of then print it as
        // such. Later clients that speak an old version (euca2ools 2.1 with boto 2.49) look for
        // both.
        if xml.before("2011-01-01") {
            xml.text("groupId", &self.name);
        } else {
            xml.value("groupId", self.id);
        }
        xml.text("groupName", &self.name);
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Id.
    pub id: InstanceId,
    /// Its image.
    pub image: AmiId,
    /// State.
    pub state: InstanceState,
    /// Why it is in that state, for people; empty if there is nothing to say.
    pub reason: String,
    /// What kind of reason that is.
    pub reason_code: ReasonCode,
    /// Its name inside the cloud.
    pub hostname: String,
    /// Fixed IP; `None` until it has one.
    pub private_address: Option<Ipv4Addr>,
    /// Floating IP.
    pub public_address: Option<Ipv4Addr>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Its number within the reservation, from 0.
    pub launch_index: u32,
    /// Size.
    pub instance_type: String,
    /// When it was asked for.
    pub launch_time: OffsetDateTime,
    /// Zone.
    pub zone: String,
    /// Processor, e.g. `x86_64`.
    pub architecture: String,
    /// Token of the call that made it.
    pub client_token: Option<String>,
    /// Security groups.
    pub groups: Vec<GroupName>,
}

impl Instance {
    /// A floating IP has no name of its own here: the address is what resolves. Clients of 2011
    /// show these two elements only, so they get addresses in both, as from nova 2011.3.
    fn write_names(&self, xml: &mut Xml) {
        let text = |address: Option<Ipv4Addr>| address.map(|a| a.to_string()).unwrap_or_default();
        if xml.before(SHOWS_ADDRESSES) {
            xml.text("privateDnsName", &text(self.private_address));
            let public = self.public_address.or(self.private_address);
            xml.text("dnsName", &text(public));
        } else {
            xml.text("privateDnsName", &self.hostname);
            xml.text("dnsName", &text(self.public_address));
        }
    }

    fn write(&self, xml: &mut Xml) {
        xml.value("instanceId", self.id);
        xml.value("imageId", self.image);
        self.state.write(xml, "instanceState");
        self.write_names(xml);
        xml.text("reason", &self.reason);
        xml.optional("keyName", self.key_name.as_ref());
        xml.value("amiLaunchIndex", self.launch_index);
        xml.empty("productCodes");
        xml.text("instanceType", &self.instance_type);
        xml.time("launchTime", self.launch_time);
        xml.element("placement", |xml| {
            xml.text("availabilityZone", &self.zone);
            xml.empty("groupName");
            xml.text("tenancy", "default");
        });
        xml.element("monitoring", |xml| xml.text("state", "disabled"));
        xml.optional("privateIpAddress", self.private_address);
        xml.optional("ipAddress", self.public_address);
        xml.list("groupSet", &self.groups, |xml, group| group.write(xml));
        if !self.reason.is_empty() {
            xml.element("stateReason", |xml| {
                xml.text("code", self.reason_code.as_str());
                xml.text("message", &self.reason);
            });
        }
        xml.text("architecture", &self.architecture);
        xml.text("rootDeviceType", "instance-store");
        xml.text("rootDeviceName", "/dev/sda1");
        xml.empty("blockDeviceMapping");
        xml.text("virtualizationType", "hvm");
        xml.text(
            "clientToken",
            self.client_token.as_deref().unwrap_or_default(),
        );
        xml.empty("tagSet");
        xml.text("ebsOptimized", "false");
        xml.empty("networkInterfaceSet");
    }
}

impl Filterable for Instance {
    const NAMES: &'static [&'static str] = &[
        "architecture",
        "availability-zone",
        "client-token",
        "dns-name",
        "group-id",
        "group-name",
        "image-id",
        "instance-id",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "instance.group-id",
        "instance.group-name",
        "ip-address",
        "key-name",
        "launch-index",
        "launch-time",
        "monitoring-state",
        "network-interface.addresses.association.public-ip",
        "network-interface.addresses.private-ip-address",
        "private-dns-name",
        "private-ip-address",
        "root-device-name",
        "root-device-type",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let one = |value: &str| vec![value.to_owned()];
        let address = |address: Option<Ipv4Addr>| address.iter().map(Ipv4Addr::to_string).collect();
        match name {
            "architecture" => one(&self.architecture),
            "availability-zone" => one(&self.zone),
            "client-token" => self.client_token.iter().cloned().collect(),
            "group-id" | "instance.group-id" => self
                .groups
                .iter()
                .map(|group| group.id.to_string())
                .collect(),
            "group-name" | "instance.group-name" => {
                self.groups.iter().map(|group| group.name.clone()).collect()
            }
            "image-id" => vec![self.image.to_string()],
            "instance-id" => vec![self.id.to_string()],
            "instance-state-code" => vec![self.state.code().to_string()],
            "instance-state-name" => one(self.state.as_str()),
            "instance-type" => one(&self.instance_type),
            "dns-name" | "ip-address" | "network-interface.addresses.association.public-ip" => {
                address(self.public_address)
            }
            "key-name" => self.key_name.iter().cloned().collect(),
            "launch-index" => vec![self.launch_index.to_string()],
            "launch-time" => vec![crate::timestamp::iso8601_millis(self.launch_time)],
            "monitoring-state" => one("disabled"),
            "private-dns-name" => one(&self.hostname),
            "private-ip-address" | "network-interface.addresses.private-ip-address" => {
                address(self.private_address)
            }
            "root-device-name" => one("/dev/sda1"),
            "root-device-type" => one("instance-store"),
            _ => Vec::new(),
        }
    }
}

/// The instances of one RunInstances call, or those of them that a list asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Id.
    pub id: ReservationId,
    /// Project.
    pub owner: String,
    /// At least one.
    pub instances: Vec<Instance>,
}

impl Reservation {
    fn write(&self, xml: &mut Xml) {
        xml.value("reservationId", self.id);
        xml.text("ownerId", &self.owner);
        let groups = self.instances.first().map(|first| first.groups.as_slice());
        xml.list("groupSet", groups.unwrap_or_default(), |xml, group| {
            group.write(xml);
        });
        xml.list("instancesSet", &self.instances, |xml, instance| {
            instance.write(xml);
        });
    }
}

/// The answer to RunInstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningInstances(
    /// The new reservation.
    pub Reservation,
);

impl Answer for RunningInstances {
    fn action(&self) -> &'static str {
        "RunInstances"
    }

    fn write(&self, xml: &mut Xml) {
        self.0.write(xml);
    }
}

/// The answer to DescribeInstances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedInstances {
    /// Reservations, with the instances that were asked for.
    pub reservations: Vec<Reservation>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl DescribedInstances {
    /// Keeps the instances that pass, and the reservations that still have any. Names of
    /// reservations' fields (`reservation-id`, `owner-id`) work, too.
    pub fn retain(&mut self, filters: &[Filter]) -> Result<(), Ec2Error> {
        const OUTER: [&str; 2] = ["owner-id", "reservation-id"];
        let known = [&OUTER[..], Instance::NAMES].concat();
        filter::check(filters, &known)?;
        for reservation in &mut self.reservations {
            let (id, owner) = (reservation.id.to_string(), reservation.owner.clone());
            reservation.instances.retain(|instance| {
                filter::passes(filters, |name| match name {
                    "reservation-id" => vec![id.clone()],
                    "owner-id" => vec![owner.clone()],
                    other => instance.values(other),
                })
            });
        }
        self.reservations
            .retain(|reservation| !reservation.instances.is_empty());
        Ok(())
    }
}

impl Answer for DescribedInstances {
    fn action(&self) -> &'static str {
        "DescribeInstances"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("reservationSet", &self.reservations, |xml, reservation| {
            reservation.write(xml);
        });
        next_token(xml, self.next_token.as_ref());
    }
}

/// The answer to GetConsoleOutput.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleOutput {
    /// Instance.
    pub id: InstanceId,
    /// When it was read.
    pub at: OffsetDateTime,
    /// What the instance printed.
    pub output: Vec<u8>,
}

impl Answer for ConsoleOutput {
    fn action(&self) -> &'static str {
        "GetConsoleOutput"
    }

    fn write(&self, xml: &mut Xml) {
        xml.value("instanceId", self.id);
        xml.time("timestamp", self.at);
        xml.text("output", &STANDARD.encode(&self.output));
    }
}
