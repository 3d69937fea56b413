//! The two ids that only EC2 clients see: both are the row number of a floating IP, which has at
//! most one association.

use novanet_model::ModelError;
use std::{fmt, str::FromStr};

macro_rules! address_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{:08x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ModelError;
            fn from_str(text: &str) -> Result<Self, ModelError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|hex| (1..=15).contains(&hex.len()))
                    .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .and_then(|hex| i64::from_str_radix(hex, 16).ok())
                    .map(Self)
                    .ok_or_else(|| {
                        ModelError::new($what, text, concat!("must look like ", $prefix, "-0000000a"))
                    })
            }
        }
    };
}

address_id!(/** A floating IP that a project has; shown as `eipalloc-0000000a`. */ AllocationId, "allocation id", "eipalloc");
address_id!(/** That a floating IP leads to an instance; shown as `eipassoc-0000000a`. */ AssociationId, "association id", "eipassoc");
