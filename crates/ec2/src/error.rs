//! The errors of EC2: its codes, the HTTP status of each, and their XML. A refusal is an answer
//! like any other, so it is built here and not where HTTP is spoken.

use crate::xml::Xml;
use novanet_model::ModelError;
use thiserror::Error;

/// The longest query string and body together. User data of 16 KiB, twice base64, fits.
pub const MAX_BYTES: usize = 64 * 1024;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal;)*) => {
        /// EC2's error codes, as far as this cloud has a use for them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as clients know it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The HTTP status that EC2 sends with it.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }
        }
    };
}

codes! {
    /// Unknown key, wrong signature: deliberately one code and one text for both.
    AuthFailure = "AuthFailure", 401;
    /// The signature is too old or from the future.
    RequestExpired = "RequestExpired", 400;
    /// An Authorization header that is not whole.
    IncompleteSignature = "IncompleteSignature", 400;
    /// Signed right, but this user may not do that.
    UnauthorizedOperation = "UnauthorizedOperation", 403;
    /// `DryRun=true` and it would have worked.
    DryRunOperation = "DryRunOperation", 412;
    /// No such action.
    InvalidAction = "InvalidAction", 400;
    /// A parameter is missing.
    MissingParameter = "MissingParameter", 400;
    /// A parameter's value cannot be.
    InvalidParameterValue = "InvalidParameterValue", 400;
    /// A parameter that the action does not have, or that this cloud does not know.
    UnknownParameter = "UnknownParameter", 400;
    /// Parameters that cannot stand together.
    InvalidParameterCombination = "InvalidParameterCombination", 400;
    /// The query string is not one.
    MalformedQueryString = "MalformedQueryString", 400;
    /// Not a request of this protocol at all.
    InvalidRequest = "InvalidRequest", 400;
    /// Longer than anyone may send.
    RequestEntityTooLarge = "RequestEntityTooLarge", 413;
    /// It did not arrive in time. Clients send it again.
    RequestTimeout = "RequestTimeout", 408;
    /// More filters than anyone may send.
    FilterLimitExceeded = "FilterLimitExceeded", 400;
    /// A page token that we did not give out.
    InvalidNextToken = "InvalidNextToken", 400;
    /// The same client token with other parameters.
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400;
    /// EC2 has it, this cloud has not.
    UnsupportedOperation = "UnsupportedOperation", 400;
    /// An instance id that is none.
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed", 400;
    /// No such instance (in this project).
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound", 400;
    /// The instance is not in a state for that.
    IncorrectInstanceState = "IncorrectInstanceState", 400;
    /// No such instance type.
    InvalidInstanceType = "InvalidInstanceType", 400;
    /// An image id that is none.
    InvalidAmiIdMalformed = "InvalidAMIID.Malformed", 400;
    /// No such image.
    InvalidAmiIdNotFound = "InvalidAMIID.NotFound", 400;
    /// The image cannot be used now.
    InvalidAmiIdUnavailable = "InvalidAMIID.Unavailable", 400;
    /// User data that is not base64.
    InvalidUserDataMalformed = "InvalidUserData.Malformed", 400;
    /// A key pair of this name exists.
    InvalidKeyPairDuplicate = "InvalidKeyPair.Duplicate", 400;
    /// No such key pair.
    InvalidKeyPairNotFound = "InvalidKeyPair.NotFound", 400;
    /// Not a key pair's name.
    InvalidKeyPairFormat = "InvalidKeyPair.Format", 400;
    /// Not a public key.
    InvalidKeyFormat = "InvalidKey.Format", 400;
    /// No such security group.
    InvalidGroupNotFound = "InvalidGroup.NotFound", 400;
    /// A group of this name exists.
    InvalidGroupDuplicate = "InvalidGroup.Duplicate", 400;
    /// The group has members or rules name it.
    InvalidGroupInUse = "InvalidGroup.InUse", 400;
    /// A name that groups cannot have.
    InvalidGroupReserved = "InvalidGroup.Reserved", 400;
    /// A group id that is none.
    InvalidGroupIdMalformed = "InvalidGroupId.Malformed", 400;
    /// Such an id of a rule does not exist.
    InvalidSecurityGroupRuleIdNotFound = "InvalidSecurityGroupRuleId.NotFound", 400;
    /// An id of a rule that cannot be one.
    InvalidSecurityGroupRuleIdMalformed = "InvalidSecurityGroupRuleId.Malformed", 400;
    /// The default group stays.
    CannotDelete = "CannotDelete", 400;
    /// The rule exists.
    InvalidPermissionDuplicate = "InvalidPermission.Duplicate", 400;
    /// No such rule.
    InvalidPermissionNotFound = "InvalidPermission.NotFound", 400;
    /// A rule that cannot be.
    InvalidPermissionMalformed = "InvalidPermission.Malformed", 400;
    /// No such network (for this project).
    InvalidSubnetIdNotFound = "InvalidSubnetID.NotFound", 400;
    /// A subnet id that is none.
    InvalidSubnetIdMalformed = "InvalidSubnetID.Malformed", 400;
    /// No such floating IP (in this project).
    InvalidAddressNotFound = "InvalidAddress.NotFound", 400;
    /// Not an address.
    InvalidAddressMalformed = "InvalidAddress.Malformed", 400;
    /// The floating IP is another project's, or not in the pool.
    InvalidAddressUnavailable = "InvalidAddress.Unavailable", 400;
    /// The floating IP is in use.
    InvalidIpAddressInUse = "InvalidIPAddress.InUse", 400;
    /// No such allocation.
    InvalidAllocationIdNotFound = "InvalidAllocationID.NotFound", 400;
    /// An allocation id that is none.
    InvalidAllocationIdMalformed = "InvalidAllocationID.Malformed", 400;
    /// No such association.
    InvalidAssociationIdNotFound = "InvalidAssociationID.NotFound", 400;
    /// An association id that is none.
    InvalidAssociationIdMalformed = "InvalidAssociationID.Malformed", 400;
    /// The network's way out is not by this cloud: no floating IP can lead into it.
    GatewayNotAttached = "Gateway.NotAttached", 400;
    /// Already leads to an instance, and may not be moved.
    ResourceAlreadyAssociated = "Resource.AlreadyAssociated", 400;
    /// The project has all the floating IPs that it may have.
    AddressLimitExceeded = "AddressLimitExceeded", 400;
    /// The pool has no floating IP left.
    InsufficientAddressCapacity = "InsufficientAddressCapacity", 503;
    /// The network has no fixed address left.
    InsufficientFreeAddresses = "InsufficientFreeAddressesInSubnet", 400;
    /// The project has all the instances that it may have.
    InstanceLimitExceeded = "InstanceLimitExceeded", 400;
    /// Another quota.
    ResourceLimitExceeded = "ResourceLimitExceeded", 400;
    /// The project has all the groups that it may have.
    SecurityGroupLimitExceeded = "SecurityGroupLimitExceeded", 400;
    /// The group has all the rules that it may have.
    RulesPerSecurityGroupLimitExceeded = "RulesPerSecurityGroupLimitExceeded", 400;
    /// No host can take it.
    InsufficientInstanceCapacity = "InsufficientInstanceCapacity", 503;
    /// Too many requests.
    RequestLimitExceeded = "RequestLimitExceeded", 503;
    /// Our fault.
    InternalError = "InternalError", 500;
    /// Cannot now; try again.
    Unavailable = "Unavailable", 503;
}

