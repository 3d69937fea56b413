//! Answers: plain data that a handler fills in, and the XML that clients expect for each (element
//! names as in botocore's service model). Depends on `xml`.

pub mod addresses;
pub mod groups;
pub mod identity;
pub mod images;
pub mod instance_status;
pub mod instance_types;
pub mod instances;
pub mod keys;
pub mod rules;
pub mod state_changes;
pub mod zones;

use crate::xml::Xml;
pub use addresses::{Address, AllocatedAddress, AssociatedAddress, DescribedAddresses};
pub use groups::{
    CreatedSecurityGroup, DescribedSecurityGroups, Permission, PermissionSource, SecurityGroup,
};
pub use identity::CallerIdentity;
pub use images::{DescribedImages, Image, ImageState};
pub use instance_status::{
    AttributeValue, DescribedInstanceAttribute, DescribedInstanceStatus, Health, InstanceStatus,
};
pub use instance_types::DescribedInstanceTypes;
pub use instances::{
    ConsoleOutput, DescribedInstances, GroupName, Instance, InstanceState, ReasonCode, Reservation,
    RunningInstances,
};
pub use keys::{CreatedKeyPair, DescribedKeyPairs, ImportedKeyPair, KeyPair};
pub use rules::{AuthorizedIngress, DescribedSecurityGroupRules, SecurityGroupRule};
pub use state_changes::{StateChange, StateChanges};
pub use zones::{DescribedRegions, DescribedZones, Region, Zone};

/// The answer to an action.
pub trait Answer {
    /// The action that this answers; the root element is its name and `Response`.
    fn action(&self) -> &'static str;

    /// What surrounds it.
    fn envelope(&self) -> Envelope {
        Envelope::Ec2
    }

    /// Writes the content, without the request's id.
    fn write(&self, xml: &mut Xml);
}

/// The form of an answer's root: each service has its namespace and its place for the request's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Of EC2.
    Ec2,
    /// Of STS.
    Sts,
}

/// The whole body of an answer. `version` is the one of the request ([`crate::Params::version`]).
pub fn render(answer: &dyn Answer, version: &str, request_id: &str) -> String {
    let mut xml = Xml::document();
    let root = format!("{}Response", answer.action());
    match answer.envelope() {
        Envelope::Ec2 => xml.root(&root, "http://ec2.amazonaws.com/doc/", version, |xml| {
            xml.text("requestId", request_id);
            answer.write(xml);
        }),
        Envelope::Sts => xml.root(&root, "https://sts.amazonaws.com/doc/", version, |xml| {
            answer.write(xml);
            xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        }),
    }
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
