//! The error of all use cases, by what the caller can do about it. The server gives each
//! variant an EC2 code, and the command line an exit code.

use novanet_model::carve::CarveError;
use novanet_model::{InstanceId, ModelError, Resource};
use novanet_store::StoreError;
use std::fmt;
use std::net::Ipv4Addr;
use thiserror::Error;

/// A use case's error. The text is for people and holds no secret.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such thing, or it is not yours.
    #[error("{kind} {id} not found")]
    NotFound {
        /// What kind of thing.
        kind: Kind,
        /// The id or name in the request.
        id: String,
    },
    /// It exists already.
    #[error("{kind} {id} already exists")]
    Exists {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        id: String,
    },
    /// Something still uses it, or it is in a state that does not allow this.
    #[error("{kind} {id}: {reason}")]
    InUse {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        id: String,
        /// The user of the object, and the remedy.
        reason: String,
    },
    /// A floating IP cannot be released while it leads to an instance.
    #[error(
        "floating IP {address}: is in use, it leads to instance {instance}: disassociate it before releasing it"
    )]
    StillAssociated {
        /// The floating IP.
        address: Ipv4Addr,
        /// Where it leads.
        instance: InstanceId,
    },
    /// No host translates a floating IP for an address of this network.
    #[error("floating IP {address}: {reason}")]
    NoGateway {
        /// The floating IP.
        address: Ipv4Addr,
        /// The network's gateway, and the remedy.
        reason: String,
    },
    /// A limit of the project.
    #[error("quota of {resource} exceeded: {used} in use, {wanted} more wanted, {limit} allowed")]
    Quota {
        /// The limit.
        resource: Resource,
        /// In use.
        used: i64,
        /// Asked for.
        wanted: i64,
        /// Allowed.
        limit: i64,
    },
    /// A launch's ClientToken was used for another request.
    #[error(
        "ClientToken {0}: was used for a request with other parameters: use a new token for a new request"
    )]
    TokenReused(String),
    /// A parameter is not what it has to be.
    #[error(transparent)]
    Invalid(#[from] ModelError),
    /// The networks cannot be made.
    #[error(transparent)]
    Carve(#[from] CarveError),
    /// Not allowed to this caller.
    #[error("{0}")]
    Forbidden(String),
    /// Nothing is left to give out.
    #[error("{reason}")]
    Exhausted {
        /// What there is none of.
        kind: Kind,
        /// Where it was looked for, and what to do.
        reason: String,
    },
    /// No host can take an instance now; the operator has to do something.
    #[error("{0}")]
    NoHost(String),
    /// A part of the cloud is unavailable; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] novanet_pki::PkiError),
}

/// Kinds of things that use cases are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image.
    Image,
    /// An instance.
    Instance,
    /// A network.
    Network,
    /// A fixed IP.
    FixedIp,
    /// A floating IP.
    FloatingIp,
    /// A key pair.
    KeyPair,
    /// A security group.
    SecurityGroup,
    /// A rule of a security group.
    Rule,
    /// A user.
    User,
    /// A project.
    Project,
    /// A host.
    Host,
    /// An instance type.
    InstanceType,
    /// A project's VPN.
    Vpn,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Instance => "instance",
            Self::Network => "network",
            Self::FixedIp => "fixed IP",
            Self::FloatingIp => "floating IP",
            Self::KeyPair => "key pair",
            Self::SecurityGroup => "security group",
            Self::Rule => "rule",
            Self::User => "user",
            Self::Project => "project",
            Self::Host => "host",
            Self::InstanceType => "instance type",
            Self::Vpn => "VPN of project",
        })
    }
}

/// An error with its causes, on one line. Some errors name their cause already: it is not said
/// twice.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let why = source.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = source.source();
    }
    text.replace('\n', " ")
}

impl ControlError {
    /// What the operator can do about it, for the end of the message; the other texts hold theirs.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.remedy(),
            _ => None,
        }
    }

    #[allow(clippy::needless_pass_by_value)] // ids by value or reference alike
    pub(crate) fn not_found(kind: Kind, id: impl ToString) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn exists(kind: Kind, id: impl ToString) -> Self {
        Self::Exists {
            kind,
            id: id.to_string(),
        }
    }

    pub(crate) fn exhausted(kind: Kind, reason: impl Into<String>) -> Self {
        Self::Exhausted {
            kind,
            reason: reason.into(),
        }
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn in_use(kind: Kind, id: impl ToString, reason: impl Into<String>) -> Self {
        Self::InUse {
            kind,
            id: id.to_string(),
            reason: reason.into(),
        }
    }
}

/// Shorthand of this crate.
pub type Result<T, E = ControlError> = std::result::Result<T, E>;