/// A refusal as a client sees it. The message is for people outside: no secrets, no paths.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code.as_str())]
pub struct Ec2Error {
    /// The code.
    pub code: Code,
    /// What happened, to which thing, what to do.
    pub message: String,
}

impl Ec2Error {
    /// An error of this code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An unknown key or a wrong signature. Both have the same text: a difference would tell which
    /// keys exist.
    pub fn auth_failure() -> Self {
        Self::new(
            Code::AuthFailure,
            "The access key is unknown, or the signature does not fit its secret key.",
        )
    }

    /// A parameter that the action needs.
    pub fn missing(parameter: &str) -> Self {
        Self::new(
            Code::MissingParameter,
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// A parameter whose value cannot be.
    pub fn invalid_value(parameter: &str, value: &str, reason: &str) -> Self {
        Self::new(
            Code::InvalidParameterValue,
            format!(
                "Value ({}) for parameter {parameter} is invalid: {reason}",
                shown(value)
            ),
        )
    }

    /// No such action.
    pub fn invalid_action(action: &str) -> Self {
        Self::new(
            Code::InvalidAction,
            format!(
                "The action {} is not valid for this web service.",
                shown(action)
            ),
        )
    }

    /// More than [`MAX_BYTES`]. Readers of a body answer with it too, and stop there.
    pub fn too_large() -> Self {
        Self::new(
            Code::RequestEntityTooLarge,
            format!("The request is longer than {MAX_BYTES} bytes."),
        )
    }

    /// What `DryRun=true` answers when the request would have succeeded.
    pub fn dry_run() -> Self {
        Self::new(
            Code::DryRunOperation,
            "Request would have succeeded, but DryRun flag is set.",
        )
    }

    /// A text that did not parse into a model type.
    pub fn from_model(code: Code, error: &ModelError) -> Self {
        Self::new(
            code,
            format!(
                "Invalid {} \"{}\": {}",
                error.what,
                shown(&error.value),
                error.reason
            ),
        )
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// The body of the answer.
    pub fn to_xml(&self, request_id: &str) -> String {
        let mut xml = Xml::document();
        xml.element("Response", |xml| {
            xml.element("Errors", |xml| {
                xml.element("Error", |xml| {
                    xml.text("Code", self.code.as_str());
                    xml.text("Message", &self.message);
                });
            });
            xml.text("RequestID", request_id);
        });
        xml.finish()
    }
}

/// A value in a message: an excerpt, so that a long value does not come back whole.
fn shown(value: &str) -> std::borrow::Cow<'_, str> {
    const MAX_QUOTED_CHARS: usize = 100;
    match value.char_indices().nth(MAX_QUOTED_CHARS) {
        None => value.into(),
        Some((end, _)) => format!("{}…", &value[..end]).into(),
    }
}
