//! Running, listing, restarting and ending instances.

use super::groups::GroupRef;
use super::interfaces::Interfaces;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use crate::filter::Filter;
use crate::page::Page;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use novanet_model::instance_type::{self, InstanceType};
use novanet_model::{AmiId, InstanceId, SubnetId};
use std::net::Ipv4Addr;

/// The most instances of one call; quotas are below it.
const MAX_INSTANCES: i64 = 1000;
/// The default of EC2 and nova.
const DEFAULT_TYPE: &str = "m1.small";

/// RunInstances.
#[derive(Clone, PartialEq)]
pub struct RunInstances {
    /// The image.
    pub image: AmiId,
    /// Start none if so many cannot be started.
    pub min: u32,
    /// Start at most so many.
    pub max: u32,
    /// The size.
    pub instance_type: &'static InstanceType,
    /// The key pair whose public half the instances get.
    pub key_name: Option<String>,
    /// Security groups; none = the default one.
    pub groups: Vec<GroupRef>,
    /// User data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// The zone.
    pub zone: Option<String>,
    /// The fixed IP that the one instance is to have.
    pub private_address: Option<Ipv4Addr>,
    /// A network for each interface, the first for `eth0`; none = as the cloud chooses.
    pub subnets: Vec<SubnetId>,
    /// With a floating IP (`Some(false)`: without); `None`: as the cloud does it.
    pub public_address: Option<bool>,
    /// The same token again is the same call again.
    pub client_token: Option<String>,
}

impl std::fmt::Debug for RunInstances {
    /// Without the user data, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunInstances")
            .field("image", &self.image)
            .field("min", &self.min)
            .field("max", &self.max)
            .field("instance_type", &self.instance_type.name)
            .field("key_name", &self.key_name)
            .field("groups", &self.groups)
            .field("user_data_bytes", &self.user_data.as_ref().map(Vec::len))
            .field("zone", &self.zone)
            .field("private_address", &self.private_address)
            .field("subnets", &self.subnets)
            .field("public_address", &self.public_address)
            .field("client_token", &self.client_token)
            .finish()
    }
}

impl RunInstances {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&[
            "IamInstanceProfile",
            "LaunchTemplate",
            "InstanceMarketOptions",
            "TagSpecification",
            "Ipv6Address",
            "Ipv6AddressCount",
        ])?;
        read_harmless(fields)?;
        let image = fields
            .id("ImageId", Code::InvalidAmiIdMalformed)?
            .ok_or_else(|| Ec2Error::missing("ImageId"))?;
        let (min, max) = counts(fields)?;
        let interfaces = Interfaces::parse(fields, groups(fields)?)?;
        let public_address = interfaces.public_address;
        let run = Self {
            image,
            min,
            max,
            instance_type: size(fields.get("InstanceType").unwrap_or(DEFAULT_TYPE))?,
            key_name: fields.get("KeyName").map(str::to_owned),
            groups: interfaces.groups,
            user_data: fields.get("UserData").map(user_data).transpose()?,
            zone: fields.get("Placement.AvailabilityZone").map(str::to_owned),
            private_address: interfaces.private_address,
            subnets: interfaces.subnets,
            public_address: public_address.or(addressing_type(fields)?),
            client_token: client_token(fields)?,
        };
        if run.private_address.is_some() && run.max > 1 {
            return Err(Ec2Error::new(
                Code::InvalidParameterCombination,
                "A private address can be given to one instance only.",
            ));
        }
        Ok(run)
    }
}

/// What clients ask for, often by default, that every instance here is anyway (docs/ec2.md).
fn read_harmless(fields: &Fields<'_>) -> Result<(), Ec2Error> {
    const HARMLESS: [(&str, &[&str]); 13] = [
        (
            "CapacityReservationSpecification.CapacityReservationPreference",
            &["open", "none"],
        ),
        ("DisableApiStop", &["false"]),
        ("DisableApiTermination", &["false"]),
        ("EbsOptimized", &["false"]),
        ("EnclaveOptions.Enabled", &["false"]),
        ("HibernationOptions.Configured", &["false"]),
        ("InstanceInitiatedShutdownBehavior", &["stop"]),
        ("MetadataOptions.HttpEndpoint", &["enabled"]),
        ("MetadataOptions.HttpProtocolIpv6", &["disabled"]),
        ("MetadataOptions.HttpTokens", &["optional"]),
        ("MetadataOptions.InstanceMetadataTags", &["disabled"]),
        ("Monitoring.Enabled", &["false"]),
        ("Placement.Tenancy", &["default"]),
    ];
    HARMLESS
        .iter()
        .try_for_each(|(name, values)| fields.only(name, values))
}

/// nova's and EC2 classic's way to say whether the instance gets a public address.
fn addressing_type(fields: &Fields<'_>) -> Result<Option<bool>, Ec2Error> {
    match fields.get("AddressingType") {
        None | Some("public") => Ok(None),
        Some("private") => Ok(Some(false)),
        Some(other) => Err(fields.invalid("AddressingType", other, "must be public or private")),
    }
}

fn counts(fields: &Fields<'_>) -> Result<(u32, u32), Ec2Error> {
    let count = |name: &str| -> Result<Option<u32>, Ec2Error> {
        fields
            .number(name)?
            .map(|number| {
                u32::try_from(number)
                    .ok()
                    .filter(|_| (1..=MAX_INSTANCES).contains(&number))
                    .ok_or_else(|| fields.invalid(name, &number.to_string(), "must be 1 to 1000"))
            })
            .transpose()
    };
    let (min, max) = (count("MinCount")?, count("MaxCount")?);
    // Required by EC2, but nova took one instance for granted and old clients rely on it.
    let min = min.or(max.map(|_| 1)).unwrap_or(1);
    let max = max.unwrap_or(min);
    if min > max {
        return Err(fields.invalid("MinCount", &min.to_string(), "is above MaxCount"));
    }
    Ok((min, max))
}

