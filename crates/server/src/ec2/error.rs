//! From a use case's error to EC2's code. The one place where that is decided.

use novanet_control::{ControlError, Kind, PkiError, StoreError, error_chain};
use novanet_ec2::{Code, Ec2Error};
use novanet_model::Resource;

/// A refusal of either side: the protocol's own, or a use case's.
pub(crate) enum Refusal {
    Ec2(Ec2Error),
    Control(ControlError),
}

impl From<Ec2Error> for Refusal {
    fn from(error: Ec2Error) -> Self {
        Self::Ec2(error)
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

pub(crate) fn refusal(refusal: Refusal) -> Ec2Error {
    let error = match refusal {
        Refusal::Ec2(error) => return error,
        Refusal::Control(error) => error,
    };
    let code = code_of(&error);
    if matches!(code, Code::InternalError | Code::Unavailable) {
        tracing::error!(error = error_chain(&error), remedy = error.remedy(), "ec2");
    }
    let message = match code {
        // What went wrong inside is for the log; the client learns that it was not its fault.
        Code::InternalError => "The cloud could not do this; its log says why.".to_owned(),
        Code::Unavailable => "The cloud cannot do this now; try again.".to_owned(),
        _ => error.to_string(),
    };
    Ec2Error::new(code, message)
}

fn code_of(error: &ControlError) -> Code {
    match error {
        ControlError::NotFound {
            kind: Kind::Rule,
            id,
        } if id.starts_with("sgr-") => Code::InvalidSecurityGroupRuleIdNotFound,
        ControlError::NotFound { kind, .. } => not_found(*kind),
        ControlError::Exists { kind, .. } => match kind {
            Kind::KeyPair => Code::InvalidKeyPairDuplicate,
            Kind::SecurityGroup => Code::InvalidGroupDuplicate,
            Kind::Rule => Code::InvalidPermissionDuplicate,
            _ => Code::InvalidParameterValue,
        },
        ControlError::InUse { kind, id, .. } => match kind {
            Kind::SecurityGroup if id == novanet_control::groups::DEFAULT => Code::CannotDelete,
            Kind::SecurityGroup => Code::InvalidGroupInUse,
            Kind::Instance => Code::IncorrectInstanceState,
            Kind::FloatingIp => Code::ResourceAlreadyAssociated,
            Kind::FixedIp => Code::InvalidIpAddressInUse,
            _ => Code::InvalidParameterValue,
        },
        ControlError::NoGateway { .. } => Code::GatewayNotAttached,
        ControlError::StillAssociated { .. } => Code::InvalidIpAddressInUse,
        ControlError::Quota { resource, .. } => match resource {
            Resource::Instances | Resource::Cores | Resource::Ram => Code::InstanceLimitExceeded,
            Resource::FloatingIps => Code::AddressLimitExceeded,
            Resource::SecurityGroups => Code::SecurityGroupLimitExceeded,
            Resource::SecurityGroupRules => Code::RulesPerSecurityGroupLimitExceeded,
            Resource::FixedIps | Resource::KeyPairs => Code::ResourceLimitExceeded,
        },
        ControlError::TokenReused(_) => Code::IdempotentParameterMismatch,
        ControlError::Invalid(_)
        | ControlError::Carve(_)
        | ControlError::Store(StoreError::Unfit(_)) => Code::InvalidParameterValue,
        ControlError::Vault(PkiError::PublicKey(_)) => Code::InvalidKeyFormat,
        ControlError::Forbidden(_) => Code::UnauthorizedOperation,
        ControlError::Exhausted { kind, .. } => match kind {
            Kind::FloatingIp => Code::InsufficientAddressCapacity,
            _ => Code::InsufficientFreeAddresses,
        },
        ControlError::NoHost(_) => Code::InsufficientInstanceCapacity,
        ControlError::Unavailable(_) | ControlError::Store(StoreError::Unavailable { .. }) => {
            Code::Unavailable
        }
        // The operator's to mend, and faults in this program: named, so that a new kind of error
        // has to say whose fault it is.
        ControlError::Store(
            StoreError::Conflict(_)
            | StoreError::Refused(_)
            | StoreError::BadRow { .. }
            | StoreError::Statement(_),
        )
        | ControlError::Vault(
            PkiError::KeyFile(_)
            | PkiError::WrongKey
            | PkiError::Damaged(_)
            | PkiError::Internal(_),
        ) => Code::InternalError,
    }
}

fn not_found(kind: Kind) -> Code {
    match kind {
        Kind::Image => Code::InvalidAmiIdNotFound,
        Kind::Instance => Code::InvalidInstanceIdNotFound,
        Kind::FloatingIp => Code::InvalidAddressNotFound,
        Kind::KeyPair => Code::InvalidKeyPairNotFound,
        Kind::SecurityGroup => Code::InvalidGroupNotFound,
        Kind::Rule => Code::InvalidPermissionNotFound,
        Kind::InstanceType => Code::InvalidInstanceType,
        Kind::User | Kind::Project => Code::AuthFailure,
        Kind::Network => Code::InvalidSubnetIdNotFound,
        Kind::FixedIp | Kind::Host | Kind::Vpn => Code::InvalidParameterValue,
    }
}
