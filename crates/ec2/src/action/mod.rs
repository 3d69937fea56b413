//! Requests: one type per action, parsed once from the parameters into types that cannot be wrong.
//! Names of objects stay names; the use case finds out whether they exist.

pub mod addresses;
pub mod attribute;
pub mod groups;
pub mod identity;
pub mod images;
pub mod instances;
mod interfaces;
pub mod keys;
pub mod power;
pub mod zones;

use crate::error::Ec2Error;
use crate::fields::Fields;
use crate::params::Params;
pub use addresses::{
    AddressRef, AllocateAddress, AssociateAddress, DescribeAddresses, DisassociateAddress,
    ReleaseAddress,
};
pub use attribute::ModifyInstanceAttribute;
pub use groups::{
    CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroupRules, DescribeSecurityGroups,
    GroupRef, IngressChange, IngressRevocation, IngressRule, IngressSource,
};
pub use identity::GetCallerIdentity;
pub use images::DescribeImages;
pub use instances::{
    Attribute, DescribeInstanceAttribute, DescribeInstanceStatus, DescribeInstanceTypes,
    DescribeInstances, GetConsoleOutput, InstanceIds, RunInstances,
};
pub use keys::{CreateKeyPair, DeleteKeyPair, DescribeKeyPairs, ImportKeyPair, KeyKind};
pub use power::{StartInstances, StopInstances};
pub use zones::{DescribeAvailabilityZones, DescribeRegions};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident($request:ty);)*) => {
        /// A request, understood.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Action {
            $($(#[$doc])* $name($request),)*
        }

        impl Action {
            /// Every name that [`Action::parse`] knows.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Reads a request.
            pub fn parse(params: &Params) -> Result<Self, Ec2Error> {
                let name = params.require("Action")?;
                let fields = params.fields();
                let action = match name {
                    $(stringify!($name) => Self::$name(<$request>::parse(&fields)?),)*
                    // The name that nova gave it, before EC2 had one.
                    "ImportPublicKey" => Self::ImportKeyPair(ImportKeyPair::parse(&fields)?),
                    other => return Err(Ec2Error::invalid_action(other)),
                };
                fields.refuse_unread()?;
                Ok(action)
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }
    };
}

actions! {
    /// Start instances.
    RunInstances(RunInstances);
    /// List instances.
    DescribeInstances(DescribeInstances);
    /// List the health of instances.
    DescribeInstanceStatus(DescribeInstanceStatus);
    /// One property of an instance.
    DescribeInstanceAttribute(DescribeInstanceAttribute);
    /// Change the groups of an instance.
    ModifyInstanceAttribute(ModifyInstanceAttribute);
    /// List the sizes of instances.
    DescribeInstanceTypes(DescribeInstanceTypes);
    /// Restart instances.
    RebootInstances(InstanceIds);
    /// Let stopped instances run again.
    StartInstances(StartInstances);
    /// Stop instances, and keep what they have.
    StopInstances(StopInstances);
    /// End instances.
    TerminateInstances(InstanceIds);
    /// What an instance has printed.
    GetConsoleOutput(GetConsoleOutput);
    /// List images.
    DescribeImages(DescribeImages);
    /// Make a key pair.
    CreateKeyPair(CreateKeyPair);
    /// Bring a public key.
    ImportKeyPair(ImportKeyPair);
    /// List key pairs.
    DescribeKeyPairs(DescribeKeyPairs);
    /// Forget a key pair.
    DeleteKeyPair(DeleteKeyPair);
    /// Make a security group.
    CreateSecurityGroup(CreateSecurityGroup);
    /// List security groups.
    DescribeSecurityGroups(DescribeSecurityGroups);
    /// List the rules of security groups.
    DescribeSecurityGroupRules(DescribeSecurityGroupRules);
    /// Delete a security group.
    DeleteSecurityGroup(DeleteSecurityGroup);
    /// Let traffic in.
    AuthorizeSecurityGroupIngress(IngressChange);
    /// Let it in no more.
    RevokeSecurityGroupIngress(IngressRevocation);
    /// Take a floating IP from the pool.
    AllocateAddress(AllocateAddress);
    /// Lead a floating IP to an instance.
    AssociateAddress(AssociateAddress);
    /// Lead it nowhere.
    DisassociateAddress(DisassociateAddress);
    /// Give a floating IP back.
    ReleaseAddress(ReleaseAddress);
    /// List floating IPs.
    DescribeAddresses(DescribeAddresses);
    /// List zones.
    DescribeAvailabilityZones(DescribeAvailabilityZones);
    /// List regions.
    DescribeRegions(DescribeRegions);
    /// Whose credentials these are (STS).
    GetCallerIdentity(GetCallerIdentity);
}

/// A list of names, owned.
fn names(fields: &Fields<'_>, name: &str) -> Result<Vec<String>, Ec2Error> {
    Ok(fields.list(name)?.into_iter().map(str::to_owned).collect())
}