/// Clients make one up for every call, so that a retry does not start a second set of instances.
fn client_token(fields: &Fields<'_>) -> Result<Option<String>, Ec2Error> {
    match fields.get("ClientToken") {
        Some(token) if token.len() > 64 || !token.is_ascii() => {
            Err(fields.invalid("ClientToken", token, "must be up to 64 ASCII characters"))
        }
        token => Ok(token.map(str::to_owned)),
    }
}

fn size(name: &str) -> Result<&'static InstanceType, Ec2Error> {
    instance_type::find(name).ok_or_else(|| {
        let known: Vec<_> = instance_type::INSTANCE_TYPES
            .iter()
            .map(|known| known.name)
            .collect();
        Ec2Error::invalid_value(
            "InstanceType",
            name,
            &format!("must be one of {}", known.join(", ")),
        )
    })
}

fn groups(fields: &Fields<'_>) -> Result<Vec<GroupRef>, Ec2Error> {
    let names = fields.list("SecurityGroup")?.into_iter();
    let ids = fields.ids("SecurityGroupId", Code::InvalidGroupIdMalformed)?;
    Ok(names
        .map(|name| GroupRef::Name(name.to_owned()))
        .chain(ids.into_iter().map(GroupRef::Id))
        .collect())
}

fn user_data(text: &str) -> Result<Vec<u8>, Ec2Error> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let dense: String = text.split_ascii_whitespace().collect();
    LENIENT.decode(dense).map_err(|_| {
        Ec2Error::new(
            Code::InvalidUserDataMalformed,
            "The parameter UserData has to be base64.",
        )
    })
}

/// DescribeInstances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeInstances {
    /// Only these; one that does not exist is an error.
    pub ids: Vec<InstanceId>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Which page.
    pub page: Page,
}

impl DescribeInstances {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        Ok(Self {
            ids: ids(fields)?,
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}

/// DescribeInstanceStatus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeInstanceStatus {
    /// Only these.
    pub ids: Vec<InstanceId>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Also those that do not run.
    pub all: bool,
    /// Which page.
    pub page: Page,
}

impl DescribeInstanceStatus {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        Ok(Self {
            ids: ids(fields)?,
            filters: Filter::parse(fields)?,
            all: fields.flag("IncludeAllInstances")?.unwrap_or(false),
            page: Page::parse(fields)?,
        })
    }
}

/// The instances of RebootInstances and TerminateInstances: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIds {
    /// In the order of the request.
    pub ids: Vec<InstanceId>,
}

impl InstanceIds {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut ids = ids(fields)?;
        ids.retain(|id| seen.insert(*id));
        if ids.is_empty() {
            return Err(Ec2Error::missing("InstanceId"));
        }
        Ok(Self { ids })
    }
}

/// GetConsoleOutput.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetConsoleOutput {
    /// The instance.
    pub id: InstanceId,
}

impl GetConsoleOutput {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        // The answer is the latest output anyway.
        fields.flag("Latest")?;
        one_id(fields).map(|id| Self { id })
    }
}

/// DescribeInstanceAttribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeInstanceAttribute {
    /// The instance.
    pub id: InstanceId,
    /// What about it.
    pub attribute: Attribute,
}

/// The properties that can be asked for one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `instanceType`.
    InstanceType,
    /// `userData`.
    UserData,
    /// `groupSet`.
    Groups,
    /// `disableApiTermination`, always false here.
    DisableApiTermination,
    /// `instanceInitiatedShutdownBehavior`, always `stop` here.
    ShutdownBehavior,
    /// `rootDeviceName`.
    RootDeviceName,
}

impl DescribeInstanceAttribute {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let id = one_id(fields)?;
        let attribute = match fields.require("Attribute")? {
            "instanceType" => Attribute::InstanceType,
            "userData" => Attribute::UserData,
            "groupSet" => Attribute::Groups,
            "disableApiTermination" => Attribute::DisableApiTermination,
            "instanceInitiatedShutdownBehavior" => Attribute::ShutdownBehavior,
            "rootDeviceName" => Attribute::RootDeviceName,
            other => {
                return Err(fields.invalid(
                    "Attribute",
                    other,
                    "must be instanceType, userData, groupSet, disableApiTermination, \
                     instanceInitiatedShutdownBehavior or rootDeviceName",
                ));
            }
        };
        Ok(Self { id, attribute })
    }
}

/// DescribeInstanceTypes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeInstanceTypes {
    /// Only these.
    pub types: Vec<&'static InstanceType>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Which page.
    pub page: Page,
}

impl DescribeInstanceTypes {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        let types = fields
            .list("InstanceType")?
            .into_iter()
            .map(|name| {
                size(name).map_err(|error| Ec2Error::new(Code::InvalidInstanceType, error.message))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            types,
            filters: Filter::parse(fields)?,
            page: Page::parse(fields)?,
        })
    }
}

fn ids(fields: &Fields<'_>) -> Result<Vec<InstanceId>, Ec2Error> {
    fields.ids("InstanceId", Code::InvalidInstanceIdMalformed)
}

/// GetConsoleOutput takes `InstanceId`; boto 2 writes `InstanceId.1` there.
pub(super) fn one_id(fields: &Fields<'_>) -> Result<InstanceId, Ec2Error> {
    match ids(fields)?.as_slice() {
        [] => Err(Ec2Error::missing("InstanceId")),
        [id] => Ok(*id),
        _ => Err(Ec2Error::new(
            Code::InvalidParameterCombination,
            "One instance at a time.",
        )),
    }
}
