//! How instances do, and their properties one by one.

use super::instances::{GroupName, InstanceState};
use super::{Answer, next_token};
use crate::filter::Filterable;
use crate::xml::Xml;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use novanet_model::InstanceId;

/// How an instance does, as far as the cloud can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Runs, and its host answers.
    Ok,
    /// Not up yet.
    Initializing,
    /// Something is wrong.
    Impaired,
    /// Its host has not said for a while.
    InsufficientData,
    /// It does not run.
    NotApplicable,
}

impl Health {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Initializing => "initializing",
            Self::Impaired => "impaired",
            Self::InsufficientData => "insufficient-data",
            Self::NotApplicable => "not-applicable",
        }
    }

    fn reachability(self) -> Option<&'static str> {
        match self {
            Self::Ok => Some("passed"),
            Self::Initializing => Some("initializing"),
            Self::Impaired => Some("failed"),
            Self::InsufficientData => Some("insufficient-data"),
            Self::NotApplicable => None,
        }
    }

    fn write(self, xml: &mut Xml, name: &str) {
        xml.element(name, |xml| {
            xml.text("status", self.as_str());
            xml.list("details", self.reachability(), |xml, status| {
                xml.text("name", "reachability");
                xml.text("status", status);
            });
        });
    }
}

/// State and health of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Instance.
    pub id: InstanceId,
    /// Zone.
    pub zone: String,
    /// State.
    pub state: InstanceState,
    /// The instance's health.
    pub instance: Health,
    /// Its host's health.
    pub system: Health,
}

impl Filterable for InstanceStatus {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "instance-state-code",
        "instance-state-name",
        "instance-status.reachability",
        "instance-status.status",
        "system-status.reachability",
        "system-status.status",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        let reachability = |health: Health| {
            health
                .reachability()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        match name {
            "availability-zone" => vec![self.zone.clone()],
            "instance-state-code" => vec![self.state.code().to_string()],
            "instance-state-name" => vec![self.state.as_str().to_owned()],
            "instance-status.reachability" => reachability(self.instance),
            "instance-status.status" => vec![self.instance.as_str().to_owned()],
            "system-status.reachability" => reachability(self.system),
            "system-status.status" => vec![self.system.as_str().to_owned()],
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeInstanceStatus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedInstanceStatus {
    /// The statuses of this page.
    pub statuses: Vec<InstanceStatus>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

impl Answer for DescribedInstanceStatus {
    fn action(&self) -> &'static str {
        "DescribeInstanceStatus"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("instanceStatusSet", &self.statuses, |xml, status| {
            xml.value("instanceId", status.id);
            xml.text("availabilityZone", &status.zone);
            status.state.write(xml, "instanceState");
            status.system.write(xml, "systemStatus");
            status.instance.write(xml, "instanceStatus");
        });
        next_token(xml, self.next_token.as_ref());
    }
}

/// The value of one property.
#[derive(Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// `instanceType`.
    InstanceType(String),
    /// `userData`; `None` if it has none.
    UserData(Option<Vec<u8>>),
    /// `groupSet`.
    Groups(Vec<GroupName>),
    /// `disableApiTermination`.
    DisableApiTermination,
    /// `instanceInitiatedShutdownBehavior`.
    ShutdownBehavior,
    /// `rootDeviceName`.
    RootDeviceName,
}

/// The answer to DescribeInstanceAttribute.
#[derive(Clone, PartialEq, Eq)]
pub struct DescribedInstanceAttribute {
    /// Instance.
    pub id: InstanceId,
    /// The property.
    pub value: AttributeValue,
}

impl Answer for DescribedInstanceAttribute {
    fn action(&self) -> &'static str {
        "DescribeInstanceAttribute"
    }

    fn write(&self, xml: &mut Xml) {
        fn value(xml: &mut Xml, name: &str, text: &str) {
            xml.element(name, |xml| xml.text("value", text));
        }
        xml.value("instanceId", self.id);
        match &self.value {
            AttributeValue::InstanceType(name) => value(xml, "instanceType", name),
            AttributeValue::UserData(None) => xml.empty("userData"),
            AttributeValue::UserData(Some(data)) => value(xml, "userData", &STANDARD.encode(data)),
            AttributeValue::Groups(groups) => {
                xml.list("groupSet", groups, |xml, group| group.write(xml));
            }
            AttributeValue::DisableApiTermination => value(xml, "disableApiTermination", "false"),
            AttributeValue::ShutdownBehavior => {
                value(xml, "instanceInitiatedShutdownBehavior", "stop");
            }
            AttributeValue::RootDeviceName => value(xml, "rootDeviceName", "/dev/sda1"),
        }
    }
}
