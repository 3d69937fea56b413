//! The use cases of a cloud, each in one transaction: load, check, change, record, plan, commit.
//!
//! [`Cloud`] is what the server and `nova-manage` call. Rows and the host objects that follow from
//! them change together; hosts follow by themselves. Nothing slow happens inside a transaction.
//!
//! Must not know: HTTP, XML, the kernel.

pub mod accounts;
mod adopt;
pub mod agents;
pub mod auth;
mod blocks;
mod caller;
pub mod certificates;
mod cloud;
mod controllers;
mod deletion;
mod error;
pub mod fixed_ips;
pub mod floating_ips;
mod floating_pool;
mod group_ref;
mod group_sources;
pub mod groups;
pub mod host_addresses;
mod hosts;
mod images;
mod instance_groups;
pub mod instances;
pub mod key_pairs;
mod launch;
pub mod members;
mod network_modify;
pub mod networks;
mod placement;
mod power;
pub mod preview;
pub mod projects;
pub mod quota;
mod reports;
pub mod restored;
pub mod scrub;
mod user_data;
pub mod vpn;
mod waiters;

pub use caller::{Caller, Role};
pub use cloud::{Checked, Cloud, CloudConfig, Lockout, sqlite_file};
pub use controllers::Controllers;
pub use error::{ControlError, Kind, Result, error_chain};
pub use network_modify::Modify;
pub use novanet_pki::{PkiError, Vault, archive};
pub use novanet_store::audit::Entry as AuditEntry;
pub use novanet_store::hosts::Host;
pub use novanet_store::{Committed, Engine, StoreError, now, when_full};
