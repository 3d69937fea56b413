//! `nova-manage firewall show`: a host's rules as they are in the kernel.

use super::{Category, action};
use crate::args::{Takes, param};

pub(crate) const CATEGORY: Category = Category {
    name: "firewall",
    aliases: &[],
    about: "a host's rules as they are in the kernel",
    actions: &[action(
        "show",
        "print the rules",
        &[param("host", Takes::Optional, "the host (this one)")],
        |b| {
            let host = b.text("host").map(str::to_owned);
            Ok(super::Command::Firewall(Command::Show { host }))
        },
    )],
};

/// The actions of `firewall`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the rules.
    Show {
        /// Which host; `None`: this one.
        host: Option<String>,
    },
}
