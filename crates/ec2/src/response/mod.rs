//! Answers: plain data that a handler fills in, and the XML that clients expect for each (element
//! names as in botocore's service model). Depends on `xml`.

pub mod addresses;
pub mod groups;
pub mod images;
pub mod instance_status;
pub mod instance_types;
pub mod instances;
pub mod keys;
pub mod zones;

use crate::xml::Xml;
pub use addresses::{Address, AllocatedAddress, AssociatedAddress, DescribedAddresses};
pub use groups::{
    CreatedSecurityGroup, DescribedSecurityGroups, Permission, PermissionSource, SecurityGroup,
};
pub use images::{DescribedImages, Image, ImageState};
pub use instance_status::{
    AttributeValue, DescribedInstanceAttribute, DescribedInstanceStatus, Health, InstanceStatus,
};
pub use instance_types::DescribedInstanceTypes;
pub use instances::{
    ConsoleOutput, DescribedInstances, GroupName, Instance, InstanceState, ReasonCode, Reservation,
    RunningInstances, StateChange, TerminatedInstances,
};
pub use keys::{CreatedKeyPair, DescribedKeyPairs, ImportedKeyPair, KeyPair};
pub use zones::{DescribedRegions, DescribedZones, Region, Zone};

/// The answer to an action.
pub trait Answer {
    /// The action that this answers; the root element is its name and `Response`.
    fn action(&self) -> &'static str;

    /// Writes what follows the request's id.
    fn write(&self, xml: &mut Xml);
}

/// The whole body of an answer. `version` is the one of the request ([`crate::Params::version`]).
pub fn render(answer: &dyn Answer, version: &str, request_id: &str) -> String {
    let mut xml = Xml::document();
    xml.root(&format!("{}Response", answer.action()), version, |xml| {
        xml.text("requestId", request_id);
        answer.write(xml);
    });
    xml.finish()
}

/// The answer to an action that says nothing but that it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done(
    /// The action's name.
    pub &'static str,
);

impl Answer for Done {
    fn action(&self) -> &'static str {
        self.0
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("return", "true");
    }
}

fn next_token(xml: &mut Xml, token: Option<&String>) {
    xml.optional("nextToken", token);
}
